"""Sweeps on painted faces: what is trained, found again, gone on with, and measured."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from data_prep.base.labels import CLASSES
from data_prep.base.tables import read_faces
from pipeline.experiments.sweep import judge_on_folds, make_grid, train_grid
from pipeline.runs.folder import PreparedError
from pipeline.runs.recipe import RecipeError, write_recipe
from pipeline.training import once as train_once
from tests.pipeline.makers import CPU, Told
from tests.pipeline.tables import TINY


@pytest.fixture
def grid(tmp_path):
    (tmp_path / "tiny.toml").write_text(write_recipe(TINY))

    def make(*sets):
        return make_grid(str(tmp_path / "tiny.toml"), sets or ["lr=1e-3,3e-3", "repeat_rare=1,2"])

    return make


@pytest.fixture
def calls(monkeypatch):
    """Trainings take no time: each guesses by its rate, and leaves what a training leaves."""
    made = []

    def train(faces, prepared, recipe, run, *, device, log):
        made.append((run.folder.name, recipe))
        log("stage 0, epoch 0: trained", "epoch", epoch=0)
        rng = np.random.default_rng(round(1e6 * recipe.lr) + recipe.repeat_rare)
        valid = faces[faces["split"] == "valid"]
        table = valid[["source", "image", "object", "label"]].copy()
        shares = rng.dirichlet([1, 1, 1], len(valid))
        for index, name in enumerate(CLASSES):
            table[f"p_{name}"] = shares[:, index]
        table.to_csv(run.folder / "valid.csv", index=False)
        (run.folder / "classifier.safetensors").write_bytes(b"weights")
        (run.folder / "classifier.json").write_text('{"results": {"valid": {"all": {}}}}')

    monkeypatch.setattr(train_once, "train_classifier", train)
    return made


def sweep(prepared, grid, out, log=None):
    return train_grid(prepared, grid, out, device=CPU, log=log or Told(), jobs=1)


def test_a_run_folder_per_combination(prepared, tmp_path, grid, calls):
    told = Told()
    outcomes = sweep(prepared, grid(), tmp_path / "out", told)
    assert [name for name, _ in calls] == ["001-tiny", "002-tiny", "003-tiny", "004-tiny"]
    assert [(r.lr, r.repeat_rare) for _, r in calls] == [
        (1e-3, 1), (1e-3, 2), (3e-3, 1), (3e-3, 2),
    ]  # fmt: skip
    assert [one.run for one in outcomes] == [name for name, _ in calls]
    assert told.lines[1] == "lr=1e-3, repeat_rare=1: stage 0, epoch 0: trained"
    assert told.events[1]["values"] == {"lr": "1e-3", "repeat_rare": "1"}
    assert told.events[1]["folder"] == tmp_path / "out" / "001-tiny"


@pytest.mark.usefixtures("calls")
def test_figures_are_those_of_the_predictions(prepared, tmp_path, grid):
    (first, *_) = sweep(prepared, grid(), tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "001-tiny" / "valid.csv")
    shares = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    truth = [CLASSES.index(label) for label in table["label"]]
    assert first.accuracy == pytest.approx(accuracy_score(truth, shares.argmax(axis=1)))
    recall = balanced_accuracy_score(truth, shares.argmax(axis=1))
    assert first.macro_recall == pytest.approx(recall)
    assert first.loss == pytest.approx(log_loss(truth, shares))
    assert first.faces == len(table)
    assert first.seconds >= 0


def test_finished_ones_are_not_trained_again(prepared, tmp_path, grid, calls):
    out = tmp_path / "out"
    before = sweep(prepared, grid("lr=1e-3,3e-3"), out)
    told = Told()
    assert sweep(prepared, grid("lr=1e-3,3e-3"), out, told) == before
    assert told.lines == ["2 of 2 trainings were done before"]
    assert len(calls) == 2
    more = sweep(prepared, grid("repeat_rare=1,2", "lr=1e-3,3e-3,9e-3"), out)
    assert len(calls) == 6, "two of the six were there"
    assert [one.run for one in more][:2] == ["001-tiny", "002-tiny"]


def test_other_data_are_trained_anew(prepared, tmp_path, grid, calls):
    out = tmp_path / "out"
    sweep(prepared, grid("lr=1e-3,3e-3"), out)
    copy = tmp_path / "copy"
    shutil.copytree(prepared, copy)
    faces = read_faces(copy)
    faces.iloc[::-1].to_csv(copy / "faces.csv", index=False)
    sweep(copy, grid("lr=1e-3,3e-3"), out)
    assert [name for name, _ in calls][2:] == ["003-tiny", "004-tiny"]


def test_stopped_sweep_goes_on_in_the_same_folders(prepared, tmp_path, grid, calls, monkeypatch):
    out = tmp_path / "out"
    whole = train_once.train_classifier

    def stop(faces, prepared, recipe, run, **options):
        if recipe.lr == 3e-3:
            (run.folder / "checkpoint.pt").write_bytes(b"stopped here")
            raise KeyboardInterrupt
        whole(faces, prepared, recipe, run, **options)

    monkeypatch.setattr(train_once, "train_classifier", stop)
    with pytest.raises(KeyboardInterrupt):
        sweep(prepared, grid("lr=1e-3,3e-3"), out)
    monkeypatch.setattr(train_once, "train_classifier", whole)
    outcomes = sweep(prepared, grid("lr=1e-3,3e-3"), out)
    assert [name for name, _ in calls] == ["001-tiny", "002-tiny"]
    assert sorted(path.name for path in out.iterdir()) == ["001-tiny", "002-tiny"]
    assert outcomes[0].seconds is not None
    assert outcomes[1].seconds is None, "what it took before the stop is not known"


def test_broken_and_foreign_folders_are_left_alone(prepared, tmp_path, grid, calls):
    out = tmp_path / "out"
    sweep(prepared, grid("lr=1e-3,3e-3"), out)
    (out / "001-tiny" / "run.json").write_text("[]")
    (out / "notes").mkdir()
    sweep(prepared, grid("lr=1e-3,3e-3"), out)
    assert [name for name, _ in calls] == ["001-tiny", "002-tiny", "003-tiny"]
    assert (out / "001-tiny" / "run.json").read_text() == "[]"


def test_folder_that_is_not_prepared(tmp_path, grid):
    with pytest.raises(PreparedError):
        sweep(tmp_path, grid(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folds_judge_training_faces_by_networks_that_saw_none_of_their_kin(
    prepared, tmp_path, grid, by_colour
):
    points = grid("lr=1e-3,3e-3")
    options = {"folds": 3, "device": CPU, "log": Told(), "jobs": 1}
    outcomes = judge_on_folds(prepared, points, tmp_path / "out", **options)
    faces = read_faces(prepared)
    train = faces[faces["split"] == "train"]
    assert [one.faces for one in outcomes] == [len(train)] * 2
    assert [one.accuracy for one in outcomes] == [1.0, 1.0]
    assert len(by_colour) == 6
    for call in by_colour:
        assert set(call.faces["image"]) < set(train["image"])
    judge_on_folds(prepared, points, tmp_path / "out", **options)
    assert len(by_colour) == 6, "what is done stays done"


def test_folds_need_a_rate(prepared, tmp_path, grid):
    with pytest.raises(RecipeError, match="lr is 'find'"):
        judge_on_folds(
            prepared, grid("lr=find,1e-3"), tmp_path, folds=2, device=CPU, log=Told(), jobs=1
        )


@pytest.mark.slow
def test_numbers_do_not_depend_on_jobs(prepared, tmp_path, grid, capfd):
    from pipeline.runs.log import JsonReporter

    points = grid("lr=1e-3,3e-3")
    one = train_grid(prepared, points, tmp_path / "a", device=CPU, log=Told(), jobs=1)
    two = train_grid(prepared, points, tmp_path / "b", device=CPU, log=JsonReporter().log, jobs=2)
    assert [o.loss for o in one] == [o.loss for o in two]
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {event["values"]["lr"] for event in events} == {"1e-3", "3e-3"}
