"""The command line of training: what reaches the parts, and what users are told."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
from safetensors.torch import save_file

from data_prep.base.files import sha256_of
from data_prep.base.tables import read_faces
from pipeline.runs.folder import identify_data
from pipeline.training import commands
from tests.pipeline.makers import ColourClassifier, assert_refused, call, make_shy_net

SMALL = ("--set", "input_size=64", "--set", "longest=[64, 128]")
"""Of a detector, so that its time is told in no time."""


@pytest.fixture
def start(tmp_path):
    """Weights to start the detector from."""
    save_file(make_shy_net().state_dict(), tmp_path / "start.safetensors")
    return tmp_path / "start.safetensors"


@pytest.fixture
def trainers(monkeypatch):
    """What reaches the trainers, in place of training."""
    calls = []

    def train(*arguments, **options):
        calls.append((arguments, options))
        options["log"]("trained", "epoch", loss=0.5)
        return SimpleNamespace(results={"valid": {"accuracy": 0.75}})

    monkeypatch.setattr(commands, "train_classifier", train)
    monkeypatch.setattr(commands, "train_detector", train)
    return calls


def test_train_resume_and_repeat(prepared, tmp_path, trainers):
    options = ["--set", "seed=7", "--set", "epochs=[1, 1]", "--device", "cpu"]
    result = call("train", prepared, "-o", tmp_path / "runs", *options)
    assert result.exit_code == 0
    (((faces, folder, recipe, run), named),) = trainers
    assert len(faces) == 48
    assert folder == prepared
    assert (recipe.seed, recipe.epochs, recipe.name) == (7, [1, 1], "default")
    assert run.folder == tmp_path / "runs" / "001-default"
    assert named["device"].type == "cpu"
    first, *lines = result.stderr.splitlines()[:3]
    told = "mobilenet0.25 (0.21 M parameters) from the shipped detector's body: "
    assert first.startswith(told + "36 training and 12 validation faces of 16 photos; at most 2 ")
    assert first.endswith("px, under a minute")
    assert lines == [f"run folder: {run.folder}", "trained"]
    *_, look, use, measure, clean, last = result.stderr.splitlines()
    assert look == f"look: {run.folder / 'run.html'}"
    assert use == f"use: python run.py PHOTOS -o out --weights {run.folder}"
    assert measure.startswith(f"measure: python run.py {prepared.parent / 'set'} -o all --weights ")
    assert "--thresh 0.02 --no-draw; python -m evaluate " in measure
    assert clean == f"clean: python -m pipeline suspects {prepared} -o suspects"
    assert last == f"weights: {run.folder / 'classifier.safetensors'}"
    resume = ("train", prepared, "--resume", run.folder)
    assert_refused(call(*resume, "--set", "seed=8"), "leave --set out")
    call(*resume)
    call("train", prepared, "-o", tmp_path / "runs", "--recipe", run.folder / "recipe.toml")
    (_, ((*_, resumed, same), _), ((*_, again, other), _)) = trainers
    assert (resumed, same.folder) == (recipe, run.folder)
    assert (again, other.folder.name) == (recipe, "002-default")


def test_a_stopped_training_says_how_to_go_on(prepared, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "train_classifier", stop)
    result = call("train", prepared, "-o", tmp_path / "my runs", "--device", "cpu")
    assert result.exit_code == 130
    run = shlex.quote(str(tmp_path / "my runs" / "001-default"))
    how = f"to go on, in place of --recipe and --set: --resume {run}"
    assert result.stderr.splitlines()[-2:] == [how, "stopped"]


def test_train_as_json(prepared, tmp_path, trainers):
    result = call("train", prepared, "-o", tmp_path / "runs", "--log", "json", "--device", "cpu")
    assert result.exit_code == 0
    assert len(trainers) == 1
    plan, run, epoch, *_, last = map(json.loads, result.stdout.splitlines())
    assert plan["event"] == "plan"
    folder = tmp_path / "runs" / "001-default"
    assert (run["event"], run["folder"]) == ("run", str(folder))
    assert (epoch["event"], epoch["message"], epoch["loss"]) == ("epoch", "trained", 0.5)
    assert (last["event"], last["folder"]) == ("result", str(folder))
    assert last["weights"] == str(folder / "classifier.safetensors")
    assert last["valid"] == {"accuracy": 0.75}
    assert result.stderr == ""


def test_train_detector(prepared, tmp_path, start, trainers):
    before = ["0123456789abcdef-0123456789abcdef"]
    start.with_suffix(".json").write_text(json.dumps({"training_photos": before}))
    options = ["--start", start, "--set", "steps=3", *SMALL, "--device", "cpu"]
    result = call("train-detector", prepared, "-o", tmp_path / "runs", *options)
    assert result.exit_code == 0
    (((faces, roots, recipe, state, run), _),) = trainers
    assert len(run.photos) == faces.loc[faces["split"] == "train", "image"].nunique() + 1
    assert set(before) < set(run.photos), "those of the weights it starts from, too"
    assert len(faces) == 48
    assert roots == {"set": prepared.parent / "set"}
    assert recipe.steps == 3
    first = result.stderr.splitlines()[0]
    assert first.startswith("retinaface-mobilenet0.25 (0.43 M parameters) from start.safetensors: ")
    assert "12 training and 4 validation photos with 48 faces; 3 steps of 16 windows" in first
    assert re.search(r"(under a minute|about \d+ minutes)$", first)
    assert len(state) == 300
    assert run.folder == tmp_path / "runs" / "001-detector"
    assert "learnt from" not in result.stderr + call("runs", tmp_path / "runs").stderr
    assert "flatter" not in result.stderr


@pytest.mark.usefixtures("trainers")
def test_validation_photos_that_the_start_learnt_from(prepared, tmp_path, start):
    faces = read_faces(prepared)
    photos = faces.loc[faces["split"] == "valid", "image"].unique()
    hashes = [sha256_of(prepared.parent / "set" / name)[:16] for name in photos]
    card = {"training_photos": [f"{one}-{0:016x}" for one in hashes]}
    start.with_suffix(".json").write_text(json.dumps(card))
    runs = tmp_path / "runs"
    options = ["-o", runs, "--start", start, *SMALL, "--device", "cpu"]
    result = call("train-detector", prepared, *options)
    warned = [
        line for line in result.stderr.splitlines() if "were learnt from by what this" in line
    ]
    assert len(warned) == 1, "at once"
    assert "As noted above, the figures flatter." in result.stderr, "above the figures"
    assert "4 of 4 validation photos were learnt from" in warned[0]
    call("train", prepared, "-o", runs, "--device", "cpu")
    for options in ([runs], ["--compare", *sorted(runs.iterdir())]):
        told = call("runs", *options).stderr
        assert told.count("note: 001-detector: 4 of 4 validation photos were learnt") == 1


@pytest.mark.usefixtures("trainers")
@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("train", []),
        ("sweep", ["--set", "lr=0.01,0.02"]),
        ("sweep", ["--set", "lr=0.01,0.02", "--folds", 2]),
    ],
)
def test_nothing_is_written_into_the_dataset(prepared, command, options):
    out = prepared.parent / "set" / "out"
    result = call(command, prepared, "-o", out, *options, "--device", "cpu")
    assert_refused(result, f"{out}: meets the dataset")
    assert not out.exists()


@pytest.mark.usefixtures("trainers")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--recipe", "defualt"], "no recipe 'defualt': did you mean 'default'?"),
        (["--recipe", "detector"], "a recipe for a detector, not for a classifier"),
        (["--set", "epoch=3"], "did you mean 'epochs'?"),
        (["--set", "batch_size=0"], "--set batch_size=0: should be greater than or equal to 2"),
        (["--set", "batch_size=640"], "36 training faces don't fill a batch of 640"),
        (["--set", "epochs=3"], "--set epochs=3: a list, one per size, e.g. [3]."),
        (["--set", "init=a.safetensors"], "a.safetensors: can't be read"),
        (["--set", "teachers=['a']"], "teachers: a: no such file"),
        (["--set", "sources=['a']"], "'a'; there are: set"),
        (["--resume", "runs/099"], "Unfinished ones near it: none"),
    ],
)
def test_train_with_wrong_options(prepared, tmp_path, options, words):
    result = call("train", prepared, "-o", tmp_path / "runs", *options)
    assert_refused(result, words)
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("trainers")
@pytest.mark.parametrize("command", ["train", "train-detector"])
def test_folders_that_are_not_prepared_or_cannot_be_made(prepared, tmp_path, start, command):
    more = ["--start", start, *SMALL] if command == "train-detector" else []
    result = call(command, tmp_path, "-o", tmp_path / "runs", *more)
    assert_refused(result, tmp_path, "make it with: python -m data_prep build")
    assert not (tmp_path / "runs").exists()
    assert_refused(call(command, prepared, "-o", start, *more), "can't be written")


def test_broken_training_photo_is_named_in_one_line(prepared, tmp_path, start):
    """It is read by another process, whose own words are left out."""
    root = tmp_path / "copy"
    shutil.copytree(prepared.parent / "set", root / "set")
    shutil.copytree(prepared, root / "prepared", ignore=shutil.ignore_patterns("crops"))
    manifest = root / "prepared" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(str(prepared.parent), str(root)))
    faces = read_faces(root / "prepared")
    for image in set(faces.loc[faces["split"] == "train", "image"]):
        (root / "set" / image).write_bytes(b"")
    options = ["--start", start, *SMALL, "--set", "batch_size=2"]
    result = call("train-detector", root / "prepared", "-o", tmp_path / "runs", *options)
    assert_refused(result, "the file is empty (0 bytes)", root / "set" / "images")


@pytest.mark.parametrize("split", ["valid", "train"])
def test_classify(prepared, tmp_path, monkeypatch, split):
    monkeypatch.setattr(
        "pipeline.inference.classifier.Classifier.load", lambda path, *, device: ColourClassifier()
    )
    result = call("classify", prepared, "-o", tmp_path / "table.csv", "--split", split)
    faces = read_faces(prepared)
    chosen = faces[faces["split"] == split]
    assert result.exit_code == 0
    assert result.stderr == f"{len(chosen)} faces of the {split} split: {tmp_path / 'table.csv'}\n"
    table = pd.read_csv(tmp_path / "table.csv")
    assert list(table.columns) == [
        *("image", "xmin", "ymin", "xmax", "ymax", "label", "score", "detection"),
        *("p_with_mask", "p_without_mask", "p_mask_weared_incorrect", "orientation"),
    ]
    assert table["image"].tolist() == [f"set/{image}" for image in chosen["image"]]
    for name in ("label", "xmin"):
        assert table[name].tolist() == chosen[name].tolist()
    assert set(table["detection"]) == {1.0}
    assert set(table["score"]) == {0.8}


def test_classify_what_is_not_there(prepared, tmp_path, random_weights):
    options = ["-o", tmp_path / "t.csv", "--weights", random_weights, "--device", "cpu"]
    refused = call("classify", prepared, *options, "--split", "test")
    assert_refused(refused, "no face in the split 'test'", "train", "valid")
    none = call("classify", prepared, *options, "--weights", tmp_path / "none")
    assert_refused(none, tmp_path / "none")
    copy = shutil.copytree(prepared, tmp_path / "prepared")
    faces = read_faces(copy)
    lost = copy / faces.loc[faces["split"] == "valid", "crop"].iloc[3]
    lost.unlink()
    assert_refused(call("classify", copy, *options), lost, "can't be read")
    assert not (tmp_path / "t.csv").exists()
    (tmp_path / "t.csv").write_text("image,shop\n")
    assert_refused(call("classify", prepared, *options), "t.csv: is there, but no table of faces")
    (root,) = identify_data(prepared)[1].values()
    within = ["-o", root / "t.csv", *options[2:]]
    assert_refused(call("classify", prepared, *within), "meets the dataset")


def test_module_can_be_run():
    command = [sys.executable, "-m", "pipeline"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "train-detector" in done.stdout
    nothing = subprocess.run(command, capture_output=True, text=True, check=False)
    assert nothing.returncode == 2
