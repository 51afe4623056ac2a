"""What the commands of short trainings print, and what they refuse."""

import json
import re
import subprocess
import sys

import pytest

from data_prep.base import progress
from data_prep.base.labels import RARE_CLASS
from pipeline.runs.recipe import ClassifierRecipe, load_recipe
from tests.pipeline.makers import assert_refused, call
from tests.pipeline.prepared_copy import copy_prepared
from tests.pipeline.tables import write_tiny


def test_shipped_recipe_can_be_used_on_all_faces():
    recipe = load_recipe("suspects", ClassifierRecipe)
    assert recipe.faces == "all"
    assert recipe.lr != "find"
    # A classifier's weights may have learnt the very labels in doubt; a detector knows no classes.
    assert recipe.init in ("random", "detector")


def test_suspects(prepared, tmp_path, by_colour, monkeypatch):
    monkeypatch.setattr(progress, "QUIET", 0.0)
    small = ["--set", "sizes=[32]", "--set", "epochs=[1]", "--set", "batch_size=12", "--jobs", "1"]
    result = call("suspects", prepared, "-o", tmp_path, "--folds", 3, "--seed", 4, *small)
    assert (result.exit_code, result.stdout) == (0, "")
    lines = result.stderr.splitlines()
    assert lines[0] == "4 short trainings, 1 at a time, on 48 crops"
    assert any(line.startswith("short trainings: 3/4 in ") for line in lines)
    assert lines[-2].startswith("note: nets of so few faces err themselves")
    assert lines[-1].startswith("about 0 likely errors (0 to 0) in 48 faces, the most suspect firs")
    assert {(call.recipe.seed, *call.recipe.sizes) for call in by_colour} == {(4, 32)}
    assert len(by_colour) == 4, "three folds, and one training on all"


@pytest.fixture
def two(prepared, tmp_path):
    """Prepared data of which no face is a mask worn wrongly, of one dataset."""
    return copy_prepared(prepared, tmp_path / "two", lambda f: f[f["label"] != RARE_CLASS])


EACH = [
    ("suspects", ["--folds", 2], "faces"),
    ("clean-effect", ["CLEANED", "--seeds", 1], "figures"),
]


def clean(folder, out):
    """The folder without one of its training faces."""
    return copy_prepared(folder, out, lambda f: f.drop(f.index[f["split"] == "train"][0]))


@pytest.mark.parametrize(("name", "arguments", "fact"), EACH)
@pytest.mark.usefixtures("by_colour")
def test_each_of_two_classes(two, tmp_path, name, arguments, fact):
    arguments = [clean(two, tmp_path / "c") if one == "CLEANED" else one for one in arguments]
    options = ["-o", tmp_path / "out", "--recipe", write_tiny(tmp_path), "--jobs", 1]
    result = call(name, two, *arguments, *options)
    assert result.exit_code == 0
    assert "note: no face is mask_weared_incorrect here" in result.stderr
    assert "nan" not in result.stdout


@pytest.mark.parametrize(("name", "arguments", "fact"), EACH)
def test_each_as_json(prepared, tmp_path, by_colour, name, arguments, fact):
    """A result with figures in place of the table, and a line for each training."""
    arguments = [clean(prepared, tmp_path / "c") if one == "CLEANED" else one for one in arguments]
    options = ["-o", tmp_path / "out", "--log", "json", "--recipe", write_tiny(tmp_path)]
    result = call(name, prepared, *arguments, *options, "--jobs", 1)
    assert result.exit_code == 0
    events = [json.loads(line) for line in result.stdout.splitlines()]
    ended = [event for event in events if event["event"] == "task ended"]
    assert ended
    assert all(0.5 < event["agreed"] <= 1 for event in ended)
    assert events[-1]["event"] == "result"
    assert events[-1]["folder"] == str(tmp_path / "out")
    assert events[-1][fact]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["suspects", "PREPARED", "--folds", "40"], "folds"),
        (["suspects", "PREPARED", "--set", "lr=find"], "lr is 'find'"),
        (["clean-effect", "PREPARED", "NOWHERE"], "not a prepared folder"),
    ],
)
def test_what_is_refused(prepared, tmp_path, arguments, words):
    places = {"PREPARED": prepared, "NOWHERE": tmp_path}
    out = [] if arguments[0] == "measure" else ["-o", tmp_path / "out"]
    assert_refused(call(*(places.get(one, one) for one in arguments), *out), words)


WRONG = [
    ("suspects PREPARED -o OUT --device odd", "'odd' is not one of 'auto', 'cpu', 'cuda'"),
    ("suspects OUT -o OUT", "OUT: not a prepared folder"),
    ("suspects PREPARED -o OUT --set epcohs=3", "did you mean 'epochs'?"),
    ("measure OUT", "OUT: not a prepared folder"),
    ("measure PREPARED --weights OUT", "no detector.safetensors or classifier.safetensors in"),
    ("classify OUT -o OUT/a.csv", "OUT: not a prepared folder"),
    ("fit-boxes OUT -o OUT/a.json --weights OUT/none", "no such file or folder"),
    ("suspects PREPARED -o OUT --recipe suspcts", "did you mean 'suspects'?"),
    ("sweep PREPARED -o OUT --set lr=1e-3", "nothing to sweep"),
    ("clean-effect PREPARED OUT -o OUT", "OUT: not a prepared folder"),
    ("export --to steam -o OUT/x", "'--to': 'steam' is not one of 'onnx', 'openvino'"),
    ("export --to onnx -o OUT/x --weights OUT/none", "no such file or folder"),
    ("train OUT", "OUT: not a prepared folder"),
    (
        "train PREPARED --set lr=fast",
        "--set lr=fast: should be a valid number or should be 'find'.",
    ),
    ("train PREPARED --resume OUT/007-x", "no such run folder"),
    ("train-detector PREPARED --start OUT/none.pth", "--start OUT/none.pth: no such file."),
    ("review OUT/none", "OUT/none: no such folder"),
    ("review OUT --port 70000", "'--port': should be less than or equal to 65535"),
    ("review OUT --first x", "'--first': should be a valid integer "),
    ("runs OUT/none", "OUT/none: can't be listed"),
    ("build OUT/none -o OUT/b", "OUT/none: no such folder"),
    ("evaluate OUT/none OUT/t.csv -o OUT/b", "OUT/none: "),
]


def test_wrong_usage_is_told_before_what_is_slow_is_loaded(prepared, tmp_path):
    places = {"PREPARED": str(prepared), "OUT": str(tmp_path)}
    lines = [re.sub("PREPARED|OUT", lambda m: places[m[0]], line) for line, _ in WRONG]
    program = (
        "import json, sys; from typer.testing import CliRunner; from pipeline.cli import trimask\n"
        "for line in sys.argv[1:]:\n"
        "    done = CliRunner().invoke(trimask, line.split())\n"
        "    slow = [name for name in ('torch', 'sklearn') if name in sys.modules]\n"
        "    print(json.dumps([done.exit_code, done.output, slow]))\n"
    )
    asked = [sys.executable, "-c", program, *lines]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    for line, (given, words) in zip(done.stdout.splitlines(), WRONG, strict=True):
        code, told, slow = json.loads(line)
        assert (code, slow) == (2, []), given
        assert words.replace("OUT", str(tmp_path)) in re.sub(r"[\s│]+", " ", told), given
