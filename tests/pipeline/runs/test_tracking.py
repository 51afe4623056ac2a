"""What trackers are told in whole trainings, and that they are asked for."""

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from unittest.mock import Mock

import pandas as pd
import pytest
from safetensors.torch import save_file

from data_prep.base.files import hold_folder, sha256_of
from data_prep.base.tables import read_faces
from pipeline.runs.folder import start_run
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.runs.tracking import TrackerError, describe_run, open_trackers
from pipeline.training import classifier as training
from tests.pipeline.makers import Killed, assert_refused, call, make_net

SMALL = [
    "--recipe", "suspects", "--set", "sizes=[32,48]", "--set", "epochs=[2,1]", "--set",
    "batch_size=12", "--set", "init='random'", "--device", "cpu",
]  # fmt: skip
STEPS = 3
"""36 training faces in batches of 12."""

DATA = {"faces_sha256": "abc", "sources": ["a"]}


class FakeTracker(ModuleType):
    """As much of wandb, Trackio and MLflow as ours uses; it keeps what it is told."""

    Error = type("Error", (Exception,), {})

    def __init__(self, name):
        super().__init__(name)
        self.rows, self.inits, self.params, self.finished, self.step = [], [], {}, 0, 0

    def init(self, config, **options):
        self.params |= config
        self.inits.append(options)
        return self

    def log(self, metrics, step):
        assert step >= self.step, "a step that lies behind is lost"
        self.step = step
        self.rows.append((step, dict(metrics)))

    def finish(self):
        self.finished += 1

    def set_experiment(self, name):
        self.experiment = name

    @contextmanager
    def start_run(self, **options):
        self.inits.append(options)
        try:
            yield
        finally:
            self.finish()

    def log_params(self, params):
        self.params |= params

    log_metrics = log


@pytest.fixture
def fakes(monkeypatch):
    made = {name: FakeTracker(name) for name in ("wandb", "trackio", "mlflow")}
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    return made


def assert_listed(card, prepared):
    """The card tells the training photos, and no other, by their files."""
    faces = read_faces(prepared)
    images = set(faces.loc[faces["split"] == "train", "image"])
    files = [prepared.parent / "set" / image for image in images]
    listed = json.loads(card.read_text())["training_photos"]
    assert [photo[:16] for photo in listed] == sorted(sha256_of(file)[:16] for file in files)


@pytest.mark.usefixtures("without_plots")
def test_all_are_told_a_classifiers_epochs_and_nothing_else(prepared, tmp_path, fakes):
    options = [text for name in (*fakes, "wandb") for text in ("--track", name)]
    result = call("train", prepared, "-o", tmp_path / "runs", *SMALL, *options)
    assert result.exit_code == 0
    assert_listed(tmp_path / "runs" / "001-suspects" / "classifier.json", prepared)
    history = pd.read_csv(tmp_path / "runs" / "001-suspects" / "history.csv")
    for fake in fakes.values():
        batches = [(step, row["epoch"]) for step, row in fake.rows if "raw_loss" in row]
        assert batches == [(n, pytest.approx(n / STEPS)) for n in range(1, 3 * STEPS + 1)]
        *epochs, (last, figures) = [row for row in fake.rows if "raw_loss" not in row[1]]
        assert [step for step, _ in epochs] == [STEPS, 2 * STEPS, 3 * STEPS]
        assert last == 3 * STEPS
        for (_, told), row in zip(epochs, history.to_dict("records"), strict=True):
            for name in ("train_loss", "valid_loss", "accuracy", "recall_score"):
                assert told[name] == pytest.approx(row[name], rel=1e-4)
        assert set(figures) >= {"valid/accuracy", "valid/macro_recall"}
        assert fake.finished == 1
    wandb = fakes["wandb"]
    assert len(wandb.inits) == 1, "asked for twice, opened once"
    assert wandb.finished == 1
    settings = wandb.inits[0]["settings"]
    assert (settings["host"], settings["console"], settings["x_disable_meta"]) == ("-", "off", True)
    sent = [[fake.params, fake.rows] for fake in fakes.values()]
    sent += [fakes["mlflow"].inits, fakes["trackio"].inits]
    assert not any(str(folder) in repr(sent) for folder in (tmp_path, Path.cwd()))


def test_a_detectors_steps(prepared, tmp_path, fakes):
    save_file(make_net().state_dict(), tmp_path / "start.safetensors")
    options = ["--start", tmp_path / "start.safetensors", "--track", "mlflow", "--device", "cpu"]
    for change in ("steps=1", "input_size=64", "batch_size=2", "validate_every=1"):
        options += ["--set", change]
    assert call("train-detector", prepared, "-o", tmp_path / "runs", *options).exit_code == 0
    assert_listed(tmp_path / "runs" / "001-detector" / "detector.json", prepared)
    rows = fakes["mlflow"].rows
    assert [step for step, _ in rows] == [0, 1]
    assert all("set_face_ap50" in told for _, told in rows)
    assert fakes["mlflow"].params["recipe.steps"] == 1
    assert fakes["mlflow"].finished == 1


@pytest.mark.usefixtures("without_plots")
def test_steps_go_on_where_a_run_was_stopped(prepared, tmp_path, fakes, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training, "plot_curves", Mock(side_effect=Killed))
        with pytest.raises(Killed):
            call("train", prepared, "-o", tmp_path, *SMALL)
    folder = tmp_path / "001-suspects"
    options = ["--resume", folder, "--track", "trackio", "--track", "wandb", "--device", "cpu"]
    with hold_folder(folder):
        result = call("train", prepared, "-o", tmp_path, *options)
        assert_refused(result, folder, "another command is writing into it")
    assert call("train", prepared, "-o", tmp_path, *options).exit_code == 0
    last = [step for step, row in fakes["trackio"].rows if "raw_loss" not in row]
    assert last == [3 * STEPS, 3 * STEPS]
    assert len([row for _, row in fakes["wandb"].rows if "valid_loss" in row]) == 1


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio", "mlflow", "paper"])
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


def test_wandb_that_is_not_logged_in(tmp_path, fakes, monkeypatch):
    refused = FakeTracker.Error("api_key not configured\nmore")
    monkeypatch.setattr(fakes["wandb"], "init", Mock(side_effect=refused))
    run = start_run(tmp_path, ClassifierRecipe(), DATA)
    with (
        pytest.raises(TrackerError, match=r"api_key not configured \(log in with"),
        open_trackers(["wandb"], run, ClassifierRecipe()),
    ):
        pass


def test_closed_when_the_training_fails(tmp_path, fakes):
    run = start_run(tmp_path, ClassifierRecipe(), DATA)
    with pytest.raises(ZeroDivisionError), open_trackers(list(fakes), run, ClassifierRecipe()):
        raise ZeroDivisionError
    assert [fake.finished for fake in fakes.values()] == [1, 1, 1]


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
