"""A whole training of the classifier on painted faces, small enough for a test."""

import json
import shutil
import tomllib
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.losses import CrossEntropyLossFlat
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score

from data_prep.base.labels import CLASSES
from data_prep.base.photo import photo_size, read_photo
from data_prep.base.strict_csv import TableError
from data_prep.base.tables import read_faces
from pipeline.inference.classifier import Classifier
from pipeline.nets.cards import ClassifierCard, load_weights
from pipeline.runs.folder import Run, identify_data, start_run
from pipeline.runs.recipe import ClassifierRecipe, load_recipe, member_of
from pipeline.training import classifier as training
from pipeline.training import export as finish_classifier
from pipeline.training import learner as classifier_learner
from pipeline.training.classifier import train_classifier
from tests.pipeline.makers import CPU

RECIPE = ClassifierRecipe(
    name="tiny",
    sizes=[32, 48],
    epochs=[3, 1],
    batch_size=9,
    lr=1e-3,
    stage_lr=0.1,
    bf16="off",
)
SHORT = RECIPE.model_copy(update={"sizes": [32], "epochs": [1]})


class Killed(BaseException):
    """What a test ends a training with."""


def train(prepared, folder, recipe=RECIPE, stop=None):
    """Train into this folder; be killed when `stop` begins a line that is said."""
    data, _ = identify_data(prepared)
    run = Run(folder, data) if folder.exists() else start_run(folder.parent, recipe, data)
    if not folder.exists():
        run = Run(run.folder.rename(folder), data)
    lines = []

    def log(line, *_event, **_facts):
        lines.append(line)
        if stop is not None and line.startswith(stop):
            raise Killed

    card = train_classifier(read_faces(prepared), prepared, recipe, run, device=CPU, log=log)
    return SimpleNamespace(card=card, folder=folder, lines=lines)


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    return train(prepared, tmp_path_factory.mktemp("runs") / "whole")


def test_run_folder_is_complete(trained):
    assert sorted(path.name for path in trained.folder.iterdir()) == [
        "classifier.json",
        "classifier.safetensors",
        "confusion.png",
        "curves.png",
        "history.csv",
        "recipe.toml",
        "run.json",
        "top_losses.png",
        "valid.csv",
    ]
    assert load_recipe(trained.folder / "recipe.toml", ClassifierRecipe) == RECIPE
    for name in ("confusion", "curves", "top_losses"):
        assert min(photo_size(trained.folder / f"{name}.png")) > 100


def test_history_has_a_row_for_every_epoch(trained):
    history = pd.read_csv(trained.folder / "history.csv")
    assert history[["stage", "epoch"]].to_numpy().tolist() == [[0, 0], [0, 1], [0, 2], [1, 0]]
    assert history["lr"].tolist() == pytest.approx([1e-3, 1e-3, 1e-3, 1e-4])
    assert history["accuracy"].max() > 0.6, "three colours are easily told apart"
    assert np.isfinite(history.to_numpy()).all()


def test_lines_tell_counts_start_and_epochs(trained):
    assert trained.lines[0] == (
        "train: with_mask 12, without_mask 12, mask_weared_incorrect 12; "
        "valid: with_mask 4, without_mask 4, mask_weared_incorrect 4"
    )
    assert trained.lines[1].startswith("note: from random weights")
    assert trained.lines[2] == "stage 0: 32 px, at most 3 epochs"
    assert trained.lines[-1].startswith("stage 1, epoch 0: train_loss ")


