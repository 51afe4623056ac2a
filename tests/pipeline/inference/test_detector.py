"""The detector in use, against a slow one that decodes and suppresses box by box."""

import math
import time

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from pipeline.inference.boxes import (
    HUGE,
    MAX_FACES,
    NMS_IOU,
    TINY,
    VOTE_IOU,
    VOTE_SCORE,
)
from pipeline.inference.detector import (
    AUTO_LARGEST_FACTOR,
    Detector,
    choose_factor,
)
from pipeline.inference.engines import EngineError
from pipeline.nets.anchors import make_anchors
from pipeline.nets.cards import DetectorCard, WeightsError, load_state, save_weights
from pipeline.nets.retinaface import HeadOutputs, RetinaFace
from pipeline.training.detector import normalise
from tests.makers import make_pixels
from tests.pipeline.makers import CPU, encode_boxes, faces_of, make_net
from tests.pipeline.needs import THIRD_PARTY, needs_third_party


@pytest.fixture(scope="module")
def detector():
    return Detector(make_net(), DetectorCard(), device=CPU)


class MadeEngine:
    """Answers with the faces, box and score, that `find` tells of a batch, in pixels of it."""

    def __init__(self, find):
        self.find, self.seen = find, []

    def __call__(self, batch):
        self.seen.append(batch)
        anchors = torch.from_numpy(make_anchors(*batch.shape[2:]))
        count = len(anchors)
        outputs = HeadOutputs(
            torch.zeros(1, count, 4),
            torch.tensor([8.0, -8.0]).expand(1, count, 2).clone(),
            torch.zeros(1, count, 10),
        )
        for place, (box, score) in enumerate(self.find(batch)):
            index = 2 * place  # faces may be anywhere; which anchor tells of them does not matter
            outputs.boxes[0, index] = encode_boxes(
                torch.tensor(np.array([box], np.float32)), anchors[index : index + 1]
            )
            outputs.scores[0, index] = torch.tensor([0.0, math.log(score / (1 - score))])
        return tuple(output.expand(len(batch), -1, -1).numpy() for output in outputs)


def with_engine(find, card=None):
    detector = Detector(nn.Identity(), card or DetectorCard(), device=CPU)
    detector.engine = MadeEngine(find)
    return detector


def with_faces(height, width, faces, card=None):
    """A detector that answers so for inputs of this size, and is given no others."""

    def find(batch):
        assert batch.shape[2:] == (height, width)
        return faces

    return with_engine(find, card)


def overlap(a, b):
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    common = max(wide, 0) * max(high, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def detect_slowly(net, photo, min_score):
    """One photo at its own size, which must be a multiple of 32: (box, score), best first."""
    pixels = photo[:, :, ::-1].astype(np.float32) - (104, 117, 123)
    inputs = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        offsets, logits, _ = net(inputs)
    found = []
    anchors = make_anchors(*photo.shape[:2]).tolist()
    for (x, y, w, h), (dx, dy, dw, dh), (no, yes) in zip(
        anchors, offsets[0].tolist(), logits[0].tolist(), strict=True
    ):
        score = 1 / (1 + math.exp(no - yes))
        if score >= VOTE_SCORE:
            cx, cy = x + 0.1 * dx * w, y + 0.1 * dy * h
            half_w, half_h = w * math.exp(0.2 * dw) / 2, h * math.exp(0.2 * dh) / 2
            found.append((score, (cx - half_w, cy - half_h, cx + half_w, cy + half_h)))
    found.sort(reverse=True)
    kept = []
    for score, box in found:
        if score >= min_score and all(overlap(box, other) <= NMS_IOU for _, other in kept):
            kept.append((score, box))
    kept = [(score, vote(box, found)) for score, box in kept]
    height, width = photo.shape[:2]
    clipped = [
        ([min(max(v, 0), limit) for v, limit in zip(box, (width, height) * 2, strict=True)], score)
        for score, box in kept
    ]
    return [
        (box, score)
        for box, score in clipped
        if not any(other > score and holds(box, inner) for inner, other in clipped)
    ]


def holds(box, inner):
    """Most of a face that is much smaller."""
    wide = min(box[2], inner[2]) - max(box[0], inner[0])
    high = min(box[3], inner[3]) - max(box[1], inner[1])
    area = (inner[2] - inner[0]) * (inner[3] - inner[1])
    large = (box[2] - box[0]) * (box[3] - box[1]) >= 4 * area
    return large and wide > 0 and high > 0 and wide * high >= 0.6 * area


def vote(box, found):
    near = [(score, other) for score, other in found if overlap(box, other) >= VOTE_IOU]
    total = sum(score for score, _ in near)
    return [sum(score * other[i] for score, other in near) / total for i in range(4)]


def test_same_faces_as_the_slow_detector(detector):
    photo = make_pixels(96, 64, seed=3)
    slow = detect_slowly(make_net(), photo, 0.6)
    found = detector.detect([photo], resize=1, min_score=0.6)[0]
    assert len(slow) > 5
    np.testing.assert_allclose(found.scores, [score for _, score in slow], atol=1e-3)
    np.testing.assert_allclose(found.boxes, [box for box, _ in slow], atol=0.05)


def test_several_photos_at_once_give_what_each_gives_alone(detector):
    sizes = [(96, 64), (64, 96), (96, 64), (90, 60), (40, 40)]
    photos = [make_pixels(*size, seed=seed) for seed, size in enumerate(sizes)]
    together = detector.detect(photos, resize=1, min_score=0.5)
    for photo, found in zip(photos, together, strict=True):
        alone = detector.detect([photo], resize=1, min_score=0.5)[0]
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=0.02)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-4)
        np.testing.assert_allclose(found.landmarks, alone.landmarks, atol=0.05)
    assert sum(len(found.scores) for found in together) > 10


