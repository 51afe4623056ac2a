"""Learners: where they start from, what fastai does with them, and our callbacks in them."""

import hashlib
import itertools
import json
import math
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.schedule import Learner
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.interpret import ClassificationInterpretation
from fastai.learner import load_learner
from fastai.metrics import accuracy
from fastai.optimizer import Adam
from safetensors.torch import load_file
from torch import nn

import trimask
from data_prep.base.files import OutputError
from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from pipeline.inference.classifier import Classifier
from pipeline.inference.engines import OnnxEngine, to_onnx
from pipeline.nets.cards import (
    ClassifierCard,
    WeightsError,
    load_checkpoint,
    save_weights,
)
from pipeline.nets.classifiers import expose_features, fill_net, make_mobilenet
from pipeline.runs.folder import Run
from pipeline.runs.recipe import ClassifierRecipe, RecipeError
from pipeline.training import callbacks, learner
from pipeline.training.callbacks import Bf16, Distillation, StageKeeper, ask, load_teachers
from pipeline.training.data import class_weights
from pipeline.training.learner import make_learner
from tests.pipeline.makers import CPU, Killed, Told


def make_small(prepared, **changes):
    """A learner of one small stage on the CPU."""
    small = {"sizes": [32], "batch_size": 9, "device": "cpu"}
    return make_learner(prepared, **{**small, **changes})


def test_a_plain_learner_is_fastais_in_all_it_does(prepared, tmp_path, monkeypatch):
    """What fastai offers in a notebook: pictures, a range test, fits, interpretation, export."""
    mpl.use("agg")
    monkeypatch.chdir(tmp_path)
    learn = make_small(prepared, recipe="fast", drawn=0.0, init="random")
    assert list(learn.dls.vocab) == list(CLASSES)
    learn.dls.show_batch(max_n=4)
    titles = {axes.get_title() for axes in mpl.pyplot.gcf().axes}
    assert titles <= set(CLASSES)
    with learn.no_logging(), learn.no_bar():
        assert 0 < learn.lr_find(num_it=5, show_plot=False).valley < 10
        learn.fine_tune(1)
        interpreted = ClassificationInterpretation.from_learner(learn)
        interpreted.plot_top_losses(3)
    assert interpreted.confusion_matrix().sum() == 12
    assert interpreted.confusion_matrix().shape == (3, 3)
    learn.export("learner.pkl")
    again = load_learner("learner.pkl")
    crop = os.path.relpath(prepared / learn.dls.valid_ds.items[0][0])
    with learn.no_bar(), again.no_bar():
        (label, code, shares), exported = learn.predict(crop), again.predict(crop)
    assert CLASSES[int(code)] == label == exported[0]
    torch.testing.assert_close(shares, exported[2])


def test_a_learner_runs_in_the_pipeline(prepared):
    """By the numbers that fastai gives, at the size it has now, without the weights of the loss."""
    options = {"recipe": "fast", "drawn": 0.0, "mirror": False, "undo_weights": 1.0, "bf16": "off"}
    learn = make_small(prepared, **options, class_weights="sqrt")
    learn.dls = make_small(prepared, **options, sizes=[48, 64]).dls
    learn.labels = pd.Series(CLASSES).repeat((20, 9, 3))
    with learn.no_bar():
        shares = learn.get_preds()[0] / class_weights(learn.labels, learn.recipe)
    model = trimask.load(learn, device="cpu", bf16=False)
    crops = [read_photo(prepared / crop).pixels for crop, _ in learn.dls.valid_ds.items]
    classifier = model.predictor.classifier
    expected = (shares / shares.sum(dim=1, keepdim=True)).numpy()
    np.testing.assert_allclose(classifier.classify(crops), expected, atol=1e-3)
    assert (classifier.card.input_size, classifier.card.crop_scale) == (48, 1.5)
    assert len(model.predict(trimask.EXAMPLE)) == 1
    del learn.recipe
    with pytest.raises(WeightsError, match=r"no learner of trimask\.learner"):
        trimask.load(learn)


def test_changes_of_a_learner_are_checked(prepared):
    with pytest.raises(RecipeError, match="unknown key 'batchsize': did you mean 'batch_size'"):
        make_small(prepared, batchsize=3)


DATA = [(torch.randn(4, generator=torch.Generator().manual_seed(i)), i % 3) for i in range(24)]


