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
from evaluate.inputs.truth import read_truth
from evaluate.measures.case import Case
from evaluate.measures.headline import describe_headline
from evaluate.options import EvaluateOptions
from pipeline.nets.cards import DetectorCard, load_weights, read_card, save_weights
from pipeline.nets.classifiers import from_detector
from pipeline.runs.folder import PreparedError
from pipeline.runs.recipe import DetectorRecipe, RecipeError, write_recipe
from tests.benchmarks import cross_validate as validation
from tests.benchmarks.cross_validate import CrossValidateOptions, Recipes, cross_validate
from tests.pipeline.makers import OneClass, Told, make_shy_net, paint_dataset, stand_ins
from tests.pipeline.tables import TINY

DETECTOR = DetectorRecipe(
    name="small", steps=1, batch_size=2, input_size=64, longest=(64.0, 64.0), min_face=4.0
)
CLASSIFIER = TINY.model_copy(
    update={"architecture": "mobilenet0.25", "init": "detector", "epochs": [1]}
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Six painted photos, three of them held out in each fold."""
    folder = tmp_path_factory.mktemp("folds")
    roots, out = [paint_dataset(folder / "set", 6)], folder / "prepared"
    build(BuildOptions(roots=roots, out=out, blur_rule="none", folds=2, workers=1))
    return out


@pytest.fixture
def recipes(tmp_path):
    save_file(make_shy_net().state_dict(), tmp_path / "start.safetensors")
    return Recipes(tmp_path / "start.safetensors", DETECTOR, CLASSIFIER)


@pytest.fixture
def validate(tmp_path, recipes):
    def call(prepared, told=None, **changes):
        chosen = replace(recipes, **changes)
        for name in ("classifier", "detector"):
            (tmp_path / f"{name}.toml").write_text(write_recipe(getattr(chosen, name)))
        files = {
            "recipe": str(tmp_path / "classifier.toml"),
            "detector_recipe": str(tmp_path / "detector.toml"),
        }
        out = tmp_path / "out"
        options = CrossValidateOptions(prepared, out, chosen.start, device="cpu", jobs=1, **files)
        return cross_validate(options, told or Told())

    return call


@pytest.fixture
def without_reports(monkeypatch):
    """Pages take longer than all figures."""
    measure = validation.measure_source
    monkeypatch.setattr(
        validation, "measure_source", lambda *given, report: measure(*given, report=None)
    )


@pytest.fixture
def by_colour(monkeypatch):
    """Trainings take no time and all answers are right; the folds asked for are noted."""
    asked = []

    def train(data, _runs, _recipes, *, device, log):
        asked.append(data.data["options"]["fold"])
        log("trained")
        return stand_ins()

    monkeypatch.setattr(validation, "train_nets", train)
    return asked


def test_every_photo_is_held_out_once(small, tmp_path, validate, by_colour):
    told = Told()
    results = validate(small, told)
    assert by_colour == [0, 1]
    held_out = []
    for number in range(2):
        faces = read_faces(tmp_path / "out" / f"fold-{number}" / "prepared")
        held_out += sorted(set(faces.loc[faces["split"] == "valid", "image"]))
        table = pd.read_csv(tmp_path / "out" / f"fold-{number}" / "set" / "predictions.csv")
        assert sorted(set(table["image"])) == held_out[-3:]
    assert sorted(held_out) == sorted(set(read_faces(small)["image"]))
    assert len(held_out) == 6
    assert "fold 1: trained" in told.lines
    assert results["folds"] == 2
    assert (results["set"]["photos"], results["set"]["faces"]) == (6, 18)
    assert results["set"]["both_stages"]["map50"] == [1.0, 1.0, 1.0]
    assert results["set"]["classifier_alone"]["accuracy"] == [1.0, 1.0, 1.0]
    assert json.loads((tmp_path / "out" / "cross-validation.json").read_text()) == results
    assert (tmp_path / "out" / "set" / "report" / "report.html").is_file()


@pytest.mark.usefixtures("without_reports")
def test_figures_are_of_all_folds_together(small, tmp_path, validate, monkeypatch):
    def train(data, _runs, _recipes, *, device, log):
        is_second = data.data["options"]["fold"] == 1
        return replace(stand_ins(), classifier=OneClass()) if is_second else stand_ins()

    monkeypatch.setattr(validation, "train_nets", train)
    results = validate(small)["set"]
    assert results["classifier_alone"]["accuracy"][0] == pytest.approx(2 / 3, abs=1e-4)
    assert results["detector_alone"]["face_ap50"][0] == 1.0
    truth = read_truth(small, EvaluateOptions(source="set"))
    tables = [
        pd.read_csv(tmp_path / "out" / f"fold-{number}" / "set" / "predictions.csv")
        for number in (1, 0)
    ]
    pd.concat(tables).to_csv(tmp_path / "all.csv", index=False)
    placed = place_predictions(read_predictions(tmp_path / "all.csv"), truth)
    record = describe_headline(Case(truth, placed.detections, EvaluateOptions(bootstrap=0)))
    assert results["both_stages"]["map50"][0] == pytest.approx(record["map50"], abs=1e-4)
    assert record["map50"] < 1


@pytest.mark.slow
@pytest.mark.usefixtures("without_reports")
def test_nets_of_a_fold_learn_from_the_others_and_are_trained_once(
    small, tmp_path, validate, monkeypatch
):
    learnt = []
    real = validation.train_short

    def note(faces, *arguments, **options):
        learnt.append(set(faces["image"]))
        return real(faces, *arguments, **options)

    monkeypatch.setattr(validation, "train_short", note)
    frozen = CLASSIFIER.model_copy(update={"freeze": True})
    first, name = validate(small, classifier=frozen), "body.stage3.1.3.weight"
    assert len(learnt) == 2
    for number, images in enumerate(learnt):
        faces = read_faces(tmp_path / "out" / f"fold-{number}" / "prepared")
        assert images == set(faces.loc[faces["split"] == "train", "image"])
        runs = tmp_path / "out" / f"fold-{number}" / "runs"
        assert sorted(path.name for path in runs.iterdir()) == ["001-small", "002-tiny"]
        card = read_card(runs / "001-small" / "detector.json", DetectorCard)
        assert card.training["data"]["options"]["fold"] == number
        own = from_detector(*load_weights(runs / "001-small/detector.safetensors", DetectorCard))
        state = load_file(runs / "002-tiny" / "classifier.safetensors")
        assert state[name].equal(own[name].half()), "it starts from the body of its own fold"
    monkeypatch.setattr(validation, "train_short", None)
    monkeypatch.setattr(validation, "train_detector", None)
    told = Told()
    again = validate(small, told, classifier=frozen)
    assert again == first
    assert sum("trained before" in line for line in told.lines) == 4


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"teachers": ["a.safetensors"]}, "teachers have learnt from photos that are judged"),
        ({"init": "a.safetensors"}, r"a\.safetensors may have learnt from photos"),
        ({"start": "b.safetensors"}, r"b\.safetensors: fine-tuned on photos that may be"),
    ],
)
def test_what_would_leak_or_be_ignored_is_refused(small, tmp_path, validate, changed, words):
    save_weights(tmp_path / "b.safetensors", {}, DetectorCard(training={"data": {"a": 1}}))
    how = {"classifier": CLASSIFIER.model_copy(update=changed)}
    with pytest.raises(RecipeError, match=words):
        validate(small, **({"start": tmp_path / "b.safetensors"} if "start" in changed else how))


def test_changed_datasets_are_refused(tmp_path, validate):
    root = paint_dataset(tmp_path / "set", 6)
    build(BuildOptions(roots=[root], out=tmp_path / "prepared", blur_rule="none", folds=2))
    file = root / "annotations" / "003.xml"
    file.write_text(file.read_text().replace(">with_mask<", ">without_mask<"))
    with pytest.raises(PreparedError, match="have changed since it was built"):
        validate(tmp_path / "prepared")


@pytest.mark.usefixtures("without_reports", "by_colour")
def test_command_prints_a_table_and_takes_changes_of_both_recipes(small, tmp_path, recipes):
    (tmp_path / "classifier.toml").write_text(write_recipe(CLASSIFIER))
    (tmp_path / "detector.toml").write_text(write_recipe(DETECTOR))
    command = [small, "-o", tmp_path / "out", "--jobs", 1]
    command += ["--start", recipes.start, "--recipe", tmp_path / "classifier.toml"]
    command += ["--detector-recipe", tmp_path / "detector.toml"]
    result = CliRunner().invoke(validation.app, [*map(str, command), "--set-detector", "steps=0"])
    assert result.exit_code == 2
    assert "steps" in result.output
    result = CliRunner().invoke(validation.app, [*map(str, command)])
    assert result.exit_code == 0, result.output
    assert "| | set: 6 photos, 18 faces |" in result.output
    assert "| both stages: mAP@0.5 | 1.000 (1.000 to 1.000) |" in result.output