def test_card_says_how_to_use_the_weights(trained, prepared):
    state, card = load_weights(trained.folder / "classifier.safetensors", ClassifierCard)
    assert card == trained.card
    assert card.input_size == 48
    assert card.training["recipe"] == RECIPE.model_dump(mode="json")
    assert card.training["data"] == identify_data(prepared)[0]
    assert card.results["valid"]["all"]["faces"] == 12
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    stored = load_file(trained.folder / "classifier.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.float16, torch.int64}


def test_figures_on_the_card_are_those_of_the_shipped_file(trained, prepared):
    """Loaded again and used as `run.py` does, the weights do what the card claims."""
    classifier = Classifier.load(trained.folder / "classifier.safetensors", device=CPU)
    faces = read_faces(prepared)
    valid = faces[faces["split"] == "valid"]
    probabilities = classifier.classify(
        [read_photo(prepared / crop).pixels for crop in valid["crop"]]
    )
    table = pd.read_csv(trained.folder / "valid.csv")
    assert table[["source", "image", "object"]].to_numpy().tolist() == (
        valid[["source", "image", "object"]].to_numpy().tolist()
    )
    written = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(written, probabilities, atol=0.01)
    predicted = [CLASSES[index] for index in probabilities.argmax(axis=1)]
    assert table["predicted"].tolist() == predicted
    accuracy = accuracy_score(valid["label"], predicted)
    assert trained.card.results["valid"]["all"]["accuracy"] == pytest.approx(accuracy)
    own = written[np.arange(12), [CLASSES.index(label) for label in table["label"]]]
    np.testing.assert_allclose(table["loss"], -np.log(own), atol=0.01)


@pytest.mark.usefixtures("without_plots")
def test_killed_again_and_again_equals_an_uninterrupted_run(
    trained, prepared, tmp_path, monkeypatch
):
    """Before the first checkpoint, in a stage, between stages, at the very end."""
    folder = tmp_path / "killed"
    monkeypatch.setattr(finish_classifier, "plot_confusion", kill)
    for stop in ("stage 0, epoch 0", "stage 0, epoch 2", "stage 1, epoch 0", None):
        with pytest.raises(Killed):
            train(prepared, folder, stop=stop)
    monkeypatch.setattr(finish_classifier, "plot_confusion", lambda *_: None)
    last = train(prepared, folder)
    assert not any("epoch 0:" in line for line in last.lines), "nothing was left to train"
    ours, theirs = (load_file(run.folder / "classifier.safetensors") for run in (last, trained))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for name in ("history.csv", "valid.csv", "recipe.toml"):
        assert (folder / name).read_bytes() == (trained.folder / name).read_bytes(), name
    assert last.card.results == trained.card.results
    assert not (folder / "checkpoint.pt").exists()


def kill(*_):
    raise Killed


class EverWorse(CrossEntropyLossFlat):
    """A loss that grows whenever it is validated."""

    validated = 0.0

    def __call__(self, predicted, truth, **options):
        loss = super().__call__(predicted, truth, **options)
        if loss.requires_grad:
            return loss
        EverWorse.validated += 1
        return loss * 0 + EverWorse.validated


@pytest.mark.usefixtures("without_plots")
def test_ended_stage_and_found_rate_stay_so_after_a_kill(prepared, tmp_path, monkeypatch):
    found = []

    def find(_self, **_):
        found.append(1)
        return SimpleNamespace(valley=2e-3)

    monkeypatch.setattr(training.Learner, "lr_find", find)
    monkeypatch.setattr(classifier_learner, "CrossEntropyLossFlat", EverWorse)
    recipe = RECIPE.model_copy(update={"lr": "find", "patience": 1})
    with pytest.raises(Killed):
        train(prepared, tmp_path / "a", recipe, stop="stage 1, epoch 0")
    run = train(prepared, tmp_path / "a", recipe)
    history = pd.read_csv(run.folder / "history.csv")
    assert history[["stage", "epoch"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0]]
    assert not any(line.startswith("stage 0, epoch") for line in run.lines)
    assert history["lr"].tolist() == pytest.approx([2e-3, 2e-3, 2e-4])
    assert len(found) == 1


@pytest.mark.usefixtures("without_plots")
def test_bf16_and_mixup(prepared, tmp_path):
    recipe = SHORT.model_copy(update={"bf16": "on", "mixup": 0.4})
    run = train(prepared, tmp_path / "a", recipe)
    assert np.isfinite(pd.read_csv(run.folder / "history.csv").to_numpy()).all()
    state, _ = load_weights(run.folder / "classifier.safetensors", ClassifierCard)
    assert all(torch.isfinite(tensor).all() for tensor in state.values())


@pytest.mark.usefixtures("without_plots")
def test_the_detectors_body_is_trained_and_used(prepared, tmp_path):
    recipe = SHORT.model_copy(update={"architecture": "mobilenet0.25", "init": "detector"})
    run = train(prepared, tmp_path / "a", recipe)
    assert run.card.architecture == "mobilenet0.25"
    table = pd.read_csv(run.folder / "valid.csv")
    faces = read_faces(prepared).set_index(["source", "image", "object"])
    keys = table[["source", "image", "object"]].itertuples(index=False, name=None)
    crops = [read_photo(prepared / faces.loc[key, "crop"]).pixels for key in keys]
    used = Classifier.load(run.folder / "classifier.safetensors", device=CPU).classify(crops)
    np.testing.assert_allclose(used, table[[f"p_{name}" for name in CLASSES]], atol=2e-3)


def test_nothing_to_train_on(prepared, tmp_path):
    recipe = SHORT.model_copy(update={"sources": ["elsewhere"]})
    with pytest.raises(TableError, match="'elsewhere'; there are: set"):
        train(prepared, tmp_path / "a", recipe)


def test_record_of_the_run_is_json(trained):
    about = json.loads((trained.folder / "run.json").read_text())
    assert about["data"]["sources"] == ["set"]


@pytest.mark.slow
def test_rate_is_found(prepared, tmp_path):
    run = train(prepared, tmp_path / "a", SHORT.model_copy(update={"lr": "find"}))
    assert 1e-6 < pd.read_csv(run.folder / "history.csv")["lr"].item() < 1
    assert any(line.startswith("learning rate found: ") for line in run.lines)
    assert not (run.folder / "models").exists() or not list((run.folder / "models").iterdir())
    shutil.rmtree(run.folder)


TRIO = SHORT.model_copy(update={"name": "trio", "members": 3, "architecture": "sequential"})


@pytest.mark.usefixtures("without_plots")
def test_members_differ_by_their_seeds_and_answer_together(prepared, tmp_path):
    run = train(prepared, tmp_path / "a", TRIO)
    members = sorted((run.folder / "members").iterdir())
    assert [path.name for path in members] == ["001-trio-1", "002-trio-2", "003-trio-3"]
    assert sum(line.startswith("002-trio-2: stage 0, epoch 0") for line in run.lines) == 1
    state, _ = load_weights(run.folder / "classifier.safetensors", ClassifierCard)
    for place, path in enumerate(members):
        own, _ = load_weights(path / "classifier.safetensors", ClassifierCard)
        assert all(tensor.equal(state[f"members.{place}.{key}"]) for key, tensor in own.items())
    seed = tomllib.loads((members[1] / "recipe.toml").read_text())["seed"]
    alone = train(prepared, tmp_path / "b", TRIO.model_copy(update={"members": 1, "seed": seed}))
    second, _ = load_weights(members[1] / "classifier.safetensors", ClassifierCard)
    again, _ = load_weights(alone.folder / "classifier.safetensors", ClassifierCard)
    assert all(again[key].equal(tensor) for key, tensor in second.items())
    history = pd.read_csv(run.folder / "history.csv")
    assert history["member"].tolist() == [0, 1, 2]
    crops = [read_photo(prepared / crop).pixels for crop in read_faces(prepared)["crop"].head(5)]
    answers = Classifier.load(run.folder / "classifier.safetensors", device=CPU).classify(crops)
    assert answers.sum(axis=1) == pytest.approx(1)


@pytest.mark.usefixtures("without_plots")
def test_killed_ensemble_keeps_its_finished_members(prepared, tmp_path):
    whole = train(prepared, tmp_path / "whole", TRIO)
    with pytest.raises(Killed):
        train(prepared, tmp_path / "a", TRIO, stop="002-trio-2: stage 0, epoch 0")
    rest = train(prepared, tmp_path / "a", TRIO)
    assert "001-trio-1: trained before" in rest.lines
    file = "classifier.safetensors"
    assert (rest.folder / file).read_bytes() == (whole.folder / file).read_bytes()


@pytest.mark.usefixtures("without_plots")
def test_odds_lean_to_the_rare_class_in_use_only(prepared, tmp_path):
    plain = train(prepared, tmp_path / "a", SHORT)
    leaning = train(prepared, tmp_path / "b", SHORT.model_copy(update={"rare_odds": 3.0}))
    tables = [pd.read_csv(run.folder / "valid.csv") for run in (plain, leaning)]
    before, after = (t["p_mask_weared_incorrect"] / t["p_with_mask"] for t in tables)
    assert (after / before).to_numpy() == pytest.approx(3.0, rel=0.05)
    assert plain.card.temperature == leaning.card.temperature


def test_members_share_no_seed_of_any_epoch():
    """An epoch is seeded by its number after the seed of its training, stages 1000 apart."""
    recipe = ClassifierRecipe(members=4, sizes=[32, 48], epochs=[30, 30])
    seeds = [
        member_of(recipe, place).seed + 1000 * stage + epoch
        for place in range(4)
        for stage in range(2)
        for epoch in range(30)
    ]
    assert len(set(seeds)) == len(seeds)