class ScriptedLoss(Callback):
    """Cross entropy in training; in validation what the script says of the epoch."""

    order = -10

    def __init__(self, script):
        self.script = script

    def after_loss(self):
        if not self.training:
            self.learn.loss_grad = self.learn.loss = torch.tensor(float(self.script[self.epoch]))


@pytest.fixture
def make(tmp_path):
    """A learner of one layer and a keeper; the keeper's lines are in `lines`."""

    def call(script, *, resumed=None, stop=None):
        torch.manual_seed(7)
        loaders = DataLoaders(
            DataLoader(DATA, bs=8, shuffle=True, drop_last=True, device=CPU),
            DataLoader(DATA[:6], bs=6, device=CPU),
        )
        learn = Learner(
            loaders,
            nn.Linear(4, 3),
            loss_func=nn.CrossEntropyLoss(),
            metrics=[accuracy],
            cbs=[ScriptedLoss(script)],
            path=tmp_path,
        )
        log = Told(stop=f"epoch {stop + 1 if stop is not None else None} of")
        recipe = ClassifierRecipe(patience=2, seed=3)
        history = list(resumed["history"]) if resumed else []
        keeper = StageKeeper(recipe, 1, 0.1, Run(tmp_path, {}), history, log, resumed)
        learn.create_opt()
        if resumed:
            learn.model.load_state_dict(resumed["model"])
            learn.opt.load_state_dict(resumed["optimiser"])
        return learn, keeper, log.lines

    return call


def fit(learn, keeper, epochs, start=0):
    weights = []

    class Watch(Callback):
        order = 100

        def after_epoch(self):
            weights.append(self.model.weight.detach().clone())

    with learn.no_logging(), learn.no_bar():
        learn.fit_one_cycle(epochs, 0.1, cbs=[keeper, Watch()], start_epoch=start)
    return weights


@pytest.mark.parametrize(
    ("script", "epochs"),
    [([3, 4, 2, 3, 1, 2], 6), ([float("nan")] * 4, 2)],
    ids=["a better loss sets patience back", "no number is ever the best"],
)
def test_epochs_until_patience_ends(make, script, epochs):
    learn, keeper, _ = make(script)
    fit(learn, keeper, len(script))
    assert len(keeper.history) == epochs
    assert torch.isfinite(learn.model.weight).all()


def count_epochs(losses, patience, switch):
    """How many of these (training, validation) losses it takes, one after the other."""
    best, worse = math.inf, 0
    for done, (before, (train, valid)) in enumerate(itertools.pairwise([(-1, 0), *losses]), 1):
        overfits = train < before[0]
        worse = 0 if valid < best else worse + (overfits or switch == "stalled")
        best = min(best, valid)
        if worse == patience:
            return done
    return len(losses)


@pytest.mark.parametrize("switch", ["stalled", "overfit"])
@pytest.mark.parametrize("patience", [1, 2])
@pytest.mark.parametrize(
    "losses",
    [
        [(5, 5), (6, 6), (7, 7), (6, 8), (5, 9), (4, 9)],
        [(5, 5), (4, 4), (3, 4.5), (3, 5), (2, 3), (1, 3)],
        [(5, 5), (4, 6), (4, 6), (3, 5), (2, 5)],
    ],
    ids=["both rise first", "a better one between", "stands still between"],
)
def test_a_stage_that_overfits_ends(tmp_path, losses, patience, switch):
    recipe = ClassifierRecipe(patience=patience, switch=switch)
    keeper = StageKeeper(recipe, 0, 0.1, Run(tmp_path, {}), [], Told())
    stand_in = {"state_dict": lambda: {"state": [], "hypers": []}}
    keeper.learn = SimpleNamespace(model=nn.Linear(1, 1), opt=SimpleNamespace(**stand_in))
    for epoch, (train, valid) in enumerate(losses):
        keeper.learn.epoch = epoch
        keeper.learn.recorder = SimpleNamespace(metrics=[], log=[epoch, train, valid, "00:01"])
        try:
            keeper.after_epoch()
        except CancelFitException:
            break
    assert len(keeper.history) == count_epochs(losses, patience, switch)