@pytest.mark.parametrize("resize", [1.0, 2.0, 0.5])
def test_boxes_come_back_in_pixels_of_the_photo(resize):
    width, height = 80, 60
    true = np.array([[10, 20, 34, 50], [40, 10, 72, 40]])
    padded = [-(-round(side * resize) // 32) * 32 for side in (height, width)]
    scores = [0.9, 0.7]
    detector = with_faces(*padded, list(zip((true * resize).tolist(), scores, strict=True)))
    (found,) = detector.detect([make_pixels(width, height)], resize=resize)
    np.testing.assert_allclose(found.boxes, true, atol=0.01)
    np.testing.assert_allclose(found.scores, scores, atol=1e-5)
    assert found.boxes.dtype == found.scores.dtype == np.float32


def test_sides_that_do_not_scale_evenly_have_a_ratio_each():
    # 7 × 3 pixels at 1.5 are 10 × 4 (half to even): the ratio is 0.7 across and 0.75 down.
    (found,) = with_faces(32, 32, [((0, 0, 10, 4), 0.9)]).detect([make_pixels(7, 3)], resize=1.5)
    np.testing.assert_allclose(found.boxes, [[0, 0, 7, 3]], atol=1e-5)
    # Offsets of 0 are the centre of the anchor: (4, 4) in the input.
    np.testing.assert_allclose(found.landmarks, np.tile([2.8, 3.0], (1, 5, 1)), atol=1e-5)


def test_boxes_are_clipped_to_the_photo_and_faces_in_the_padding_are_none():
    """The input is 64 × 96; the photo ends at 60 × 80, and less than a pixel of three is in it."""
    in_padding = [((80.5, 5, 95, 30), 0.9), ((5, 59.5, 40, 63.9), 0.8), ((-30, 5, 0.5, 40), 0.7)]
    over_border = [((-10, -5, 50, 30), 0.6), ((60, 40, 95, 64), 0.5)]
    (found,) = with_faces(64, 96, in_padding + over_border).detect([make_pixels(80, 60)], resize=1)
    np.testing.assert_allclose(found.boxes, [[0, 0, 50, 30], [60, 40, 80, 60]], atol=0.01)


def test_photos_of_one_padded_size_are_one_batch_on_a_gpu_padded_in_grey():
    detector = with_faces(32, 64, [], DetectorCard(mean=(0, 0, 0)))
    photos = [np.full((20, 40, 3), 200, np.uint8), make_pixels(64, 32)]
    detector.detect(photos, resize=1)
    assert [len(inputs) for inputs in detector.engine.seen] == [1, 1]
    detector.device, detector.engine.seen = "cuda", []
    detector.detect(photos, resize=1)
    (inputs,) = detector.engine.seen
    assert len(inputs) == 2
    assert np.unique(inputs[0, :, :20, :40]).tolist() == [200]
    assert np.unique(inputs[0, :, 20:]).tolist() == [114]
    assert np.unique(inputs[0, :, :, 40:]).tolist() == [114]


@pytest.mark.parametrize(("order", "expected"), [("BGR", [5, 18, 27]), ("RGB", [29, 18, 3])])
def test_channel_order_and_mean_are_those_of_the_card(order, expected):
    card = DetectorCard(channel_order=order, mean=(1.0, 2.0, 3.0))
    detector = with_faces(32, 32, [], card)
    detector.run_net(np.full((1, 32, 32, 3), (30, 20, 6), np.uint8))  # red, green, blue
    assert detector.engine.seen[0][0, :, 0, 0].tolist() == expected
    photo = torch.tensor([30, 20, 6], dtype=torch.uint8)[None, :, None, None]
    assert normalise(photo, card).flatten().tolist() == expected, "as in training"


AS_IT_IS = DetectorCard(mean=(0, 0, 0), channel_order="RGB")  # A batch has the photo's own levels.


def show(*sides):
    """Square photos of these sides, each told from the others by the level of its pixels."""
    return [np.full((side, side, 3), level, np.uint8) for level, side in enumerate(sides)]


class Noting:
    """Answers as `look` says, and notes the photos' sides and what they were scaled to."""

    def __init__(self, *sides):
        self.sides, self.asked = sides, []

    def __call__(self, batch):
        top = batch[0, 0, 0]
        side, scaled = self.sides[int(top[0])], int((top == top[0]).sum())
        self.asked.append((side, scaled))
        faces = look(side, scaled / side)
        return list(zip(faces.boxes * scaled / side, faces.scores.tolist(), strict=True))


def look(width, factor):
    """Photos of an odd width have tiny faces, 202 pixels a huge one; looked at again, one more."""
    base = choose_factor(width, width, None)
    if width % 2 == 0:
        side = HUGE.asks[0] + 1 if width == 202 else 50
        return faces_of([side / base, *[50 / base] * 3], [0.9, 0.8, 0.4, 0.1])
    more = [0.2] if factor > base else []
    tiny = TINY.asks[1] / base - 1
    return faces_of([tiny] * (4 + len(more)), [0.9, 0.8, 0.4, *more, 0.1])


def test_photos_with_tiny_or_huge_faces_are_looked_at_again():
    sides = (200, 301, 202, 400)
    photos, find = show(*sides), Noting(*sides)
    detector = with_engine(find, AS_IT_IS)
    found = detector.detect(photos, min_score=0.15)
    base = [choose_factor(width, width, None) for width in sides]
    assert find.asked == [
        *((side, round(side * factor)) for side, factor in zip(sides, base, strict=True)),
        (301, round(301 * base[1] * TINY.scale)),
        (202, round(202 * base[2] * HUGE.scale)),
    ]
    assert [len(faces.scores) for faces in found] == [3, 4, 3, 3]
    find.asked.clear()
    detector.detect(photos[1:2], resize=2.5)
    assert find.asked == [(301, round(301 * 2.5))], "a given factor is used for tiny faces, too"


def test_second_look_at_a_shrunk_photo_takes_what_is_shrunk():
    """A photo of 2000 pixels is not shrunk twice; one enlarged is looked at in all its pixels."""
    large, small = make_pixels(2000, 500), make_pixels(200, 150)
    side = HUGE.asks[0] + 1
    detector = with_engine(lambda _: [((0, 0, side, side), 0.9)], AS_IT_IS)
    detector.detect([large, small])
    shrunk = cv2.resize(large, (1664, 416), interpolation=cv2.INTER_AREA)
    for batch, expected in zip(
        detector.engine.seen,
        [
            shrunk,
            cv2.resize(small, (600, 450), interpolation=cv2.INTER_LINEAR),
            cv2.resize(shrunk, (832, 208), interpolation=cv2.INTER_AREA),
            cv2.resize(small, (300, 225), interpolation=cv2.INTER_LINEAR),
        ],
        strict=True,
    ):
        seen = batch[0].transpose(1, 2, 0)[: expected.shape[0], : expected.shape[1]]
        assert np.array_equal(seen, expected)


@pytest.mark.parametrize("least", [0.05, 0.15, 0.5, 0.95])
def test_whether_to_look_closely_does_not_depend_on_the_least_score(least):
    """Else a higher threshold would not give a part of the faces of a lower one."""
    find = Noting(301)
    (found,) = with_engine(find, AS_IT_IS).detect(show(301), min_score=least)
    assert len(find.asked) == 2
    assert found.scores.tolist() == pytest.approx(
        [score for score in (0.9, 0.8, 0.4, 0.2, 0.1) if score >= least]
    )


@pytest.mark.parametrize("resize", [None, 1.5])
def test_higher_threshold_gives_a_part_of_the_faces(detector, resize):
    photo = make_pixels(64, 48, seed=3)
    low, high = (detector.detect([photo], resize=resize, min_score=s)[0] for s in (0.1, 0.7))
    count = int((low.scores >= 0.7).sum())
    assert len(high.scores) == count
    np.testing.assert_allclose(high.boxes, low.boxes[:count], atol=0.02)


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize(
    ("longest", "expected"),
    [(1, AUTO_LARGEST_FACTOR), (416, 2.0), (832, 1.0), (1664, 1.0), (3328, 0.5)],
)
def test_factor_by_the_longer_side(longest, expected, turn):
    size = (longest / 2, longest) if turn else (longest, longest / 2)
    assert choose_factor(*size, None) == pytest.approx(expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (33, 31), (70, 50)])
@pytest.mark.parametrize("resize", [None, 0.01])
def test_boxes_lie_in_photos_of_odd_sizes_best_first(detector, size, resize):
    (found,) = detector.detect([make_pixels(*size)], resize=resize, min_score=0.1)
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 2:] <= size).all()
    assert (found.boxes[:, 2:] - found.boxes[:, :2] >= 1).all()
    assert (np.diff(found.scores) <= 0).all()
    assert len(found.scores) <= MAX_FACES


