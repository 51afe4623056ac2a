"""Listing and comparing run folders: whole ones, stopped ones, broken and foreign ones."""

import json

import pandas as pd
import pytest

from pipeline.runs.folder import Run, start_run
from pipeline.runs.listing import compare_runs, list_runs, print_table
from pipeline.runs.recipe import ClassifierRecipe, DetectorRecipe
from tests.makers import hash_tree
from tests.pipeline.makers import assert_refused, call

DATA = {"faces_sha256": "abc", "sources": ["set", "other"], "options": {"scale": 1.5}}
ROWS = [
    {"stage": 0, "epoch": 0, "lr": 1e-3, "train_loss": 1.0, "valid_loss": 0.5, "accuracy": 0.75,
     "recall_score": 0.5},
    {"stage": 0, "epoch": 1, "lr": 1e-3, "train_loss": 0.5, "valid_loss": 0.75, "accuracy": 0.625,
     "recall_score": 0.625},
]  # fmt: skip


def finish(run: Run, rows, results, net="classifier"):
    run.write_history(rows)
    (run.folder / f"{net}.safetensors").write_bytes(b"weights")
    (run.folder / f"{net}.json").write_text(json.dumps({"results": {"valid": results}}))


@pytest.fixture
def runs(tmp_path):
    """One of each state."""
    folder = tmp_path / "runs"
    results = {"all": {"accuracy": 0.8, "macro_recall": 0.7}}
    first = start_run(folder, ClassifierRecipe(name="first"), DATA)
    finish(first, ROWS, results)
    answers = pd.DataFrame({"label": ["with_mask"] * 21 + ["mask_weared_incorrect"] * 2})
    answers["predicted"] = ["with_mask"] * 20 + ["without_mask"] * 3
    answers.to_csv(first.folder / "valid.csv")
    second = start_run(folder, ClassifierRecipe(name="second", lr=1e-3), DATA)
    second.write_history(ROWS[:1])
    (second.folder / "checkpoint.pt").write_bytes(b"")
    start_run(folder, ClassifierRecipe(name="third"), DATA)
    steps = [
        {"step": 0, "set_face_ap50": 0.5, "other_face_ap50": 0.25},
        {"step": 5, "loss": 2.0, "set_face_ap50": 0.75, "other_face_ap50": 0.5},
    ]
    finish(start_run(folder, DetectorRecipe(), DATA), steps, steps[1], "detector")
    (folder / "notes").mkdir()
    (folder / "file.txt").write_text("")
    return folder


def test_states_and_best_figures(runs):
    told = [(r["name"], r["state"], r["kind"], r["rows"]) for r in list_runs(runs)]
    assert told == [
        ("001-first", "finished", "classifier", 2),
        ("002-second", "can be resumed", "classifier", 1),
        ("003-third", "begun", "classifier", 0),
        ("004-detector", "finished", "detector", 2),
        ("notes", "not a run", "", 0),
    ]
    first, *others, detector, _ = list_runs(runs)
    assert (first["figures"], first["kept"]) == ({"accuracy": 0.8, "macro_recall": 0.7}, 1)
    assert first["recalls"] == {"with_mask": (20, 21), "mask_weared_incorrect": (0, 2)}
    assert (detector["figures"], detector["kept"]) == ({"face_ap50": 0.625}, 5)
    assert not any(run["figures"] or run["kept"] for run in others), "no weights, no figures"
    assert first["data"] == "set, other"


SPOILS = {
    "recipe.toml": [b"name = ", b"\xff\xfe", None],
    "run.json": [b"", b"[]", b'{"data": 3}', b'{"data": {"sources": 3}}', b'{"data": {}}', None],
    "history.csv": [b"", b"a,b\n1,2\n1,2,3\n", b'"\x00'],
    "classifier.json": [b"{", b"[1]", b'{"results": 3}', b'{"results": {"valid": [1]}}'],
}


@pytest.mark.parametrize(
    ("name", "content"), [(name, some) for name, all_ in SPOILS.items() for some in all_]
)
def test_broken_folder_is_listed_as_such(runs, name, content):
    path = runs / "001-first" / name
    path.unlink() if content is None else path.write_bytes(content)
    result = call("runs", runs)
    assert result.exit_code == 0
    assert "001-first\tbroken" in result.stdout
    assert "002-second\tcan be resumed" in result.stdout
    assert f"broken: {path}: can't be read (" in result.stderr


