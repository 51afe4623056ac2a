"""The three commands: what they print, and what they refuse."""

import json

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.runs.recipe import ClassifierRecipe, load_recipe

SMALL = ["--set", "sizes=[32]", "--set", "epochs=[1]", "--set", "batch_size=12", "--jobs", "1"]


def call(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def assert_refused(result, *words):
    assert result.exit_code == 2
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_shipped_recipe_can_be_used_on_all_faces():
    recipe = load_recipe("suspects", ClassifierRecipe)
    assert recipe.faces == "all"
    assert recipe.lr != "find"
    # A classifier's weights may have learnt the very labels in doubt; a detector knows no classes.
    assert recipe.init in ("random", "detector")


def test_suspects(prepared, tmp_path, by_colour):
    result = call("suspects", prepared, "-o", tmp_path, "--folds", 3, "--seed", 4, *SMALL)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("48 faces, the most suspect first: ")
    assert {call.recipe.seed for call in by_colour} == {4}
    assert {call.recipe.sizes[0] for call in by_colour} == {32}
    assert len(by_colour) == 4, "three folds, and one training on all"


def test_noise_benchmark(prepared, tmp_path, by_colour):
    pytest.importorskip("cleanlab")
    result = call(
        "noise-benchmark", prepared, "-o", tmp_path, "--seeds", 1, "--kinds", "likely",
        "--folds", 2, "--rate", 0.2, *SMALL,
    )  # fmt: skip
    assert result.exit_code == 0
    assert result.stdout.startswith("**likely**: 7 of 36 labels flipped")
    assert "| merged |" in result.stdout
    assert (tmp_path / "noise.csv").is_file()
    assert (tmp_path / "noise.png").is_file()


def test_clean_effect(prepared, tmp_path, by_colour):
    result = call("clean-effect", prepared, prepared, "-o", tmp_path, "--seeds", 1, *SMALL)
    assert result.exit_code == 0
    assert "| accuracy | 1.000 | 1.000 | +0.000 (+0.000 to +0.000) | +0.000 |" in result.stdout


def test_each_as_json(prepared, tmp_path, by_colour):
    """A result with figures in place of the table, and a line for each training."""
    pytest.importorskip("cleanlab")
    noise = ("--seeds", 1, "--kinds", "likely", "--folds", 2, "--rate", 0.2)
    for name, arguments, fact in (
        ("suspects", ("--folds", 2), "faces"),
        ("noise-benchmark", noise, "figures"),
        ("clean-effect", (prepared, "--seeds", 1), "figures"),
        ("choices", ("--folds", 2, "--only", "grey"), "lines"),
    ):
        out = tmp_path / name
        result = call(name, prepared, *arguments, "-o", out, "--log", "json", *SMALL)
        assert result.exit_code == 0
        events = [json.loads(line) for line in result.stdout.splitlines()]
        ended = [event for event in events if event["event"] == "task ended"]
        assert ended
        assert all(0.5 < event["agreed"] <= 1 for event in ended)
        assert events[-1]["event"] == "result"
        assert events[-1]["folder"] == str(out)
        assert events[-1][fact]


def test_what_is_refused(prepared, tmp_path):
    out = tmp_path / "out"
    assert_refused(call("suspects", prepared, "-o", out, "--order", "odd"), "unknown order 'odd'")
    assert_refused(call("suspects", tmp_path, "-o", out), "not a prepared folder")
    assert_refused(call("suspects", prepared, "-o", out, "--folds", 40), "folds")
    assert_refused(call("suspects", prepared, "-o", out, "--set", "lr=find"), "lr is 'find'")
    assert_refused(call("noise-benchmark", prepared, "-o", out, "--kinds", "odd"), "uniform")
    assert_refused(call("clean-effect", prepared, tmp_path, "-o", out), "not a prepared folder")