def test_bf16_is_close():
    photo, net = make_pixels(96, 64, seed=3), make_net()
    exact = Detector(net, DetectorCard(), device=CPU)
    half = Detector(net, DetectorCard(), device=CPU, bf16=True)
    pixels = photo[None]
    for ours, theirs in zip(half.run_net(pixels), exact.run_net(pixels), strict=True):
        assert ours.dtype == np.float32
        assert np.abs(ours - theirs).mean() < 0.1


def test_loading_takes_the_slope_of_the_card(tmp_path):
    """Both slopes load from one file without complaint; the card decides."""
    path = tmp_path / "detector.safetensors"
    pixels = make_pixels(96, 64, seed=3)[None]
    for slope in (0.1, 0.0):
        net = make_net(slope)
        save_weights(path, net.state_dict(), DetectorCard(negative_slope=slope))
        expected = Detector(net, DetectorCard(), device=CPU).run_net(pixels)[1]
        answer = Detector.load(path, device=CPU).run_net(pixels)[1]
        np.testing.assert_allclose(answer, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("state", "card", "message"),
    [
        ({"conv.weight": torch.zeros(3)}, {}, r"detector\.safetensors: does not fit retinaface"),
        (None, {"variances": (0.2, 0.2)}, "variances"),
    ],
)
def test_other_weights_are_refused(tmp_path, state, card, message):
    path = tmp_path / "detector.safetensors"
    save_weights(path, state or make_net().state_dict(), DetectorCard(**card))
    with pytest.raises(WeightsError, match=message):
        Detector.load(path, device=CPU)


