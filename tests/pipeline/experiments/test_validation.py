"""Cross-validation on painted photos: which are held out, what is trained on, what is measured."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from data_prep.base.tables import read_faces
from data_prep.prepare.build import build
from data_prep.prepare.options import BuildOptions
from evaluate.inputs.predictions import place_predictions, read_predictions
from evaluate.inputs.truth import read_ground_truth
from evaluate.measures.case import Case, Plan
from evaluate.measures.headline import describe_headline
from pipeline.cli import app
from pipeline.experiments import cross_validate as nets
from pipeline.experiments import cross_validate as validation
from pipeline.experiments.cross_validate import Recipes, cross_validate, make_folds
from pipeline.nets.cards import DetectorCard, load_weights, read_card, save_weights
from pipeline.nets.classifiers import from_detector
from pipeline.runs.folder import PreparedError
from pipeline.runs.recipe import DetectorRecipe, RecipeError, write_recipe
from pipeline.training import once as train_once
from tests.pipeline.makers import CPU, OneClass, Told, make_shy_net, paint_dataset, stand_ins
from tests.pipeline.tables import TINY

DETECTOR = DetectorRecipe(
    name="small", steps=2, batch_size=2, input_size=64, longest=(64.0, 128.0), min_face=4.0
)
CLASSIFIER = TINY.model_copy(
    update={"architecture": "mobilenet0.25", "init": "detector", "epochs": [1]}
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Nine painted photos, three of them held out in each fold."""
    folder = tmp_path_factory.mktemp("folds")
    roots, out = [paint_dataset(folder / "set", 9)], folder / "prepared"
    build(BuildOptions(roots=roots, out=out, blur_rule="none", folds=3, workers=1))
    return folder / "prepared"


@pytest.fixture
def recipes(tmp_path):
    save_file(make_shy_net().state_dict(), tmp_path / "start.safetensors")
    return Recipes(tmp_path / "start.safetensors", DETECTOR, CLASSIFIER)


def validate(prepared, out, recipes, told=None):
    return cross_validate(prepared, out, recipes, device=CPU, log=told or Told(), jobs=1)


@pytest.fixture
def by_colour(monkeypatch):
    """Trainings take no time and all answers are right; the folds asked for are noted."""
    asked = []

    def train(fold, _recipes, *, device, log):
        asked.append(fold.number)
        log("trained")
        return stand_ins()

    monkeypatch.setattr(validation, "train_nets", train)
    return asked


def test_every_photo_is_held_out_once(small, tmp_path, recipes, by_colour):
    told = Told()
    results = validate(small, tmp_path / "out", recipes, told)
    assert by_colour == [0, 1, 2]
    held_out = []
    for number in range(3):
        faces = read_faces(tmp_path / "out" / f"fold-{number}" / "prepared")
        held_out += sorted(set(faces.loc[faces["split"] == "valid", "image"]))
        table = pd.read_csv(tmp_path / "out" / f"fold-{number}" / "set" / "predictions.csv")
        assert sorted(set(table["image"])) == held_out[-3:]
    assert sorted(held_out) == sorted(set(read_faces(small)["image"]))
    assert len(held_out) == 9
    assert "fold 1: trained" in told.lines
    assert results["folds"] == 3
    assert (results["set"]["photos"], results["set"]["faces"]) == (9, 27)
    assert results["set"]["both_stages"]["map50"] == [1.0, 1.0, 1.0]
    assert results["set"]["classifier_alone"]["accuracy"] == [1.0, 1.0, 1.0]
    assert json.loads((tmp_path / "out" / "cross-validation.json").read_text()) == results
    assert (tmp_path / "out" / "set" / "report" / "report.html").is_file()


def test_figures_are_of_all_folds_together(small, tmp_path, recipes, monkeypatch):
    def train(fold, _recipes, *, device, log):
        nets = stand_ins()
        return replace(nets, classifier=OneClass()) if fold.number == 1 else nets

    monkeypatch.setattr(validation, "train_nets", train)
    results = validate(small, tmp_path / "out", recipes)["set"]
    assert results["classifier_alone"]["accuracy"][0] == pytest.approx(7 / 9, abs=1e-4)
    assert results["detector_alone"]["face_ap50"][0] == 1.0
    truth = read_ground_truth(small / "faces.csv", source="set")
    tables = [
        pd.read_csv(tmp_path / "out" / f"fold-{number}" / "set" / "predictions.csv")
        for number in (2, 0, 1)
    ]
    pd.concat(tables).to_csv(tmp_path / "all.csv", index=False)
    placed = place_predictions(read_predictions(tmp_path / "all.csv"), truth)
    record = describe_headline(Case(truth, placed.detections, Plan(resamples=0)))
    assert results["both_stages"]["map50"][0] == pytest.approx(record["map50"], abs=1e-4)
    assert record["map50"] < 1


def test_nets_of_a_fold_learn_from_the_others_and_are_trained_once(
    small, tmp_path, recipes, monkeypatch
):
    learnt = []
    real = nets.train_short

    def note(faces, *arguments, **options):
        learnt.append(set(faces["image"]))
        return real(faces, *arguments, **options)

    monkeypatch.setattr(nets, "train_short", note)
    told = Told()
    first = validate(small, tmp_path / "out", recipes, told)
    assert len(learnt) == 3
    for number, images in enumerate(learnt):
        faces = read_faces(tmp_path / "out" / f"fold-{number}" / "prepared")
        assert images == set(faces.loc[faces["split"] == "train", "image"])
        runs = tmp_path / "out" / f"fold-{number}" / "runs"
        assert sorted(path.name for path in runs.iterdir()) == ["001-small", "002-tiny"]
        card = read_card(runs / "001-small" / "detector.json", DetectorCard)
        assert card.training["data"]["options"]["fold"] == number
    monkeypatch.setattr(nets, "train_short", None)
    monkeypatch.setattr(train_once, "train_detector", None)
    told = Told()
    again = validate(small, tmp_path / "out", recipes, told)
    assert again == first
    assert sum("trained before" in line for line in told.lines) == 6


