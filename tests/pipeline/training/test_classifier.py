"""Whole trainings of the classifier on painted faces, small enough for a test, and their export."""

import json
import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.losses import CrossEntropyLossFlat
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, log_loss, recall_score

from data_prep.base.labels import BARE, CLASSES, MASKED, RARE_CLASS
from data_prep.base.photo import photo_size, read_photo
from data_prep.base.tables import (
    read_faces,
)
from pipeline.inference.classifier import Classifier
from pipeline.inference.looks import LOOKS
from pipeline.nets.cards import ClassifierCard, DetectorCard, load_weights
from pipeline.nets.classifiers import fill_net, from_detector, make_mobilenet
from pipeline.nets.learnt import list_photos
from pipeline.nets.options import SHIPPED
from pipeline.runs.folder import Run, identify_data, start_run
from pipeline.runs.recipe import ClassifierRecipe, load_recipe
from pipeline.training import classifier as training
from pipeline.training.classifier import train_classifier
from pipeline.training.export import (
    TEMPERATURES,
    fit_temperature,
    make_card,
    measure_crops,
    shift_logits,
    shift_prior,
    undo_class_weights,
)
from tests.pipeline.makers import CPU, Killed, Told, assert_refused, call

RECIPE = ClassifierRecipe(
    name="tiny",
    architecture="mobilenet0.25",
    init="detector",
    sizes=[32, 48],
    epochs=[4, 1],
    batch_size=9,
    lr=3e-3,
    stage_lr=0.1,
    bf16="off",
)
KEY = ["source", "image", "object"]
FILE = "classifier.safetensors"


def change(**values):
    """A recipe of one stage and one epoch."""
    return RECIPE.model_copy(update={"sizes": [32], "epochs": [1], **values})


def kill(*_):
    raise Killed


def train(prepared, folder, recipe=RECIPE, stop=None):
    """Train into this folder; be killed when `stop` begins a line that is logged."""
    data, _ = identify_data(prepared)
    if not folder.exists():
        start_run(folder.parent, recipe, data).folder.rename(folder)
    told = Told(stop=stop)
    run = Run(folder, data)
    card = train_classifier(read_faces(prepared), prepared, recipe, run, device=CPU, log=told)
    return SimpleNamespace(card=card, folder=folder, lines=told.lines)


def use(run, crops):
    """Answers of a run's weights, used as `run.py` does."""
    return Classifier.load(run.folder / FILE, device=CPU).classify(crops)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    return train(prepared, tmp_path_factory.mktemp("runs") / "whole")


def test_run_folder_is_complete(trained):
    assert sorted(path.name for path in trained.folder.iterdir()) == [
        "classifier.json",
        "classifier.safetensors",
        "history.csv",
        "recipe.toml",
        "run.html",
        "run.json",
        "valid.csv",
    ]
    assert load_recipe(trained.folder / "recipe.toml", ClassifierRecipe) == RECIPE
    assert json.loads((trained.folder / "run.json").read_text())["data"]["sources"] == ["set"]


def test_history_and_lines_of_every_epoch(trained):
    history = pd.read_csv(trained.folder / "history.csv")
    assert history[["stage", "epoch"]].to_numpy().tolist() == [*([0, n] for n in range(4)), [1, 0]]
    assert history["lr"].tolist() == pytest.approx([3e-3] * 4 + [3e-4])
    assert history["accuracy"].max() > 0.6, "three colours are easily told apart"
    assert np.isfinite(history.to_numpy()).all()
    assert trained.lines[0] == (
        "train: with_mask 12, without_mask 12, mask_weared_incorrect 12; "
        "valid: with_mask 4, without_mask 4, mask_weared_incorrect 4"
    )
    assert trained.lines[1] == "stage 1 of 2: 32 px, at most 4 epochs"
    assert trained.lines[2].startswith("epoch 1 of 5: training loss ")
    assert re.fullmatch(r"epoch 5 of 5: .*, macro recall 0\.\d{4}, \d+ s", trained.lines[-1])


