"""What trackers are told in whole trainings, and that they are asked for."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from safetensors.torch import save_file

from data_prep.base.files import hold_folder, sha256_of
from data_prep.base.tables import read_faces
from pipeline.runs.folder import start_run
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.runs.tracking import describe_run, open_tracker
from pipeline.training import classifier as training
from pipeline.training.learner import fit_stage
from tests.pipeline.makers import Killed, assert_refused, call, make_net

SMALL = [
    "--recipe", "suspects", "--set", "sizes=[32,48]", "--set", "epochs=[2,1]", "--set",
    "batch_size=12", "--set", "init='random'", "--device", "cpu",
]  # fmt: skip
STEPS = 3
"""36 training faces in batches of 12."""

DATA = {"faces_sha256": "abc", "sources": ["a"]}


class FakeWriter:
    """As much of TensorBoard's writer as ours uses; it keeps what it is told, by step."""

    def __init__(self, log_dir):
        self.folder, self.rows, self.finished = log_dir, {}, 0

    def add_text(self, name, text):
        self.text = text

    def add_scalar(self, name, value, step):
        self.rows.setdefault(step, {})[name] = value

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.finished += 1


@pytest.fixture
def writers(monkeypatch):
    """The writers that are opened."""
    made = []

    def open_writer(log_dir):
        made.append(FakeWriter(log_dir))
        return made[-1]

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = open_writer
    monkeypatch.setitem(sys.modules, "tensorboard", ModuleType("tensorboard"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return made


TRACK = ("--track", "tensorboard")


def assert_listed(card, prepared):
    """The card tells the training photos, and no other, by their files."""
    faces = read_faces(prepared)
    images = set(faces.loc[faces["split"] == "train", "image"])
    files = [prepared.parent / "set" / image for image in images]
    listed = json.loads(card.read_text())["training_photos"]
    assert [photo[:16] for photo in listed] == sorted(sha256_of(file)[:16] for file in files)


@pytest.mark.usefixtures("without_plots")
def test_a_classifiers_epochs_and_nothing_else(prepared, tmp_path, writers):
    result = call("train", prepared, "-o", tmp_path / "runs", *SMALL, *TRACK, *TRACK)
    assert result.exit_code == 0
    folder = tmp_path / "runs" / "001-suspects"
    assert_listed(folder / "classifier.json", prepared)
    (writer,) = writers  # Asked for twice, opened once.
    assert (writer.folder, writer.finished) == (str(folder / "tensorboard"), 1)
    assert [*writer.rows] == [*range(1, 3 * STEPS + 1)]
    for step, told in writer.rows.items():
        assert told["epoch"] == pytest.approx(step / STEPS)
        assert "raw_loss" in told
    history = pd.read_csv(folder / "history.csv")
    for step, row in zip((STEPS, 2 * STEPS, 3 * STEPS), history.to_dict("records"), strict=True):
        for name in ("train_loss", "valid_loss", "accuracy", "recall_score"):
            assert writer.rows[step][name] == pytest.approx(row[name], rel=1e-4)
    assert writer.rows[3 * STEPS].keys() >= {"valid/accuracy", "valid/macro_recall"}
    sent = repr((writer.text, writer.rows))
    assert not any(str(folder) in sent for folder in (tmp_path, Path.cwd()))


def test_a_detectors_steps(prepared, tmp_path, writers):
    save_file(make_net().state_dict(), tmp_path / "start.safetensors")
    options = ["--start", tmp_path / "start.safetensors", *TRACK, "--device", "cpu"]
    for change in ("steps=1", "input_size=64", "batch_size=2", "validate_every=1"):
        options += ["--set", change]
    assert call("train-detector", prepared, "-o", tmp_path / "runs", *options).exit_code == 0
    assert_listed(tmp_path / "runs" / "001-detector" / "detector.json", prepared)
    (writer,) = writers
    assert [*writer.rows] == [0, 1]
    assert all("set_face_ap50" in told for told in writer.rows.values())
    assert "recipe.steps = 1" in writer.text
    assert writer.finished == 1


@pytest.mark.usefixtures("without_plots")
def test_steps_go_on_where_a_run_was_stopped(prepared, tmp_path, writers, monkeypatch):
    def stop(*arguments):
        fit_stage(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit_stage", stop)
        with pytest.raises(Killed):
            call("train", prepared, "-o", tmp_path, *SMALL)
    folder = tmp_path / "001-suspects"
    options = ["--resume", folder, *TRACK, "--device", "cpu"]
    with hold_folder(folder):
        result = call("train", prepared, "-o", tmp_path, *options)
        assert_refused(result, folder, "another command is writing into it")
    assert call("train", prepared, "-o", tmp_path, *options).exit_code == 0
    told = [step for step, row in writers[-1].rows.items() if "valid_loss" in row]
    assert told == [3 * STEPS]


@pytest.mark.parametrize("name", ["tensorboard", "paper"])
def test_what_is_not_installed_or_known_is_named_before_anything_is_made(
    prepared, tmp_path, monkeypatch, name
):
    monkeypatch.setitem(sys.modules, name, None)
    result = call("train", prepared, "-o", tmp_path / "runs", "--track", name)
    assert result.exit_code == 2
    if name != "paper":
        words = f"--track {name}: {name} is not installed; get it with: pip install {name}"
        assert_refused(result, words)
    assert not (tmp_path / "runs").exists()


def test_closed_when_the_training_fails(tmp_path, writers):
    run = start_run(tmp_path, ClassifierRecipe(), DATA)
    with pytest.raises(ZeroDivisionError), open_tracker(["tensorboard"], run, ClassifierRecipe()):
        raise ZeroDivisionError
    assert [writer.finished for writer in writers] == [1]


def test_parameters_name_weights_by_their_hash(tmp_path):
    weights = tmp_path / "secret" / "start.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    recipe = ClassifierRecipe(init=str(weights), lr=1e-3)
    told = describe_run(start_run(tmp_path, recipe, DATA), recipe)
    assert told["recipe.lr"] == 1e-3
    assert told["recipe.sizes"] == "[128, 224]"
    assert told["faces_sha256"] == "abc"
    assert len(told["code_sha256"]) == 64
    assert told["recipe.init"].startswith("start.safetensors, sha256 ")
    assert not any("secret" in str(value) for value in told.values())


@pytest.mark.usefixtures("without_plots")
def test_tensorboard_for_real(prepared, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = call("train", prepared, "-o", tmp_path, *SMALL, "--track", "tensorboard")
    assert result.exit_code == 0
    folder = tmp_path / "001-suspects"
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert not events.Tags()["images"]
    assert not events.Tags()["graph"]
    history = pd.read_csv(folder / "history.csv")
    for name in ("valid_loss", "accuracy"):
        steps, values = zip(*((e.step, e.value) for e in events.Scalars(name)), strict=True)
        assert steps == (STEPS, 2 * STEPS, 3 * STEPS)
        assert values == pytest.approx(history[name], rel=1e-4)
    assert max(event.step for event in events.Scalars("train_loss")) == 3 * STEPS
    assert events.Scalars("valid/accuracy")[0].step == 3 * STEPS
