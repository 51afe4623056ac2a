"""Sweeps on painted faces: the grid, who judges whom, and what comes of it."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from data_prep.base.errors import OptionError
from data_prep.base.labels import CLASSES
from data_prep.base.tables import read_faces
from pipeline.experiments import sweep as sweeping
from pipeline.experiments.plans import make_grid, split_values
from pipeline.experiments.sweep import Judged, run_sweep
from pipeline.runs.options import SweepOptions
from pipeline.runs.recipe import ClassifierRecipe, RecipeError, change_recipe, load_recipe
from tests.pipeline.makers import Told, assert_refused, call
from tests.pipeline.tables import write_tiny


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-3, [[1,2],[3]], [ ]", ["0.001", "[[1, 2], [3]]", "[]"]),
        ("'a,b',\"c,'d\"", ["a,b", "c,'d"]),
        ("fast, none", ["fast", "none"]),
    ],
)
def test_commas_in_brackets_and_quotes_do_not_split(text, values):
    assert split_values(text) == values


@pytest.mark.parametrize("text", ["", "1,,2", ",1", "fast,"])
def test_what_is_not_a_list_of_values(text):
    with pytest.raises(OptionError):
        split_values(text)


def test_every_combination_the_last_key_fastest():
    grid = make_grid("default", ["lr=1e-3,3e-3", "seed=7", "repeat_rare=1,2"])
    recipe = load_recipe("default", ClassifierRecipe)
    recipes = [change_recipe(recipe, list(one.sets)) for one in grid]
    numbers = [(one.lr, one.repeat_rare, one.seed) for one in recipes]
    assert numbers == [(1e-3, 1, 7), (1e-3, 2, 7), (3e-3, 1, 7), (3e-3, 2, 7)]
    assert grid[1].name == "lr=0.001, repeat_rare=2", "seed is not swept"
    assert len({one.folder for one in grid}) == 4
    assert all(one.folder.isalnum() for one in grid), "of files that any system allows"
    grid = make_grid("suspects", ["sizes=[64],[96]"])
    assert [one.sets for one in grid] == [("sizes=[64]",), ("sizes=[96]",)]


@pytest.mark.parametrize(
    ("sets", "error", "words"),
    [
        (["lr"], OptionError, "write key=value"),
        (["lr=1e-3"], OptionError, "nothing to sweep"),
        (["lr=1e-3", "lr=3e-3"], OptionError, "given twice"),
        (["lr=1e-3,0.001"], OptionError, "lr=0.001: the same numbers as lr=0.001"),
        (["faces=all,kept"], OptionError, "would judge other faces"),
        (["lrr=1,2"], RecipeError, "lrr"),
        (["lr=1e-3,fast"], RecipeError, "lr"),
        (["sizes=[96],[96,128]"], RecipeError, "sizes"),
    ],
)
def test_what_is_refused(sets, error, words):
    with pytest.raises(error, match=words):
        make_grid("default", sets)


def test_training_faces_are_judged_by_networks_that_saw_none_of_their_kin(
    prepared, tmp_path, by_colour
):
    out, faces = tmp_path / "out", read_faces(prepared)
    images = set(faces.loc[faces["split"] == "train", "image"])
    given = ["sweep", prepared, "-o", out, "--recipe", write_tiny(tmp_path), "--jobs", 1]
    given += ["--set", "lr=1e-3,3e-3", "--set", "seed=0,1"]
    result = call(*given)
    assert result.exit_code == 0, result.output
    assert len(by_colour) == 4 * 3
    assert {(one.recipe.lr, one.recipe.seed) for one in by_colour} == {
        *((rate, seed) for rate in (1e-3, 3e-3) for seed in (0, 1))
    }
    assert all(set(one.faces["image"]) < images for one in by_colour)
    table = pd.read_csv(out / "sweep.csv")
    assert table["accuracy"].tolist() == [1.0] * 4
    assert list(table) == [
        *("lr", "seed", "macro_recall", "accuracy", "loss", *(f"recall_{c}" for c in CLASSES)),
        *("difference", "low", "high", "seconds"),
    ]
    assert result.stdout == (out / "sweep.md").read_text()
    assert "Measured on 36 training faces" in result.stdout
    again = call(*given, "--log", "json")
    events = [json.loads(line) for line in again.stdout.splitlines()]
    assert len(by_colour) == 12, "what is done stays done"
    assert events[0]["done"] == 12
    assert events[-1]["table"] == str(out / "sweep.csv")
    assert {row["lr"] for row in events[-1]["rows"]} == {"0.001", "0.003"}
    assert_refused(call(*given[:-4], "--set", "lr=find,1e-3"), "lr is 'find'")


def test_figures_against_scikit_learn_the_best_first(prepared, tmp_path, monkeypatch):
    """Each combination guesses by its rate."""
    shares = {}

    def judge(plans, *_):
        for seed, one in enumerate(plans):
            rng = np.random.default_rng(seed)
            shares[one.what] = rng.dirichlet([1, 1, 1], len(one.table)), one.table
        return [Judged(found, 12.0) for found, _ in shares.values()]

    monkeypatch.setattr(sweeping, "judge_trials", judge)
    sets = ["lr=1e-3,2e-3,3e-3"]
    options = SweepOptions(prepared, tmp_path, sets, write_tiny(tmp_path), device="cpu")
    table, text = run_sweep(options, Told())
    assert table["macro_recall"].is_monotonic_decreasing
    for row in table.itertuples():
        found, faces = shares[f"lr={row.lr}"]
        truth = [CLASSES.index(label) for label in faces["label"]]
        assert row.accuracy == pytest.approx(accuracy_score(truth, found.argmax(axis=1)), abs=1e-4)
        recall = balanced_accuracy_score(truth, found.argmax(axis=1))
        assert row.macro_recall == pytest.approx(recall, abs=1e-4)
        assert row.loss == pytest.approx(log_loss(truth, found))
        assert row.low <= row.difference <= row.high
        assert f"| `{row.lr}` | {row.macro_recall:.3f} |" in text
    first = table[table["lr"] == "0.001"]
    assert first[["difference", "low", "high"]].to_numpy().tolist() == [[0, 0, 0]]
    for words in ("differences are from lr=0.001", "luckiest of 3", "optimistic"):
        assert words in text


@pytest.mark.parametrize("command", ["sweep", "clean-effect"])
def test_results_are_not_put_beside_other_files(prepared, tmp_path, command):
    (tmp_path / "metrics.json").write_text("{}")
    more = ["--set", "lr=1e-3,3e-3"] if command == "sweep" else [prepared]
    assert_refused(call(command, prepared, *more, "-o", tmp_path), "holds other files")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_dry_run_trains_nothing(prepared, tmp_path):
    sets = ("--set", "lr=1e-3,3e-3", "--set", "repeat_rare=1,2", "-o", tmp_path / "out")
    result = call("sweep", prepared, *sets, "--dry-run")
    assert result.stdout.splitlines()[0] == "lr=0.001, repeat_rare=1"
    assert len(result.stdout.splitlines()) == 4
    assert result.stderr == "4 combinations\n"
    assert not (tmp_path / "out").exists()
    told = json.loads(call("sweep", prepared, *sets, "--dry-run", "--log", "json").stdout)
    assert told["combinations"][3] == {"lr": "0.003", "repeat_rare": "2"}