def test_card_says_how_to_use_the_weights(trained, prepared):
    state, card = load_weights(trained.folder / FILE, ClassifierCard)
    assert card == trained.card
    assert card.input_size == 48
    assert card.training["recipe"]["init"].startswith("detector, sha256 ")
    assert {**card.training["recipe"], "init": "detector"} == RECIPE.model_dump(mode="json")
    assert card.training["data"] == identify_data(prepared)[0]
    assert card.results["valid"]["all"]["faces"] == 12
    assert list(card.looks) == list(LOOKS)
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    stored = load_file(trained.folder / FILE)
    assert {t.dtype for t in stored.values()} == {torch.float16, torch.int64}


def test_figures_on_the_card_are_those_of_the_file(trained, prepared):
    """Loaded again and used as `run.py` does, the weights do what the card claims."""
    faces = read_faces(prepared)
    valid = faces[faces["split"] == "valid"]
    probabilities = use(trained, [read_photo(prepared / crop).pixels for crop in valid["crop"]])
    table = pd.read_csv(trained.folder / "valid.csv")
    assert table[KEY].to_numpy().tolist() == valid[KEY].to_numpy().tolist()
    written = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(written, probabilities, atol=0.01)
    predicted = [CLASSES[index] for index in probabilities.argmax(axis=1)]
    assert table["predicted"].tolist() == predicted
    accuracy = accuracy_score(valid["label"], predicted)
    assert trained.card.results["valid"]["all"]["accuracy"] == pytest.approx(accuracy)
    own = written[np.arange(12), [CLASSES.index(label) for label in table["label"]]]
    np.testing.assert_allclose(table["loss"], -np.log(own), atol=0.01)


@pytest.mark.usefixtures("without_plots")
def test_killed_again_and_again_equals_an_uninterrupted_run(
    trained, prepared, tmp_path, monkeypatch
):
    """Before the first checkpoint, in a stage, between stages, at the very end."""
    folder = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(training, "export_classifier", kill)
        for stop in ("epoch 1 of", "epoch 3 of", "epoch 5 of", None):
            with pytest.raises(Killed):
                train(prepared, folder, stop=stop)
    last = train(prepared, folder)
    assert "resuming after epoch 5 of 5" in last.lines
    assert not any(line.startswith("epoch") for line in last.lines), "nothing was left to train"
    ours, theirs = (load_file(run.folder / FILE) for run in (last, trained))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for name in ("history.csv", "valid.csv", "recipe.toml"):
        assert (folder / name).read_bytes() == (trained.folder / name).read_bytes(), name
    assert last.card.results == trained.card.results
    assert not (folder / "checkpoint.pt").exists()


