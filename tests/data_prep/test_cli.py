"""The command line."""

import json
import subprocess
import sys

import pytest

from data_prep.base.tables import read_faces
from tests.makers import add_example, make_voc


@pytest.fixture
def build(dataset, tmp_path, run):
    return lambda *options: run("build", dataset, "-o", tmp_path / "out", "--workers", 1, *options)


def test_build_prints_a_short_summary(build, tmp_path):
    result = build()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["faces", "train", "kept", "valid"]
    assert [line.split()[0] for line in lines[1:4]] == [
        "with_mask",
        "without_mask",
        "mask_weared_incorrect",
    ]
    counts = [[int(word) for word in line.split()[1:]] for line in lines[1:4]]
    assert sum(train + valid for train, _, valid in counts) == 20
    assert all(kept <= train for train, kept, _ in counts)
    assert lines[4].startswith("photos     10 with 20 faces")
    assert lines[5].startswith("leaks      0.0% of validation faces (")
    assert lines[6] == "findings   none"
    assert str(tmp_path / "out" / "audit.html") in lines[7]
    assert len(lines) == 8
    assert result.stderr == ""  # what is done in a moment needs no progress


def test_second_build_after_faults_has_the_same_exit_code(build, dataset):
    make_voc(dataset / "annotations" / "odd.xml", "lost.jpg")
    assert [build().exit_code for _ in range(2)] == [1, 1]


def test_many_faults_are_not_all_told(build, dataset):
    for number in range(30):
        make_voc(dataset / "annotations" / f"odd{number}.xml", f"lost{number}.jpg")
    lines = [line for line in build().stderr.splitlines() if line.startswith("left out")]
    assert len(lines) == 21
    assert lines[-1].startswith("left out: 10 more, listed in ")


def test_options_reach_the_build(build, tmp_path):
    arguments = "--scale 2 --folds 3 --fold 1 --seed 5 --blur global --ratio 2 --alias a=with_mask"
    (tmp_path / "names.txt").write_text("mask")
    reading = ["--format", "voc", "--columns", "image=file", "--crop-scale", "3", "--names"]
    assert build(*arguments.split(), *reading, tmp_path / "names.txt").exit_code == 0
    options = json.loads((tmp_path / "out" / "manifest.json").read_text())["options"]
    assert options.pop("aliases")["a"] == "with_mask"
    assert options == {
        "scale": 2.0,
        "folds": 3,
        "fold": 1,
        "seed": 5,
        "blur_rule": "global",
        "ratio": 2.0,
        "format": "voc",
        "columns": {"image": "file"},
        "crop_scale": 3.0,
        "names": str(tmp_path / "names.txt"),
    }


def test_blur_none_keeps_everything(build, tmp_path):
    build("--blur", "none", "--ratio", "0.1")
    assert read_faces(tmp_path / "out")["kept"].all()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--scale", "0.5"], "error: --scale 0.5"),
        (["--folds", "1"], "error: --folds 1"),
        (["--fold", "7"], "error: --fold 7"),
        (["--ratio", "-1"], "error: --ratio -1"),
        (["--alias", "x=y"], "error: --alias x=y: write NAME=CLASS"),
        (["--folds", "11"], "error: 10 groups of photos can't be split into 11 folds"),
        (["--blur", "some"], "'some'"),
        (["--workers", "0"], "'--workers'"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_wrong_use_is_one_clear_error(build, tmp_path, arguments, reason):
    result = build(*arguments)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["build", "audit"])
def test_missing_folder(run, tmp_path, command):
    result = run(command, tmp_path / "nowhere", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr == f"error: {tmp_path / 'nowhere'}: no such folder.\n"


def test_audit_prints_the_same_summary_and_known_groups(run, dataset, tmp_path):
    (tmp_path / "known.txt").write_text("photo0 photo1\n")
    out = tmp_path / "report"
    result = run(
        "audit", dataset, "-o", out, "--known-groups", tmp_path / "known.txt", "--workers", 1
    )
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[-2] == "known      0 of 1 known near-duplicate groups found whole"
    assert lines[-1] == f"written    {out / 'audit.html'}, {out / 'audit.json'}"


def test_audit_with_faults_exits_with_1(run, dataset, tmp_path):
    add_example(dataset, "odd", 77).write_text("<broken")
    result = run("audit", dataset, "-o", tmp_path / "report", "--workers", 1)
    assert result.exit_code == 1
    assert "left out: faces/annotations/odd.xml: not well-formed XML" in result.stderr


def test_audit_of_missing_known_groups(run, dataset, tmp_path):
    result = run("audit", dataset, "--known-groups", tmp_path / "nowhere.txt")
    assert result.exit_code == 2
    assert "nowhere.txt" in result.stderr


def test_module_runs_as_a_command():
    command = [sys.executable, "-m", "data_prep", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "audit" in done.stdout
    assert "build" in done.stdout
