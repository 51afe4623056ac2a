"""Sweeps on painted faces: the grid, what is trained, found again, gone on with, and measured."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from data_prep.base.labels import CLASSES
from data_prep.base.tables import read_faces
from pipeline.experiments import engine
from pipeline.experiments.engine import ExperimentError
from pipeline.experiments.sweep import (
    SweepOptions,
    describe_sweep,
    make_grid,
    run_sweep,
    sort_rows,
    split_values,
)
from pipeline.runs.recipe import RecipeError
from tests.pipeline.makers import Told, assert_refused, call
from tests.pipeline.tables import write_tiny

RATES = ["lr=1e-3,3e-3"]
BOTH = ["lr=1e-3,3e-3", "repeat_rare=1,2"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-3, [[1,2],[3]], [ ]", ["1e-3", "[[1,2],[3]]", "[ ]"]),
        ("'a,b',\"c,'d\",['a,]b']", ["'a,b'", '"c,\'d"', "['a,]b']"]),
    ],
)
def test_commas_in_brackets_and_quotes_do_not_split(text, values):
    assert split_values(text) == values


@pytest.mark.parametrize("text", ["", "1,,2", "1,", ",1", "[1,2", "1],2", "'a,b", '"'])
def test_what_is_not_a_list_of_values(text):
    with pytest.raises(ExperimentError):
        split_values(text)


VALUES = st.one_of(
    st.integers().map(str),
    st.lists(st.integers(), min_size=1).map(str),
    st.text("ab,[]", min_size=1).map(lambda text: f"'{text}'"),
)


@given(st.lists(VALUES, min_size=1))
def test_what_is_joined_is_split_again(values):
    assert split_values(", ".join(values)) == values


def test_every_combination_the_last_key_fastest():
    grid = make_grid("default", ["lr=1e-3,3e-3", "seed=7", "repeat_rare=1,2"])
    numbers = [(one.recipe.lr, one.recipe.repeat_rare, one.recipe.seed) for one in grid]
    assert numbers == [(1e-3, 1, 7), (1e-3, 2, 7), (3e-3, 1, 7), (3e-3, 2, 7)]
    assert grid[1].values == {"lr": "1e-3", "repeat_rare": "2"}, "seed is not swept"
    assert grid[1].name == "lr=1e-3, repeat_rare=2"
    grid = make_grid("suspects", ["sizes=[64],[96]"])
    assert [one.recipe.sizes for one in grid] == [[64], [96]]


MANY = ["seed=" + ",".join(map(str, range(101)))]


@pytest.mark.parametrize(
    ("sets", "error", "words"),
    [
        (["lr"], ExperimentError, "write key=value"),
        (["lr=1e-3"], ExperimentError, "nothing to sweep"),
        (["lr=1e-3", "lr=3e-3"], ExperimentError, "given twice"),
        (["lr=1e-3,0.001"], ExperimentError, "lr=0.001: the same numbers as lr=1e-3"),
        (MANY, ExperimentError, "101 combinations are more than 100"),
        (["lrr=1,2"], RecipeError, "lrr"),
        (["lr=1e-3,fast"], RecipeError, "lr"),
        (["sizes=[96],[96,128]"], RecipeError, "sizes"),
    ],
)
def test_what_is_refused(sets, error, words):
    with pytest.raises(error, match=words):
        make_grid("default", sets)


@pytest.fixture
def calls(monkeypatch):
    """Trainings take no time: each guesses by its rate, and leaves what a training leaves."""
    made = []

    def train(faces, prepared, recipe, run, *, device, log):
        made.append((run.folder.name, recipe))
        log("epoch 1 of 1: trained", "epoch", epoch=0)
        rng = np.random.default_rng(round(1e6 * recipe.lr) + recipe.repeat_rare)
        valid = faces[faces["split"] == "valid"]
        table = valid[["source", "image", "object", "label"]].copy()
        shares = rng.dirichlet([1, 1, 1], len(valid))
        for index, name in enumerate(CLASSES):
            table[f"p_{name}"] = shares[:, index]
        table.assign(predicted="").to_csv(run.folder / "valid.csv", index=False)
        (run.folder / "classifier.safetensors").write_bytes(b"weights")
        (run.folder / "classifier.json").write_text('{"results": {"valid": {"all": {}}}}')

    monkeypatch.setattr(engine, "train_classifier", train)
    return made


@pytest.fixture
def sweep(prepared, tmp_path):
    def call(sets, log=None, prepared=prepared, **changes):
        recipe = write_tiny(tmp_path)
        changes = {"device": "cpu", "jobs": 1} | changes
        options = SweepOptions(prepared, tmp_path / "out", sets, recipe, **changes)
        return run_sweep(options, log or Told())[0]

    return call


def test_a_run_folder_per_combination(tmp_path, sweep, calls):
    told = Told()
    table = sweep(BOTH, told)
    assert [(name, r.lr, r.repeat_rare) for name, r in calls] == [
        ("001-tiny", 1e-3, 1), ("002-tiny", 1e-3, 2), ("003-tiny", 3e-3, 1), ("004-tiny", 3e-3, 2),
    ]  # fmt: skip
    runs = {(row.lr, row.repeat_rare): row.run for row in table.itertuples()}
    assert runs["1e-3", "2"] == "002-tiny"
    assert told.lines[1] == "lr=1e-3, repeat_rare=1: epoch 1 of 1: trained"
    assert told.events[1]["values"] == {"lr": "1e-3", "repeat_rare": "1"}
    assert told.events[1]["folder"] == tmp_path / "out" / "001-tiny"
    (first,) = table[table["run"] == "001-tiny"].itertuples()
    valid = pd.read_csv(tmp_path / "out" / "001-tiny" / "valid.csv")
    shares = valid[[f"p_{name}" for name in CLASSES]].to_numpy()
    truth = [CLASSES.index(label) for label in valid["label"]]
    assert first.accuracy == pytest.approx(accuracy_score(truth, shares.argmax(axis=1)))
    recall = balanced_accuracy_score(truth, shares.argmax(axis=1))
    assert first.macro_recall == pytest.approx(recall)
    assert first.loss == pytest.approx(log_loss(truth, shares))
    assert first.seconds >= 0


def test_finished_ones_are_not_trained_again(sweep, calls):
    before = sweep(RATES)
    told = Told()
    pd.testing.assert_frame_equal(sweep(RATES, told), before)
    assert told.lines == ["2 of 2 trainings were done before"]
    assert len(calls) == 2
    more = sweep(["repeat_rare=1,2", "lr=1e-3,3e-3,9e-3"])
    assert len(calls) == 6, "two of the six were there"
    assert set(more.loc[(more["repeat_rare"] == "1"), "run"]) >= {"001-tiny", "002-tiny"}


def test_stopped_sweep_goes_on_in_the_same_folders(tmp_path, sweep, calls, monkeypatch):
    whole = engine.train_classifier

    def stop(faces, prepared, recipe, run, **options):
        if recipe.lr == 3e-3:
            (run.folder / "checkpoint.pt").write_bytes(b"stopped here")
            raise KeyboardInterrupt
        whole(faces, prepared, recipe, run, **options)

    monkeypatch.setattr(engine, "train_classifier", stop)
    with pytest.raises(KeyboardInterrupt):
        sweep(RATES)
    monkeypatch.setattr(engine, "train_classifier", whole)
    table = sweep(RATES)
    assert [name for name, _ in calls] == ["001-tiny", "002-tiny"]
    folders = sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert folders == ["001-tiny", "002-tiny"]
    known = table.set_index("lr")["seconds"].notna()
    assert known.to_dict() == {"1e-3": True, "3e-3": False}, "not what it took before the stop"


def test_broken_folders_are_left_alone_and_other_data_trained_anew(
    prepared, tmp_path, sweep, calls
):
    sweep(RATES)
    out, copy = tmp_path / "out", tmp_path / "copy"
    (out / "001-tiny" / "run.json").write_text("[]")
    (out / "notes").mkdir()
    sweep(RATES)
    assert [name for name, _ in calls] == ["001-tiny", "002-tiny", "003-tiny"]
    assert (out / "001-tiny" / "run.json").read_text() == "[]"
    shutil.copytree(prepared, copy)
    read_faces(copy).iloc[::-1].to_csv(copy / "faces.csv", index=False)
    sweep(RATES, prepared=copy)
    assert [name for name, _ in calls][3:] == ["004-tiny", "005-tiny"]


def test_folds_judge_training_faces_by_networks_that_saw_none_of_their_kin(
    prepared, tmp_path, sweep, by_colour
):
    table = sweep(RATES, folds=3)
    faces = read_faces(prepared)
    train = faces[faces["split"] == "train"]
    assert table["accuracy"].tolist() == [1.0, 1.0]
    assert len(by_colour) == 6
    for one in by_colour:
        assert set(one.faces["image"]) < set(train["image"])
    text = (tmp_path / "out" / "sweep.md").read_text()
    assert "3 grouped folds of 36 training faces" in text
    sweep(RATES, folds=3)
    assert len(by_colour) == 6, "what is done stays done"
    with pytest.raises(RecipeError, match="lr is 'find'"):
        sweep(["lr=find,1e-3"], folds=2)


def row(lr, repeat_rare, recall, accuracy=0.9, loss=0.3, seconds=12.0):
    recalls = {"with_mask": 0.9, "without_mask": recall, "mask_weared_incorrect": None}
    return {
        "lr": lr, "repeat_rare": repeat_rare, "macro_recall": recall, "accuracy": accuracy,
        "loss": loss, **{f"recall_{name}": value for name, value in recalls.items()},
        "seconds": seconds, "run": f"00{recall}",
    }  # fmt: skip


def test_best_first_and_what_the_figures_are_worth():
    rows = [row("1e-3", "1", 0.5), row("1e-3", "2", 0.7, accuracy=0.8)]
    rows += [row("3e-3", "1", 0.7, loss=0.2, seconds=None), row("3e-3", "2", 0.7, loss=0.1)]
    table = sort_rows(rows)
    assert (table["lr"] + table["repeat_rare"]).tolist() == ["3e-32", "3e-31", "1e-32", "1e-31"]
    text = describe_sweep(table, 40, None)
    lines = text.splitlines()
    assert lines[0].startswith("| lr | repeat_rare | macro recall | accuracy | loss |")
    assert lines[2] == "| `3e-3` | `2` | 0.700 | 0.900 | 0.100 | 0.900 | 0.700 | – | 12 | 000.7 |"
    assert "| – | 000.7 |" in lines[3]
    for words in ("one validation split of 40 faces", "luckiest of 4", "optimistic"):
        assert words in text


def test_dry_run_trains_nothing(prepared, tmp_path):
    sets = ("--set", "lr=1e-3,3e-3", "--set", "repeat_rare=1,2", "-o", tmp_path / "out")
    result = call("sweep", prepared, *sets, "--dry-run")
    assert result.stdout.splitlines()[0] == "lr=1e-3, repeat_rare=1"
    assert len(result.stdout.splitlines()) == 4
    assert result.stderr == "4 combinations\n"
    assert not (tmp_path / "out").exists()
    told = json.loads(call("sweep", prepared, *sets, "--dry-run", "--log", "json").stdout)
    assert told["combinations"][3] == {"lr": "3e-3", "repeat_rare": "2"}
    result = call("sweep", prepared, "-o", tmp_path / "out", "--set", MANY[0])
    assert_refused(result, "101 combinations are more than 100")


@pytest.mark.usefixtures("without_plots")
def test_a_whole_sweep(prepared, tmp_path):
    """Nothing is a stand-in here: two trainings of an epoch, and one that was there."""
    out = tmp_path / "out"
    recipe = write_tiny(tmp_path, architecture="sequential", init="random")
    options = ["--recipe", recipe, "-o", out, "--jobs", 1, "--set", "lr=1e-3,1e-2"]
    result = call("sweep", prepared, *options, "--device", "cpu")
    assert result.exit_code == 0
    assert result.stdout == (out / "sweep.md").read_text()
    result = call("sweep", prepared, *options, "--log", "json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[0]["done"] == 2
    assert events[-1]["event"] == "result"
    assert {row["lr"] for row in events[-1]["rows"]} == {"1e-3", "1e-2"}
    assert events[-1]["table"] == str(out / "sweep.csv")
    assert len(pd.read_csv(out / "sweep.csv")) == 2
    with Image.open(out / "sweep.png") as picture:
        assert min(picture.size) > 100


@pytest.mark.slow
def test_numbers_do_not_depend_on_jobs(tmp_path, sweep, capfd):
    from pipeline.runs.log import JsonReporter

    one = sweep(RATES)
    shutil.move(tmp_path / "out", tmp_path / "first")
    two = sweep(RATES, JsonReporter().log, jobs=2)
    assert one["loss"].tolist() == two["loss"].tolist()
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {event["values"]["lr"] for event in events} == {"1e-3", "3e-3"}