def test_stage_ends_when_the_loss_has_turned_and_keeps_the_best(make, tmp_path):
    learn, keeper, lines = make([3, 2, 4, 2.0, 1.0, 0.5])
    weights = fit(learn, keeper, 6)
    assert torch.equal(learn.model.weight, weights[1])
    assert len(weights) == 3, "the last epoch is cancelled before the watch looks"
    names = ["stage", "epoch", "lr", "train_loss", "valid_loss", "accuracy"]
    assert [list(row) for row in keeper.history] == [names] * 4
    told = [[row[name] for name in (*names[:3], "valid_loss")] for row in keeper.history]
    assert told == [[1, epoch, 0.1, loss] for epoch, loss in enumerate([3, 2, 4, 2])]
    assert lines[1].startswith("epoch 2 of 25: training loss ")
    assert "validation loss 2.0000, accuracy 0." in lines[1]
    assert lines[-1] == "stage 2 ends: no lower validation loss for 2 epochs"
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert (state["stage"], state["epoch"], state["worse"], state["best_loss"]) == (1, 4, 2, 2)
    assert torch.equal(state["best"]["weight"], weights[1])
    assert state["history"] == keeper.history


@pytest.mark.parametrize(
    ("script", "stop"),
    [([3, 2, 2.5, 1.5, 1.8], 2), *(([3, 2, 2.5, 2.6, 1], stop) for stop in (1, 2, 3))],
)
def test_killed_and_resumed_stage_equals_an_uninterrupted_one(make, tmp_path, script, stop):
    """The second script runs out of patience after its fourth epoch."""
    learn, keeper, _ = make(script)
    fit(learn, keeper, 5)
    broken, half, _ = make(script, stop=stop)
    with pytest.raises(Killed):
        fit(broken, half, 5)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state["epoch"] == stop
    resumed, rest, _ = make(script, resumed=state)
    fit(resumed, rest, 5, start=stop)
    assert torch.equal(resumed.model.weight, learn.model.weight)
    assert rest.history == keeper.history


def test_full_disk_is_logged_and_the_old_checkpoint_stays(make, tmp_path, monkeypatch):
    real = Path.replace

    def fill_up(self, target):
        if target.name == "checkpoint.pt" and load_checkpoint(target):
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", fill_up)
    learn, keeper, _ = make([3, 2])
    with pytest.raises(OutputError, match=r"checkpoint\.pt: can't be written \(No space left"):
        fit(learn, keeper, 2)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["epoch"] == 1


def test_bf16_computes_in_bf16_and_hands_on_float32(make):
    learn, keeper, _ = make([3])
    seen, inside = [], []

    class Watch(Callback):
        order = 11

        def after_pred(self):
            seen.append((self.learn.pred.dtype, torch.is_autocast_enabled("cpu")))

    learn.model.register_forward_hook(lambda _m, _i, output: inside.append(output.dtype))
    with learn.no_logging(), learn.no_bar():
        learn.fit_one_cycle(1, 0.1, cbs=[keeper, Bf16(), Watch()])
    assert set(inside) == {torch.bfloat16}
    assert set(seen) == {(torch.float32, True)}
    assert not torch.is_autocast_enabled("cpu")
    assert learn.model.weight.dtype == torch.float32
    assert np.isfinite(keeper.history[0]["train_loss"])


class Constant:
    """Answers these logits whatever the image, and notes its size."""

    def __init__(self, logits):
        self.logits, self.sides = np.array(logits, np.float32), []

    def __call__(self, batch):
        self.sides.append(batch.shape[-1])
        return np.tile(self.logits, (len(batch), 1)), np.zeros((len(batch), 1), np.float32)


def teacher(*logits, **card):
    made = Classifier(nn.Identity(), ClassifierCard(**card), device=CPU)
    made.engine = Constant(logits)
    return made


def distil(teachers, share, *, training=True):
    """The loss after the callback, for one image, logits 1, 0, 0 and a loss of 1."""
    callback = Distillation(teachers, share)
    callback.learn = learn = SimpleNamespace(
        training=training,
        xb=(torch.zeros(1, 3, 32, 32),),
        pred=torch.tensor([[1.0, 0.0, 0.0]]),
        loss_grad=torch.tensor(1.0),
        loss=torch.tensor(1.0),
    )
    callback.after_loss()
    assert learn.loss == learn.loss_grad
    return float(learn.loss_grad)