def test_comparison_shows_what_differs_and_nothing_else(runs):
    path = runs / "002-second" / "run.json"
    about = json.loads(path.read_text())
    about["code_sha256"] = "other"
    about["versions"]["torch"] = "0.1"
    path.write_text(json.dumps(about))
    table = compare_runs([runs / "001-first", runs / "002-second"])
    assert list(table.columns) == ["001-first", "002-second"]
    assert table.loc["recipe.lr"].tolist() == ["find", 1e-3]
    assert table.loc["recipe.name"].tolist() == ["first", "second"]
    assert table.loc["kept"].tolist() == ["1", "1"]
    assert not any(str(row).startswith("best") for row in table.index)
    assert table.loc["valid.all.macro_recall"].tolist() == [0.7, ""]
    assert table.loc["code_sha256", "002-second"] == "other"
    assert table.loc["versions.torch", "002-second"] == "0.1"
    for same in ("recipe.seed", "data.faces_sha256", "versions.numpy"):
        assert same not in table.index
    about["data"]["faces_sha256"] = "xyz"
    path.write_text(json.dumps(about))
    table = compare_runs([runs / "001-first", runs / "002-second"])
    assert table.loc["data.faces_sha256"].tolist() == ["abc", "xyz"]


def test_runs_of_one_name_are_told_apart(runs, tmp_path):
    finish(start_run(tmp_path / "b", ClassifierRecipe(name="first"), DATA), ROWS, {})
    both = [runs / "001-first", tmp_path / "b" / "001-first"]
    assert list(compare_runs(both).columns) == [str(folder) for folder in both]


def test_list_as_lines_with_tabs_or_json(runs, tmp_path):
    (tmp_path / "empty").mkdir()
    nothing = call("runs", tmp_path / "empty")
    assert len(nothing.stdout.splitlines()) == 1
    assert nothing.stderr == f"{tmp_path / 'empty'}: no run folder in there yet.\n"
    listed = call("runs", runs)
    lines = [line.split("\t") for line in listed.stdout.splitlines()]
    assert lines[0][:3] == ["run", "state", "kind"]
    assert len(lines) == 6
    assert {len(line) for line in lines} == {14}
    assert lines[1][6:] == ["2", "1", "0.8", "0.7", "", "20/21", "", "0/2"]
    assert lines[2][6:] == ["1", *[""] * 7], "an epoch without weights has no figures"
    assert lines[4][6:] == ["2", "5", "", "", "0.625", "", "", ""]
    warned = "note: 2 validation faces of mask_weared_incorrect in 001-first: one told otherwise "
    assert listed.stderr == warned + "moves its recall by 50 points.\n"
    first, second, *_ = json.loads(call("runs", runs, "--json").stdout)
    assert (first["state"], second["state"]) == ("finished", "can be resumed")
    assert first["figures"]["accuracy"] == 0.8
    assert json.loads(call("runs", runs / "002-second", "--json").stdout) == [second]
    assert pd.Timestamp(first["date"]).tzinfo is not None


def test_table_on_a_terminal_shows_names_as_they_are(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "30")
    print_table(
        ["run", "[b]data", "begun", "none"],
        [["[red]001-a-long-name", "[96, 128]", "now", ""]],
        leave_out=["begun"],
    )
    shown = capsys.readouterr().out
    assert "[red]001-a-long-name [96, 128]" in shown, "names are never cut"
    assert "[b]data" in shown
    assert "begun" not in shown


def test_comparison_changes_no_run(runs):
    before = hash_tree(runs)
    folders = (runs / "001-first", runs / "002-second", runs / "004-detector")
    result = call("runs", "--compare", *folders)
    assert result.exit_code == 0
    assert "recipe.lr\tfind\t0.001\t0.001" in result.stdout
    assert hash_tree(runs) == before
    compared = json.loads(call("runs", "--compare", *folders, "--json").stdout)
    assert compared["recipe.lr"] == {"001-first": "find", "002-second": 1e-3, "004-detector": 1e-3}


def test_what_is_refused(runs, tmp_path):
    first = runs / "001-first"
    for arguments, words in (
        ((tmp_path / "none",), "can't be listed"),
        (("--compare", first, runs / "01-first"), "no such run folder; did you mean '001-first'?"),
        ((runs, runs), "are for --compare"),
        (("--compare", first), "two runs or more"),
        (("--compare", first, tmp_path), "recipe.toml: can't be read (No such file"),
    ):
        assert_refused(call("runs", *arguments), words)