@pytest.mark.usefixtures("without_plots")
def test_a_head_that_learns_first_is_gone_on_with_after_a_kill(prepared, tmp_path):
    recipe = change(freeze_epochs=2, epochs=[2], lr_mult=10, switch="overfit")
    whole = train(prepared, tmp_path / "whole", recipe)
    assert whole.lines[1] == "stage 1 of 2: 32 px, at most 2 epochs, the head alone"
    for stop in ("epoch 1 of", "epoch 2 of", "epoch 3 of"):
        with pytest.raises(Killed):
            train(prepared, tmp_path / "killed", recipe, stop=stop)
    last = train(prepared, tmp_path / "killed", recipe)
    ours, theirs = (load_file(run.folder / FILE) for run in (last, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    history = pd.read_csv(last.folder / "history.csv")
    assert history["stage"].tolist() == [0, 0, 1, 1]
    assert history["lr"].tolist() == pytest.approx([3e-3] * 2 + [3e-4] * 2)


@pytest.mark.usefixtures("without_plots")
def test_a_refit_learns_the_validation_photos_and_has_the_figures_of_its_twin(
    trained, prepared, tmp_path
):
    refit = ["train", prepared, "-o", tmp_path, "--refit", trained.folder, "--device", "cpu"]
    assert_refused(call(*refit, "--set", "seed=8"), "leave --set and --resume out")
    result = call(*refit)
    assert result.exit_code == 0
    assert "48 training and 12 validation faces of 16 photos" in result.stderr
    assert "the validation photos are learnt from, too" in result.stderr
    folder = tmp_path / "001-tiny"
    _, card = load_weights(folder / FILE, ClassifierCard)
    assert card.training["refit"].startswith(f"{FILE}, sha256 {trained.card.sha256}")
    assert card.training["recipe"] == trained.card.training["recipe"]
    for name in ("temperature", "looks", "results"):
        assert getattr(card, name) == getattr(trained.card, name), name
    assert card.sha256 != trained.card.sha256
    root, faces = prepared.parent / "set", read_faces(prepared)
    photos = list_photos(faces, {"set": root}, lambda *_, **__: None)
    assert {*photos} <= {*card.training_photos}
    assert "measure: " not in result.stderr, "all would be learnt from"
    assert not (folder / "valid.csv").exists()
    assert_refused(call("measure", prepared, "--weights", folder, "--device", "cpu"), "--learnt")
    again = call("train", prepared, "-o", tmp_path, "--refit", folder, "--device", "cpu")
    assert_refused(again, folder, "repeats another itself")
    (folder / "checkpoint.pt").write_bytes(b"")
    assert_refused(call("train", prepared, "-o", tmp_path, "--refit", folder), "no finished")


class EverWorse(CrossEntropyLossFlat):
    """A loss that grows whenever it is validated."""

    validated = 0.0

    def __call__(self, predicted, truth, **options):
        loss = super().__call__(predicted, truth, **options)
        if not loss.requires_grad:
            EverWorse.validated += 1
            loss = loss * 0 + EverWorse.validated
        return loss


@pytest.mark.usefixtures("without_plots")
def test_ended_stage_and_found_rate_stay_so_after_a_kill(prepared, tmp_path, monkeypatch):
    found = []

    def find(self, **_):
        self.recorder.lrs, self.recorder.losses = [1e-3, 1e-2], [1.0, 2.0]
        found.append(1)
        return SimpleNamespace(valley=2e-3)

    monkeypatch.setattr(training.Learner, "lr_find", find)
    with_loss = partial(training.build_learner, loss=EverWorse)
    monkeypatch.setattr(training, "build_learner", with_loss)
    recipe = RECIPE.model_copy(update={"lr": "find", "patience": 1})
    with pytest.raises(Killed):
        train(prepared, tmp_path / "a", recipe, stop="epoch 3 of")
    run = train(prepared, tmp_path / "a", recipe)
    history = pd.read_csv(run.folder / "history.csv")
    assert history[["stage", "epoch"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0]]
    assert not any(line.startswith(("epoch 1", "epoch 2")) for line in run.lines)
    assert history["lr"].tolist() == pytest.approx([2e-3, 2e-3, 2e-4])
    assert len(found) == 1


@pytest.mark.slow
def test_rate_is_found(prepared, tmp_path):
    run = train(prepared, tmp_path / "a", change(lr="find"))
    assert 1e-6 < pd.read_csv(run.folder / "history.csv")["lr"].item() < 1
    assert any(line.startswith("learning rate found: ") for line in run.lines)
    assert min(photo_size(run.folder / "lr_find.png")) > 100
    assert not (run.folder / "models").exists()


@pytest.mark.usefixtures("without_plots")
def test_a_frozen_body_stays_as_the_detector_made_it_also_with_bf16_and_mixup(prepared, tmp_path):
    run = train(prepared, tmp_path / "a", change(freeze=True, bf16="on", mixup=0.4))
    assert np.isfinite(pd.read_csv(run.folder / "history.csv").to_numpy()).all()
    start = from_detector(*load_weights(SHIPPED / "detector.safetensors", DetectorCard))
    weights = load_file(run.folder / FILE)
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    for name, tensor in start.items():
        assert torch.equal(weights[name], tensor.half() if tensor.is_floating_point() else tensor)
    assert weights["head.3.weight"].float().std() > 0


@pytest.mark.usefixtures("without_plots")
def test_two_classes_are_all_that_is_ever_answered(prepared, tmp_path):
    recipe = change(architecture="sequential", init="random", incorrect="without_mask")
    run = train(prepared, tmp_path / "a", recipe)
    assert run.card.learnt == (MASKED, BARE)
    assert run.card.results["valid"]["all"]["faces"] == 12
    noise = [np.random.default_rng(n).integers(0, 255, (40, 40, 3), np.uint8) for n in range(8)]
    answers = use(run, noise)
    assert (answers[:, CLASSES.index(RARE_CLASS)] == 0).all()
    assert answers.sum(axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.usefixtures("without_plots")
def test_the_prior_is_shifted_in_use_only(prepared, tmp_path):
    plain = train(prepared, tmp_path / "a", change())
    shifted = train(prepared, tmp_path / "b", change(rare_odds=3.0))
    tables = [pd.read_csv(run.folder / "valid.csv") for run in (plain, shifted)]
    before, after = (t["p_mask_weared_incorrect"] / t["p_with_mask"] for t in tables)
    assert (after / before).to_numpy() == pytest.approx(3.0, rel=0.05)
    assert plain.card.temperature == shifted.card.temperature


def test_crop_scale_of_the_prepared_folder_is_on_the_card(tmp_path):
    assert make_card(RECIPE, Run(tmp_path, {"options": {"scale": 1.0}})).crop_scale == 1.0


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def draw(temperature, count=4000, seed=0):
    """Probabilities that are wrong by this temperature: labels are drawn from the true ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 3))
    truth = (softmax(logits).cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    return softmax(logits * temperature), truth


@pytest.mark.parametrize("temperature", [0.5, 1.8])
def test_temperature_is_found_and_none_of_a_grid_is_better(temperature):
    probabilities, truth = draw(temperature)

    def loss(tried):
        return log_loss(truth, softmax(np.log(probabilities) / tried), labels=[0, 1, 2])

    found = fit_temperature(probabilities, truth)
    assert found == pytest.approx(temperature, rel=0.1)
    assert loss(found) <= min(loss(t) for t in np.geomspace(*TEMPERATURES, 60)) + 1e-6


@pytest.mark.parametrize(("right", "end"), [(True, 0), (False, 1)])
def test_temperature_stays_in_its_range(right, end):
    truth = np.array([0, 1, 2] * 4)
    sure = np.eye(3)[truth if right else (truth + 1) % 3] * 0.9 + 0.1 / 3
    assert fit_temperature(sure, truth) == pytest.approx(TEMPERATURES[end], rel=0.01)
    assert np.isfinite(fit_temperature(np.eye(3)[[0, 1, 0]], np.array([0, 1, 2])))


def test_figures_are_those_of_sklearn():
    probabilities, truth = draw(1.0, count=300)
    sources = pd.Series(["b"] * 100 + ["a"] * 200)
    figures = measure_crops(probabilities, truth, sources)
    assert list(figures) == ["all", "a", "b"]
    predicted = probabilities.argmax(axis=1)
    for name, rows in (("all", slice(None)), ("a", slice(100, None)), ("b", slice(100))):
        got, p, t = figures[name], predicted[rows], truth[rows]
        assert got["faces"] == len(t)
        assert got["accuracy"] == pytest.approx(accuracy_score(t, p))
        assert got["macro_recall"] == pytest.approx(recall_score(t, p, average="macro"))
        recalls = recall_score(t, p, average=None)
        assert [got[label] for label in CLASSES] == pytest.approx(list(recalls))


def test_class_without_faces_is_left_out_of_the_mean():
    figures = measure_crops(np.eye(3)[[0, 0, 1]], np.array([0, 1, 1]), pd.Series(["s"] * 3))["s"]
    recalls = {"macro_recall": 0.75, "with_mask": 1.0, "without_mask": 0.5}
    assert figures == {"faces": 3.0, "accuracy": pytest.approx(2 / 3), **recalls}


def test_odds_of_the_rare_class_are_multiplied_and_the_others_keep_theirs(tmp_path):
    state = make_mobilenet().state_dict()
    shifted = shift_logits(state, shift_prior(2.5, 0.8), "mobilenet0.25")
    faces = torch.randn(6, 3, 64, 64)
    odds = []
    for weights in (state, shifted):
        net = fill_net(weights, "mobilenet0.25", tmp_path).eval()
        odds.append((net(faces).detach() / 0.8).softmax(dim=1))
    before, after = odds
    torch.testing.assert_close(after[:, 2] / after[:, 0], 2.5 * before[:, 2] / before[:, 0])
    torch.testing.assert_close(after[:, 1] / after[:, 0], before[:, 1] / before[:, 0])


def test_class_weights_are_taken_back():
    weights = torch.tensor([0.5, 1.0, 4.0])
    shares = torch.tensor([[0.6, 0.3, 0.1]])
    learnt = shares * weights / (shares * weights).sum()
    back = (learnt.log() + undo_class_weights(weights, 1.0)).softmax(dim=1)
    torch.testing.assert_close(back, shares)
    assert undo_class_weights(weights, 0.0).tolist() == [0, 0, 0]
    assert undo_class_weights(None, 1.0).tolist() == [0, 0, 0]