def test_loss_is_mixed_with_the_cross_entropy_to_the_mean_answer():
    sure, other = teacher(100.0, 0.0, 0.0), teacher(0.0, 100.0, 0.0)
    logs = torch.tensor([1.0, 0.0, 0.0]).log_softmax(dim=0)
    assert distil([sure], 1.0) == pytest.approx(-float(logs[0]))
    both = distil([sure, other], 0.25)
    assert both == pytest.approx(0.75 - 0.25 * float(logs[0] + logs[1]) / 2)
    assert distil([sure], 0.5, training=False) == 1.0


def test_teachers_answer_by_their_cards():
    classes = (CLASSES[1], CLASSES[0], CLASSES[2])
    made = teacher(2.0, 0.0, 0.0, temperature=2.0, classes=classes, input_size=48)
    answer = ask(made, torch.zeros(1, 3, 32, 32))[0]
    torch.testing.assert_close(answer, torch.tensor([0.0, 1.0, 0.0]).softmax(dim=0))
    assert made.engine.sides == [48]


def test_teachers_are_read_from_their_files(tmp_path):
    path = tmp_path / "a.safetensors"
    recipe = ClassifierRecipe(teachers=[str(path)], bf16="off")
    card = ClassifierCard(architecture="mobilenet0.25", input_size=32)
    save_weights(path, make_mobilenet().state_dict(), card)
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    (made,) = load_teachers(recipe, CPU)
    answers = ask(made, images)
    assert answers.sum(dim=1).tolist() == pytest.approx([1, 1])
    onnx = to_onnx(expose_features(fill_net(load_file(path), card.architecture, path)))
    path.with_suffix(".onnx").write_bytes(onnx)
    known = {
        **json.loads(path.with_suffix(".json").read_text()),
        "onnx": hashlib.sha256(onnx).hexdigest(),
    }
    path.with_suffix(".json").write_text(json.dumps(known))
    (quick,) = load_teachers(recipe, CPU)
    assert isinstance(quick.engine, OnnxEngine)
    torch.testing.assert_close(ask(quick, images), answers, atol=1e-5, rtol=1e-4)
    path.with_suffix(".onnx").unlink()
    save_weights(path, make_mobilenet().state_dict(), card.model_copy(update={"colour": "grey"}))
    with pytest.raises(WeightsError, match="fed otherwise"):
        load_teachers(recipe, CPU)


@pytest.mark.usefixtures("one_thread")  # Which it would have, too: others sum in another order.
def test_learning_beside_the_next_batch_gives_the_same_weights(prepared, monkeypatch):
    small = {"recipe": "fast", "drawn": 0.0, "dropout": 0.5, "epochs": [2]}
    threads, states = set(), []
    for callback in (callbacks.LearnBeside, Callback):
        monkeypatch.setattr(learner, "LearnBeside", callback)
        torch.manual_seed(0)
        learn = make_small(prepared, **small)
        learn.create_opt()
        step = learn.opt.step
        learn.opt.step = lambda step=step: (threads.add(threading.get_ident()), step())
        learner.fit_stage(learn, learn.recipe, 0, 1e-2, [callbacks.SeededEpochs(0, 0)])
        states.append(learn.model.state_dict())
    assert len(threads) == 2, "once in a thread of its own"
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


def test_macro_recall_leaves_out_a_class_that_is_answered_but_not_there(prepared):
    truth, answers = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 0, 0, 2, 1, 2])
    metric = make_small(prepared).metrics[1]
    assert metric(answers, truth) == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert metric.name == "recall_score"


def test_adam_of_all_parameters_at_once_is_fastais():
    nets = []
    for kind in (Adam, callbacks.QuickAdam):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
        optimiser = kind([[*net[:2].parameters()], [*net[2].parameters()]], lr=0.1, wd=0.3)
        optimiser.state[net[1].bias]["do_wd"] = False
        for step in range(6):
            optimiser.set_hypers(lr=slice(0.01, 0.1 / (step + 1)), mom=0.95 - step / 20)
            (optimiser.freeze if step < 2 else optimiser.unfreeze)()
            net(torch.randn(8, 5)).square().sum().backward()
            optimiser.step()
            optimiser.zero_grad()
            if step == 3:
                optimiser.load_state_dict(optimiser.state_dict())
        nets.append(net.state_dict())
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])