@needs_third_party
def test_trained_net_finds_no_face_in_grey_or_its_padding():
    net = RetinaFace()
    net.load_state_dict(load_state(THIRD_PARTY / "retinaface-mobilenet0.25-sglee487.pth"))
    photos = [np.full((*size, 3), 114, np.uint8) for size in ((70, 50), (400, 300), (33, 333))]
    found = Detector(net, DetectorCard(), device=CPU).detect(photos, resize=2, min_score=0.3)
    assert [len(faces.scores) for faces in found] == [0, 0, 0]


def test_file_of_a_net_that_answers_no_numbers_is_named(tmp_path):
    state = make_net().state_dict()
    state |= {name: -torch.ones_like(t) for name, t in state.items() if "running_var" in name}
    save_weights(tmp_path / "detector.safetensors", state, DetectorCard())
    detector = Detector.load(tmp_path / "detector.safetensors", device=CPU, engine="torch")
    with pytest.raises(EngineError, match=r"detector\.safetensors: the net answers with what is"):
        detector.detect([np.zeros((64, 64, 3), np.uint8)])


def test_net_whose_boxes_overflow_is_refused():
    """Outputs are finite, but not the boxes that they stand for: no face would be told."""
    detector = Detector(make_net(), DetectorCard(), device=CPU)
    detector.engine = MadeEngine(lambda _: [([10, 10, 50, 50], 0.9)])
    photo = np.zeros((64, 64, 3), np.uint8)
    assert len(detector.detect([photo], resize=1)[0].scores) == 1
    find = detector.engine

    def overflow(batch):
        boxes, *others = find(batch)
        return boxes + np.float32(1e4), *others

    detector.engine = overflow
    with np.errstate(over="ignore"), pytest.raises(EngineError, match="what is no number"):
        detector.detect([photo], resize=1)


def test_net_that_takes_every_place_for_a_face_ends_soon():
    """As one whose weights are all zero: thousands of boxes score the same."""
    detector = Detector(make_net(), DetectorCard(), device=CPU)

    def all_alike(batch):
        count = len(make_anchors(*batch.shape[2:]))
        return tuple(np.zeros((len(batch), count, n), np.float32) for n in (4, 2, 10))

    detector.engine, began = all_alike, time.process_time()
    (faces,) = detector.detect([np.zeros((640, 832, 3), np.uint8)], resize=1)
    assert len(faces.scores) == MAX_FACES
    assert time.process_time() - began < 20  # It took 100.
