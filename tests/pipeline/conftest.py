"""A prepared folder, and a stand-in for trainings that tells its faces by their colour."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data_prep.base.labels import CLASSES
from data_prep.prepare.build import build
from data_prep.prepare.options import BuildOptions
from pipeline.training import classifier as train_classifier
from pipeline.training import short
from pipeline.training.short import Views
from tests.pipeline.makers import COLOURS, paint_dataset


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """A folder prepared from sixteen painted photos with three faces each."""
    folder = tmp_path_factory.mktemp("painted")
    out = folder / "prepared"
    roots = [paint_dataset(folder / "set", 16)]
    build(BuildOptions(roots=roots, out=out, blur_rule="none", workers=1))
    return out


@pytest.fixture
def by_colour(monkeypatch):
    """Trainings take no time; each is noted as (what, labels that it was trained on)."""
    calls = []

    def train(faces, read, recipe, *, device, what, log):
        calls.append(SimpleNamespace(what=what, faces=faces, recipe=recipe, read=read))
        log(f"{what}: trained")
        return what

    def view(_state, _recipe, crops, *_):
        means = np.stack([crop.reshape(-1, 3).mean(axis=0) for crop in crops])
        shares = (means[:, [COLOURS[name] for name in CLASSES]] / 255) ** 2 + 0.01
        shares /= shares.sum(axis=1, keepdims=True)
        return Views(shares.astype(np.float32), np.pad(means, ((0, 0), (0, 509))))

    monkeypatch.setattr(short, "train_short", train)
    monkeypatch.setattr(short, "view_faces", view)
    return calls


@pytest.fixture
def without_plots(monkeypatch):
    """Trainings of classifiers draw nothing, which saves time."""
    monkeypatch.setattr(train_classifier, "write_page", lambda *_, **__: None)


@pytest.fixture(scope="module")
def one_thread():
    """For a module's trainings: networks this small are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
