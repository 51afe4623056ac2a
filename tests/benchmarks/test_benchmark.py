"""The benchmark: both sides do the same work, the plain one face by face and in float32."""

import csv

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from pipeline.inference.folder import predict_folder
from pipeline.inference.predictor import Predictor
from pipeline.inference.sources import find_photos
from pipeline.nets.anchors import make_anchors
from tests.benchmarks.before import tell_differences
from tests.benchmarks.inference_speed import PlainLoop
from tests.benchmarks.rivals import Other
from tests.pipeline.makers import CPU, save_photo


@pytest.fixture
def photos(tmp_path, monkeypatch):
    # Random nets see faces everywhere.
    monkeypatch.setattr("pipeline.inference.boxes.MAX_FACES", 4)
    for index in range(3):
        save_photo(tmp_path / "photos" / f"{index}.png", seed=index)
    return find_photos(str(tmp_path / "photos"), leave_out=tmp_path / "out")


def test_both_sides_find_the_same(photos, random_weights, tmp_path, monkeypatch):
    cleared, calls = [], []
    monkeypatch.setattr(make_anchors, "cache_clear", lambda: cleared.append(1))
    loop = PlainLoop(random_weights)
    loop.classifier.register_forward_hook(lambda net, inputs, out: calls.append(len(inputs[0])))
    plain = loop.run(photos, thresh=0.5)
    assert len(plain) >= 4
    assert (len(cleared), calls) == (3, [1] * len(plain))
    predictor = Predictor.load(random_weights, device=CPU, bf16=False)
    predict_folder(photos, tmp_path / "out", predictor, draw=False)
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        ours = list(csv.DictReader(file))
    for row, (image, box, label) in zip(ours, plain, strict=True):
        assert (row["image"], row["label"]) == (image, label)
        assert [float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax")] == pytest.approx(
            list(box), abs=0.05
        )
    for net in (loop.net, loop.classifier):
        assert any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())
        assert {weight.dtype for weight in net.parameters()} == {torch.float32}


def test_another_detector_is_called_as_ours():
    rows = [[-5, 2, 30, 20, 0.4], [1, 1, 9, 9, 0.9], [3, 3, 3.5, 9, 0.8], [1, 1, 9, 9, 0.1]]
    other = Other(lambda photo: np.array(rows))
    (found,) = other.detect([np.zeros((16, 24, 3), np.uint8)], min_score=0.3)
    assert found.boxes.tolist() == [[1, 1, 9, 9], [0, 2, 24, 16]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.4])
    assert len(Other(lambda photo: np.zeros((0, 5))).detect([np.zeros((9, 9, 3))])[0].boxes) == 0


def test_faces_that_differ_are_counted(tmp_path):
    row = {"image": "a", "xmin": 1.0, "ymin": 2.0, "xmax": 20.0, "ymax": 30.0}
    row |= {"label": "with_mask", "score": 0.8, "detection": 0.9}
    other = {**row, "xmin": 3.0}
    for name, rows in {
        "one": [row, other],
        "rounded": [{**other, "xmax": 20.05}, {**row, "score": 0.8009}],
        "moved": [row, {**other, "ymin": 2.2}],
        "classed": [row, {**other, "label": "without_mask"}],
        "less": [row],
        "more": [row, other, {**row, "image": "b"}],
    }.items():
        (tmp_path / name).mkdir()
        pd.DataFrame(rows).to_csv(tmp_path / name / "predictions.csv")
    others = ("one", "rounded", "moved", "classed", "less", "more")
    told = [tell_differences(tmp_path / "one", tmp_path / name) for name in others]
    assert told == [f"{count} of 2" for count in (0, 0, 1, 1, 1, 1)]
