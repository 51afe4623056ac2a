"""The benchmark: both sides do the same work, and the figures are plain arithmetic."""

import csv
from dataclasses import replace

import pytest
import torch
from torch import nn

from pipeline.inference.folder import predict_folder
from pipeline.inference.predictor import Predictor
from pipeline.inference.sources import find_photos
from pipeline.nets.retinaface import make_anchors
from tests.benchmarks import inference_speed as benchmark
from tests.benchmarks.inference_speed import Comparison, PlainLoop, compare_speed
from tests.pipeline.makers import CPU, save_photo, stand_ins


@pytest.fixture
def photos(tmp_path):
    for index in range(4):
        save_photo(tmp_path / "photos" / f"{index}.png", seed=index)
    return find_photos(str(tmp_path / "photos"), leave_out=tmp_path / "out")


def test_ratio_is_the_median_over_the_rounds():
    comparison = Comparison(4, 8, plain=(1.0, 2.0, 4.0), ours=(3.0, 8.0, 8.0))
    assert comparison.ratio == 3.0
    assert comparison.describe() == (
        "4 photos, 8 faces: plain loop 2.00 photos/s, pipeline 8.00 photos/s, "
        "ratio 3.00 (medians of 3 rounds)"
    )


def test_both_sides_find_the_same(photos, random_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "pipeline.inference.detector.MAX_FACES", 4
    )  # random nets see faces everywhere
    predictor = Predictor.load(random_weights, device=CPU, bf16=False)
    plain = PlainLoop.load(random_weights, CPU).run(photos, thresh=0.5)
    assert len(plain) >= 4
    predict_folder(photos, tmp_path / "out", predictor, draw=False)
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        ours = list(csv.DictReader(file))
    assert [(row["image"], row["label"]) for row in ours] == [
        (image, label) for image, _, label in plain
    ]
    for row, (_, box, _) in zip(ours, plain, strict=True):
        assert [float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax")] == pytest.approx(
            list(box), abs=0.05
        )


def test_plain_loop_makes_anchors_anew_and_classifies_face_by_face(
    photos, random_weights, monkeypatch
):
    cleared, calls = [], []
    monkeypatch.setattr(make_anchors, "cache_clear", lambda: cleared.append(1))
    plain = PlainLoop.load(random_weights, CPU)
    plain = replace(plain, detector=stand_ins().detector)
    plain.classifier.register_forward_hook(lambda net, inputs, out: calls.append(len(inputs[0])))
    assert len(plain.run(photos, thresh=0.3)) == 8
    assert (len(cleared), calls) == (4, [1] * 8)


def test_plain_nets_are_neither_folded_nor_in_half_precision(random_weights):
    plain = PlainLoop.load(random_weights, CPU)
    for net in (plain.detector.engine.net, plain.classifier):
        assert any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules())
        assert {weight.dtype for weight in net.parameters()} == {torch.float32}
    assert not plain.detector.bf16


def test_rounds_alternate_and_nothing_is_taken_from_the_round_before(photos, tmp_path, monkeypatch):
    order = []

    class Plain:
        @classmethod
        def load(cls, weights, device):
            return cls()

        def run(self, photos, *, thresh):
            order.append("plain")
            return [None] * 2 * len(photos.images)

    real_ours = benchmark.predict_folder

    def ours(*arguments, **options):
        order.append("ours")
        summary = real_ours(*arguments, **options)
        assert summary["photos_done_now"] == summary["photos"], "no round may find the last one's"
        return summary

    monkeypatch.setattr(benchmark.Predictor, "load", lambda weights, *, device, thresh: stand_ins())
    monkeypatch.setattr(benchmark, "PlainLoop", Plain)
    monkeypatch.setattr(benchmark, "predict_folder", ours)
    lines = []
    result = compare_speed(
        photos, tmp_path, tmp_path / "out", device=CPU, thresh=0.3, rounds=2, say=lines.append
    )
    assert order == ["plain", "ours"] * 3, "one warm-up, two rounds"
    assert (result.photos, result.faces, len(result.plain), len(result.ours)) == (4, 8, 2, 2)
    assert [line.split(":")[0] for line in lines] == ["round 1", "round 2"]
    assert result.ratio > 0
