"""A stand-in for the short trainings, which tells painted faces by their colour."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data_prep.labels import CLASSES
from pipeline.cleaning import tasks
from pipeline.cleaning.short_training import Views
from tests.pipeline.makers import COLOURS


@pytest.fixture
def by_colour(monkeypatch):
    """Trainings take no time; each is noted as (what, labels that it was trained on)."""
    calls = []

    def train(faces, crops, recipe, *, device, what, say):
        calls.append(SimpleNamespace(what=what, faces=faces, recipe=recipe, crops=crops))
        say(f"{what}: trained")
        return what

    def view(_net, crops, _size, _device):
        means = np.stack([crop.reshape(-1, 3).mean(axis=0) for crop in crops])
        shares = (means[:, [COLOURS[name] for name in CLASSES]] / 255) ** 2 + 0.01
        shares /= shares.sum(axis=1, keepdims=True)
        return Views(shares.astype(np.float32), np.pad(means, ((0, 0), (0, 509))))

    monkeypatch.setattr(tasks, "train_short", train)
    monkeypatch.setattr(tasks, "view_faces", view)
    return calls


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