def test_the_classifier_starts_from_the_body_of_its_own_fold(small, tmp_path, recipes, monkeypatch):
    frozen = CLASSIFIER.model_copy(update={"freeze": True})
    for fold in make_folds(small, tmp_path / "out", Told())[:2]:
        nets.train_nets(fold, Recipes(recipes.start, DETECTOR, frozen), device=CPU, log=Told())
        runs = fold.runs
        own = from_detector(
            *load_weights(runs / "001-small" / "detector.safetensors", DetectorCard)
        )
        state = load_file(runs / "002-tiny" / "classifier.safetensors")
        name = "body.stage3.1.3.weight"
        assert state[name].equal(own[name].half()), fold.number


def test_what_learnt_from_judged_photos_is_refused(small, tmp_path, recipes):
    taught = CLASSIFIER.model_copy(update={"teachers": ["a.safetensors"]})
    with pytest.raises(RecipeError, match="teachers have learnt from photos that are judged"):
        validate(small, tmp_path / "out", Recipes(recipes.start, DETECTOR, taught))
    used = CLASSIFIER.model_copy(update={"init": "a.safetensors"})
    with pytest.raises(RecipeError, match=r"a\.safetensors may have learnt from photos"):
        validate(small, tmp_path / "out", Recipes(recipes.start, DETECTOR, used))
    save_weights(tmp_path / "b.safetensors", {}, DetectorCard(training={"data": {"a": 1}}))
    with pytest.raises(RecipeError, match=r"b\.safetensors: fine-tuned on photos that may be"):
        validate(small, tmp_path / "out", Recipes(tmp_path / "b.safetensors", DETECTOR, CLASSIFIER))
    searching = CLASSIFIER.model_copy(update={"lr": "find"})
    with pytest.raises(RecipeError, match="lr is 'find'"):
        validate(small, tmp_path / "out", Recipes(recipes.start, DETECTOR, searching))


@pytest.mark.parametrize("changed", [{"incorrect": "exclude"}, {"masks": "drawn"}])
def test_other_classes_and_masks_are_refused(small, tmp_path, recipes, changed):
    other = CLASSIFIER.model_copy(update=changed)
    with pytest.raises(RecipeError, match="three classes and real masks"):
        validate(small, tmp_path / "out", Recipes(recipes.start, DETECTOR, other))


def test_other_weights_to_start_from_are_another_run(small, tmp_path, recipes):
    save_file(make_shy_net(seed=4).state_dict(), tmp_path / "other.safetensors")
    other = Recipes(tmp_path / "other.safetensors", DETECTOR, CLASSIFIER)
    (fold, *_) = make_folds(small, tmp_path / "out", Told())
    for one in (recipes, other, recipes):
        nets.train_nets(fold, one, device=CPU, log=Told())
    names = ["001-small", "002-tiny", "003-small", "004-tiny"]
    assert sorted(path.name for path in fold.runs.iterdir()) == names


def test_cleaned_labels_are_refused(tmp_path, recipes):
    root = paint_dataset(tmp_path / "set", 6)
    (tmp_path / "decisions.jsonl").write_text("")
    ledgers = [tmp_path / "decisions.jsonl"]
    options = BuildOptions(roots=[root], out=tmp_path / "prepared", blur_rule="none", folds=2)
    build(replace(options, decisions=ledgers))
    with pytest.raises(PreparedError, match="built with decisions"):
        validate(tmp_path / "prepared", tmp_path / "out", recipes)


@pytest.mark.parametrize("change", ["one file less", "another class"])
def test_changed_datasets_are_refused(tmp_path, recipes, change):
    root = paint_dataset(tmp_path / "set", 6)
    build(BuildOptions(roots=[root], out=tmp_path / "prepared", blur_rule="none", folds=2))
    file = root / "annotations" / "003.xml"
    if change == "another class":
        file.write_text(file.read_text().replace(">with_mask<", ">without_mask<"))
    else:
        file.unlink()
    with pytest.raises(PreparedError, match="have changed since it was built"):
        validate(tmp_path / "prepared", tmp_path / "out", recipes)


def test_command_prints_a_table_and_takes_changes_of_both_recipes(
    small, tmp_path, recipes, by_colour
):
    (tmp_path / "classifier.toml").write_text(write_recipe(CLASSIFIER))
    (tmp_path / "detector.toml").write_text(write_recipe(DETECTOR))
    command = ["cross-validate", str(small), "-o", str(tmp_path / "out")]
    command += ["--start", str(recipes.start), "--recipe", str(tmp_path / "classifier.toml")]
    command += ["--detector-recipe", str(tmp_path / "detector.toml"), "--jobs", "1"]
    result = CliRunner().invoke(app, [*command, "--set-detector", "steps=0"])
    assert result.exit_code == 2
    assert "steps" in result.output
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "| | set: 9 photos, 27 faces |" in result.output
    assert "| both stages: mAP@0.5 | 1.000 (1.000 to 1.000) |" in result.output
