"""Tables and plot of a sweep, and the command."""

import json

import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.experiments.sweep import Outcome, describe_sweep, make_grid, tabulate, write_report
from pipeline.runs.recipe import write_recipe
from tests.pipeline.tables import TINY


def outcome(point, recall, accuracy=0.9, loss=0.3, seconds=12.0):
    recalls = {"with_mask": 0.9, "without_mask": recall, "mask_weared_incorrect": 0.5}
    return Outcome(point, accuracy, recall, loss, recalls, 40, seconds, f"00{recall}")


@pytest.fixture
def outcomes():
    a, b, c, d = make_grid("default", ["lr=1e-3,3e-3", "repeat_rare=1,2"])
    return [
        outcome(a, 0.5), outcome(b, 0.7, accuracy=0.8), outcome(c, 0.7, loss=0.2, seconds=None),
        outcome(d, 0.7, loss=0.1),
    ]  # fmt: skip


def call(*arguments):
    result = CliRunner().invoke(app, ["sweep", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_best_first_by_macro_recall_then_accuracy_then_loss(outcomes):
    table = tabulate(outcomes)
    assert table[["lr", "repeat_rare"]].to_numpy().tolist() == [
        ["3e-3", "2"], ["3e-3", "1"], ["1e-3", "2"], ["1e-3", "1"],
    ]  # fmt: skip


def test_text_says_what_the_figures_are_worth(outcomes):
    text = describe_sweep(outcomes, None)
    assert text.splitlines()[0].startswith("| lr | repeat_rare | macro recall | accuracy | loss |")
    assert text.splitlines()[2] == (
        "| `3e-3` | `2` | 0.700 | 0.900 | 0.100 | 0.900 | 0.700 | 0.500 | 12 | 000.7 |"
    )
    assert "one validation split of 40 faces" in text
    assert "luckiest of 4" in text
    assert "optimistic" in text
    assert "3 grouped folds of 40 training faces" in describe_sweep(outcomes, 3)


def test_report_is_written(outcomes, tmp_path):
    write_report(outcomes, tmp_path, None)
    table = pd.read_csv(tmp_path / "sweep.csv")
    assert table["macro_recall"].tolist() == [0.7, 0.7, 0.7, 0.5]
    assert table["seconds"].isna().tolist() == [False, True, False, False]
    assert (tmp_path / "sweep.md").read_text() == describe_sweep(outcomes, None) + "\n"
    with Image.open(tmp_path / "sweep.png") as picture:
        assert min(picture.size) > 300


def test_dry_run_trains_nothing(prepared, tmp_path):
    sets = ("--set", "lr=1e-3,3e-3", "--set", "repeat_rare=1,2", "-o", tmp_path / "out")
    result = call(prepared, *sets, "--dry-run")
    assert result.stdout.splitlines()[0] == "lr=1e-3, repeat_rare=1"
    assert len(result.stdout.splitlines()) == 4
    assert result.stderr == "4 combinations\n"
    assert not (tmp_path / "out").exists()
    told = json.loads(call(prepared, *sets, "--dry-run", "--log", "json").stdout)
    assert told["combinations"][3] == {"lr": "3e-3", "repeat_rare": "2"}


def test_a_whole_sweep(prepared, tmp_path):
    """Nothing is a stand-in here: two trainings of an epoch, and one that was there."""
    (tmp_path / "tiny.toml").write_text(write_recipe(TINY))
    options = ["--recipe", tmp_path / "tiny.toml", "-o", tmp_path / "out", "--jobs", 1]
    result = call(prepared, *options, "--set", "lr=1e-3,1e-2", "--device", "cpu")
    assert result.exit_code == 0
    assert result.stdout == (tmp_path / "out" / "sweep.md").read_text()
    result = call(prepared, *options, "--set", "lr=1e-3,1e-2", "--log", "json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[0]["done"] == 2
    assert events[-1]["event"] == "result"
    assert {row["lr"] for row in events[-1]["rows"]} == {"1e-3", "1e-2"}
    assert events[-1]["table"] == str(tmp_path / "out" / "sweep.csv")


def test_folds(prepared, tmp_path, by_colour):
    (tmp_path / "tiny.toml").write_text(write_recipe(TINY))
    options = ["--recipe", tmp_path / "tiny.toml", "-o", tmp_path / "out", "--jobs", 1]
    result = call(prepared, *options, "--set", "lr=1e-3,1e-2", "--folds", 2)
    assert result.exit_code == 0
    assert len(by_colour) == 4
    assert "2 grouped folds of 36 training faces" in result.stdout


def test_what_is_refused(prepared, tmp_path):
    sets = ("-o", tmp_path / "out", "--set")
    result = call(prepared, *sets, "seed=" + ",".join(map(str, range(200))))
    assert result.exit_code == 2
    assert "error: 200 combinations are more than 100" in result.stderr
    assert call(tmp_path, *sets, "lr=1e-3,3e-3").exit_code == 2
