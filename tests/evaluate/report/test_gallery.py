"""Pictures of errors: decoded again, pixel by pixel."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.base.html import COLOURS
from evaluate.arrays import Detections, GroundTruth
from evaluate.measures.case import Case
from evaluate.report.gallery import GROUND, PER_KIND, SIDE, draw_gallery


def decode(src: str) -> np.ndarray:
    data = base64.b64decode(src.removeprefix("data:image/jpeg;base64,"))
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def rgb(label: str) -> list[int]:
    return [int(COLOURS[label][start : start + 2], 16) for start in (1, 3, 5)]


@pytest.fixture
def scene(tmp_path):
    """A missed face in the corner of a blue photo, a wrong class, and a detection on no face."""
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:] = (0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    truth = GroundTruth(
        ("a.png",),
        np.zeros(2, np.int64),
        np.array([[0.0, 0, 20, 20], [100, 40, 140, 80]]),
        np.array([0, 1]),
        np.zeros(2, bool),
    )
    detections = Detections(
        np.zeros(2, np.int64),
        np.array([[100.0, 40, 140, 80], [160, 10, 180, 30]]),
        np.array([2, 0]),
        np.array([0.9, 0.8]),
        np.array([0.9, 0.8]),
        None,
    )
    return truth, detections, {"a.png": tmp_path / "a.png"}


def test_pictures_show_the_photo_and_both_kinds_of_boxes(scene):
    truth, detections, files = scene
    shown = draw_gallery(Case(truth, detections), files)
    assert {kind: len(some) for kind, some in shown.items() if some} == {
        "missed": 1,
        "wrong_class": 1,
        "false_face": 1,
    }
    wrong = shown["wrong_class"][0]
    assert wrong.caption == "without_mask taken for mask_weared_incorrect 0.90, IoU 1.00"
    assert wrong.title == "a.png: 100, 40, 140, 80"
    picture = decode(wrong.src)
    assert picture.shape == (SIDE, SIDE, 3)
    # The box is 40 of 96 pixels wide, in the middle: its left edge lies at 28/96 of the picture.
    edge = round(28 / 96 * SIDE)
    corner, middle = picture[edge + 2, edge], picture[SIDE // 2, edge]
    assert np.abs(corner.astype(int) - rgb("mask_weared_incorrect")).max() < 70
    assert np.abs(middle.astype(int) - rgb("without_mask")).max() < 70  # the annotated frame
    assert picture[SIDE // 2, SIDE // 2].tolist() == pytest.approx([0, 0, 255], abs=12)


def test_outside_of_the_photo_is_grey(scene):
    truth, detections, files = scene
    shown = draw_gallery(Case(truth, detections), files)
    missed = shown["missed"][0]
    assert missed.caption == "with_mask, 20 px"
    assert decode(missed.src)[3, 3].tolist() == pytest.approx([GROUND] * 3, abs=4)


@pytest.mark.parametrize("fault", ["unknown", "broken"])
def test_photo_that_cannot_be_shown_leaves_an_empty_picture(scene, fault, tmp_path):
    truth, detections, files = scene
    if fault == "broken":
        files["a.png"].write_bytes(b"no photo")
    else:
        files = {}
    shown = draw_gallery(Case(truth, detections), files)
    assert shown["false_face"][0].src == ""
    assert shown["false_face"][0].caption == "with_mask 0.80"


def test_worst_first_and_not_too_many(scene):
    truth, _, files = scene
    count = PER_KIND + 5
    boxes = np.array([[150.0, 5 * n, 160, 5 * n + 4] for n in range(count)])
    scores = np.linspace(0.1, 0.9, count)
    many = Detections(
        np.zeros(count, np.int64), boxes, np.zeros(count, np.int64), scores, scores, None
    )
    shown = draw_gallery(Case(truth, many), files)["false_face"]
    assert len(shown) == PER_KIND
    assert shown[0].caption.endswith("0.90")


def test_boxes_far_out_of_the_photo_cost_nothing(scene):
    truth, _, files = scene
    boxes = np.array([[0.0, 0, 60_000, 60_000], [150, 50, 1e12, 1e12]])
    scores = np.array([0.9, 0.8])
    wild = Detections(np.zeros(2, np.int64), boxes, np.zeros(2, np.int64), scores, scores, None)
    shown = draw_gallery(Case(truth, wild), files)
    pictures = [one for some in shown.values() for one in some if "with_mask 0." in one.caption]
    assert len(pictures) == 2
    for one in pictures:
        assert decode(one.src).shape == (SIDE, SIDE, 3)
