"""Votes, scales, and other detectors."""

import cv2
import numpy as np
import pytest
import torch
from torchvision.ops import nms

from pipeline.inference.boxes import (
    HUGE,
    NMS_IOU,
    TINY,
    FaceBoxes,
    drop_containers,
    suppress,
)
from pipeline.nets.cards import WeightsError
from tests.benchmarks.yunet import YuNetDetector
from tests.demo import read_portrait
from tests.makers import make_pixels
from tests.pipeline.makers import faces_of
from tests.pipeline.needs import THIRD_PARTY, needs_third_party

LOOKS = pytest.mark.parametrize("look", [TINY, HUGE])
"""All at an enlargement of 2."""


def inside(*ends):
    """The middle of sides that are asked for, or of two that overlap, as pixels of the photo."""
    low, high = max(low for low, _ in ends), min(high for _, high in ends)
    return (low + min(high, low + 20)) / 4


@LOOKS
@pytest.mark.parametrize(
    ("others", "score", "asked"),
    [(0, 0.9, True), (0, 0.31, True), (0, 0.29, False), (4, 0.9, True)],
)
def test_one_sure_face_of_a_size_is_enough(look, others, score, asked):
    side, middle = inside(look.asks), 50
    found = faces_of([middle] * others + [side], [0.9] * others + [score])
    assert look.is_asked(found, 2.0) is asked
    assert not look.is_asked(faces_of([middle] * 4, [0.9] * 4), 2.0)
    assert not look.is_asked(faces_of([], []), 2.0)


@pytest.mark.parametrize("seed", range(8))
def test_suppression_keeps_what_torchvision_keeps(seed):
    """Boxes on a grid: many touch, are the same, share 2 of 5 parts exactly, or score the same."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 12, (300, 2))
    boxes = np.hstack([corners, corners + rng.integers(0, 6, (300, 2))]).astype(np.float32)
    boxes[:100] += rng.random((100, 4), np.float32)
    scores = rng.integers(0, 20, 300).astype(np.float32) / 20
    keep = suppress(boxes, scores)
    expected = nms(torch.from_numpy(boxes), torch.from_numpy(scores), NMS_IOU)
    assert keep.tolist() == expected.tolist()
    assert suppress(boxes, scores, most=9).tolist() == keep[:9].tolist()
    assert suppress(boxes[:0], scores[:0]).tolist() == []


def at(x, side, score):
    """One square face at this place."""
    box = np.array([[x, 0, x + side, side]], np.float32)
    return FaceBoxes(box, np.array([score], np.float32), np.full((1, 5, 2), x, np.float32))


@LOOKS
def test_each_size_is_taken_from_the_look_that_sees_it_best(look):
    """One size from the second look, another from the first, the middle from both."""
    seconds, middle, firsts = inside(look.asks), inside(look.first, look.second), 50
    found = at(0, seconds, 0.9).join(at(1000, middle, 0.8)).join(at(2000, firsts, 0.7))
    again = at(3000, seconds, 0.6).join(at(4000, middle, 0.5)).join(at(5000, firsts, 0.95))
    merged = look.merge(found, again, 2.0)
    assert merged.boxes[:, 0].tolist() == [1000, 2000, 3000, 4000]
    assert merged.scores.tolist() == pytest.approx([0.8, 0.7, 0.6, 0.5])
    assert merged.landmarks[:, 0, 0].tolist() == [1000, 2000, 3000, 4000]


@LOOKS
def test_a_face_of_both_looks_is_kept_once_with_its_surer_box(look):
    side = inside(look.first, look.second)
    merged = look.merge(at(100, side, 0.6), at(101, side, 0.8), 2.0)
    assert merged.boxes[:, 0].tolist() == [101]
    assert merged.scores.tolist() == pytest.approx([0.8])


@pytest.mark.parametrize(
    ("box", "score", "kept"),
    [
        ((0, 0, 100, 100), 0.93, False),  # all of the face, and larger
        ((0, 0, 100, 100), 0.96, True),  # but surer than it
        ((0, 0, 100, 100), 0.95, True),  # as sure
        ((16, 0, 100, 100), 0.93, False),  # 70 % of the face
        ((22, 0, 100, 100), 0.93, True),  # 40 % of it
        ((0, 0, 39, 40), 0.93, True),  # all of it, but not much larger
    ],
)
def test_box_that_holds_a_surer_face_is_none(box, score, kept):
    boxes = np.array([(10, 10, 30, 30), box, (200, 0, 300, 100)], np.float32)
    scores = np.array([0.95, score, 0.5], np.float32)
    found = drop_containers(FaceBoxes(boxes, scores, np.zeros((3, 5, 2), np.float32)))
    assert found.boxes.tolist() == boxes[[True, kept, True]].tolist()


MODEL = THIRD_PARTY / "face_detection_yunet_2023mar.onnx"


def test_what_is_no_yunet(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(WeightsError, match="not a YuNet model"):
        YuNetDetector(tmp_path / "broken.onnx")


@needs_third_party
def test_yunet_finds_what_opencv_finds():
    photo = read_portrait()
    detector = YuNetDetector(MODEL)
    (found,) = detector.detect([photo], resize=1.0, min_score=0.5)
    plain = cv2.FaceDetectorYN.create(str(MODEL), "", photo.shape[1::-1], 0.5, 0.4, 5000)
    rows = plain.detect(photo[:, :, ::-1])[1]
    assert len(found.boxes) == len(rows) == 1
    x, y, width, height = rows[0, :4]
    np.testing.assert_allclose(found.boxes[0], [x, y, x + width, y + height], atol=0.5)
    np.testing.assert_allclose(found.landmarks[0].ravel(), rows[0, 4:14], atol=0.5)
    assert found.scores[0] == pytest.approx(rows[0, 14], abs=1e-4)
    left, right = found.landmarks[0, :2]
    assert left[0] < right[0], "left as seen in the photo, as RetinaFace has it"
    (enlarged,) = detector.detect([photo], resize=1.5, min_score=0.5)
    np.testing.assert_allclose(found.boxes, enlarged.boxes, atol=8)
    assert detector.detect([make_pixels(40, 40)], min_score=0.5)[0].boxes.shape == (0, 4)
