"""The callbacks of a stage, on a net of one layer and with validation losses from a script."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.schedule import Learner
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.metrics import accuracy
from torch import nn

from data_prep.base.files import OutputError
from pipeline.nets.checkpoint import load_checkpoint
from pipeline.training.stages import Bf16, StageKeeper
from tests.pipeline.makers import CPU

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
    """A learner and a keeper; the keeper's lines are in `lines`."""

    def call(script, *, patience=2, resumed=None, history=None, stop=None):
        torch.manual_seed(7)
        loaders = DataLoaders(
            DataLoader(DATA, bs=8, shuffle=True, drop_last=True, device=CPU),
            DataLoader(DATA[:6], bs=6, device=CPU),
        )
        net = nn.Linear(4, 3)
        learn = Learner(
            loaders,
            net,
            loss_func=nn.CrossEntropyLoss(),
            metrics=[accuracy],
            cbs=[ScriptedLoss(script)],
            path=tmp_path,
        )
        lines = []

        def log(line, *_event, **_facts):
            lines.append(line)
            if stop is not None and f"epoch {stop}:" in line:
                raise KeyboardInterrupt

        keeper = StageKeeper(
            1,
            lr=0.1,
            patience=patience,
            seed=3,
            path=tmp_path / "checkpoint.pt",
            history=[] if history is None else history,
            log=log,
            resumed=resumed,
        )
        learn.create_opt()
        if resumed:
            net.load_state_dict(resumed["model"])
            learn.opt.load_state_dict(resumed["optimiser"])
        return learn, keeper, lines

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


def test_stage_ends_when_the_loss_has_turned_and_keeps_the_best(make):
    learn, keeper, lines = make([3, 2, 2.5, 2.0, 1.0, 0.5])
    weights = fit(learn, keeper, 6)
    assert [row["valid_loss"] for row in keeper.history] == [3, 2, 2.5, 2.0]
    assert lines[-1] == "stage 1: no better validation loss for 2 epochs"
    assert torch.equal(learn.model.weight, weights[1])
    assert len(weights) == 3, "the last epoch is cancelled before the watch looks"


def test_epochs_used_up_the_best_is_kept(make):
    learn, keeper, lines = make([3, 1, 2])
    weights = fit(learn, keeper, 3)
    assert len(keeper.history) == 3
    assert torch.equal(learn.model.weight, weights[1])
    assert "no better" not in lines[-1]


def test_better_loss_sets_patience_back(make):
    learn, keeper, _ = make([3, 4, 2, 3, 1, 2])
    fit(learn, keeper, 6)
    assert len(keeper.history) == 6


def test_loss_that_is_no_number_is_never_the_best(make):
    learn, keeper, _ = make([float("nan")] * 4)
    fit(learn, keeper, 4)
    assert len(keeper.history) == 2
    assert torch.isfinite(learn.model.weight).all()


def test_one_row_and_one_line_per_epoch(make):
    learn, keeper, lines = make([3, 2])
    fit(learn, keeper, 2)
    assert [list(row) for row in keeper.history] == [
        ["stage", "epoch", "lr", "train_loss", "valid_loss", "accuracy"]
    ] * 2
    assert [(row["stage"], row["epoch"], row["lr"]) for row in keeper.history] == [
        (1, 0, 0.1),
        (1, 1, 0.1),
    ]
    assert lines[1].startswith("stage 1, epoch 1: train_loss ")
    assert "valid_loss 2.0000, accuracy 0." in lines[1]


def test_checkpoint_after_every_epoch_can_be_read_without_pickle(make, tmp_path):
    learn, keeper, _ = make([3, 2, 4])
    weights = fit(learn, keeper, 3)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert (state["stage"], state["epoch"], state["worse"], state["best_loss"]) == (1, 3, 1, 2)
    assert torch.equal(state["best"]["weight"], weights[1])
    assert torch.equal(state["model"]["weight"], weights[2])
    assert state["history"] == keeper.history


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_killed_and_resumed_stage_equals_an_uninterrupted_one(make, tmp_path, stop):
    script = [3, 2, 2.5, 1.5, 1.8]
    learn, keeper, _ = make(script)
    fit(learn, keeper, 5)
    broken, half, _ = make(script, stop=stop)
    with pytest.raises(KeyboardInterrupt):
        fit(broken, half, 5)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    assert state["epoch"] == stop
    resumed, rest, lines = make(script, resumed=state, history=list(state["history"]))
    fit(resumed, rest, 5, start=state["epoch"])
    assert torch.equal(resumed.model.weight, learn.model.weight)
    assert rest.history == keeper.history
    assert len(lines) == 5 - stop


def test_resumed_stage_goes_on_counting_patience(make, tmp_path):
    script = [3, 2, 2.5, 2.6, 1]
    broken, half, _ = make(script, stop=3)
    with pytest.raises(KeyboardInterrupt):
        fit(broken, half, 5)
    state = load_checkpoint(tmp_path / "checkpoint.pt")
    resumed, rest, _ = make(script, resumed=state, history=list(state["history"]))
    fit(resumed, rest, 5, start=state["epoch"])
    assert [row["epoch"] for row in rest.history] == [0, 1, 2, 3]
    assert torch.equal(resumed.model.weight, state["best"]["weight"])


def test_full_disk_is_told_and_the_old_checkpoint_stays(make, tmp_path, monkeypatch):
    real = Path.replace

    def fill_up(self, target):
        if load_checkpoint(target):
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", fill_up)
    learn, keeper, _ = make([3, 2])
    with pytest.raises(OutputError, match=r"checkpoint\.pt: can't be written \(No space left"):
        fit(learn, keeper, 2)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["epoch"] == 1


def test_bf16_computes_in_bf16_and_hands_on_float32(make):
    learn, keeper, _ = make([3])
    seen = []

    class Watch(Callback):
        order = 11

        def after_pred(self):
            seen.append((self.learn.pred.dtype, torch.is_autocast_enabled("cpu")))

    inside = []
    learn.model.register_forward_hook(lambda _m, _i, output: inside.append(output.dtype))
    with learn.no_logging(), learn.no_bar():
        learn.fit_one_cycle(1, 0.1, cbs=[keeper, Bf16(), Watch()])
    assert set(inside) == {torch.bfloat16}
    assert set(seen) == {(torch.float32, True)}
    assert not torch.is_autocast_enabled("cpu")
    assert learn.model.weight.dtype == torch.float32
    assert np.isfinite(keeper.history[0]["train_loss"])
