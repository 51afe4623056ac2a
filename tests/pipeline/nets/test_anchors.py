"""Anchors and offsets against slow versions written from the paper's formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.nets.retinaface import decode_boxes, decode_landmarks, make_anchors
from tests.pipeline.makers import encode_boxes


def make_anchors_slowly(height, width):
    anchors = []
    for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for row in range(math.ceil(height / stride)):
            for column in range(math.ceil(width / stride)):
                for side in sides:
                    centre = ((column + 0.5) * stride, (row + 0.5) * stride)
                    anchors.append([*centre, side, side])
    return torch.tensor(anchors, dtype=torch.float32)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (96, 64), (40, 72), (1, 1)])
def test_anchors_are_those_of_the_nested_loops(height, width):
    assert torch.equal(make_anchors(height, width), make_anchors_slowly(height, width))


@pytest.mark.parametrize(
    ("height", "width", "count"),
    [(640, 640, 16800), (320, 640, 8400), (32, 32, 42), (840, 840, 29126)],
)
def test_anchor_count_of_known_sizes(height, width, count):
    assert make_anchors(height, width).shape == (count, 4)


def test_anchors_of_one_size_are_made_once():
    assert make_anchors(64, 64) is make_anchors(64, 64)


def test_anchors_made_while_detecting_serve_training():
    make_anchors.cache_clear()
    with torch.inference_mode():
        make_anchors(32, 32)
    offsets = torch.zeros(42, 4, requires_grad=True)
    decode_boxes(offsets, make_anchors(32, 32)).sum().backward()
    assert offsets.grad is not None


def test_other_sizes_and_strides():
    anchors = make_anchors(8, 16, sizes=((4,),), strides=(8,))
    assert anchors.tolist() == [[4, 4, 4, 4], [12, 4, 4, 4]]


def test_levels_need_sizes_each():
    with pytest.raises(ValueError, match="zip"):
        make_anchors(8, 8, sizes=((4,),), strides=(8, 16))


@st.composite
def boxes_with_anchors(draw):
    count = draw(st.integers(1, 5))
    places = st.floats(-200, 800, width=32)
    sides = st.floats(1, 600, width=32)
    boxes, anchors = [], []
    for _ in range(count):
        x, y = draw(places), draw(places)
        boxes.append([x, y, x + draw(sides), y + draw(sides)])
        anchors.append([draw(places), draw(places), draw(sides), draw(sides)])
    return torch.tensor(boxes), torch.tensor(anchors)


@settings(max_examples=100, deadline=None)
@given(boxes_with_anchors())
def test_decoding_undoes_encoding(case):
    boxes, anchors = case
    decoded = decode_boxes(encode_boxes(boxes, anchors), anchors)
    torch.testing.assert_close(decoded, boxes, rtol=1e-4, atol=0.02)


def test_decoded_box_by_hand():
    anchors = torch.tensor([[100.0, 50.0, 16.0, 32.0]])
    offsets = torch.tensor([[1.0, -2.0, math.log(2) / 0.2, 0.0]])
    # Centre 100 + 1 × 0.1 × 16, 50 − 2 × 0.1 × 32; twice as wide, as high as the anchor.
    expected = [[101.6 - 16, 43.6 - 16, 101.6 + 16, 43.6 + 16]]
    torch.testing.assert_close(decode_boxes(offsets, anchors), torch.tensor(expected))


def test_zero_offsets_are_the_anchor():
    anchors = make_anchors(64, 64)
    boxes = decode_boxes(torch.zeros(2, len(anchors), 4), anchors)
    assert boxes.shape == (2, len(anchors), 4)
    assert torch.equal((boxes[0, :, :2] + boxes[0, :, 2:]) / 2, anchors[:, :2])
    assert torch.equal(boxes[1, :, 2:] - boxes[1, :, :2], anchors[:, 2:])


def test_landmarks_by_hand():
    anchors = torch.tensor([[100.0, 50.0, 16.0, 32.0]])
    offsets = torch.arange(10.0)[None]
    points = decode_landmarks(offsets, anchors)
    assert points.shape == (1, 5, 2)
    slow = [[100 + 0.1 * 16 * (2 * i), 50 + 0.1 * 32 * (2 * i + 1)] for i in range(5)]
    torch.testing.assert_close(points[0], torch.tensor(slow))
