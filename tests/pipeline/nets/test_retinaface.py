"""The network, its anchors and offsets, against slow versions of the formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.nets.anchors import decode_boxes, decode_landmarks, make_anchors
from pipeline.nets.cards import load_state
from pipeline.nets.retinaface import RetinaFace, widen_scores
from tests.pipeline.makers import encode_boxes, make_net
from tests.pipeline.needs import THIRD_PARTY, needs_third_party


@pytest.fixture(scope="module")
def net():
    return make_net()


def test_number_of_weights_and_buffers(net):
    assert sum(tensor.numel() for tensor in net.state_dict().values()) == 433_343
    assert "433,343 weights and buffers" in RetinaFace.__doc__
    assert len(net.state_dict()) == 300


@needs_third_party
@pytest.mark.parametrize(
    "file", sorted(THIRD_PARTY.glob("*mobilenet0.25*.pth")), ids=lambda p: p.name
)
def test_third_party_weights_load_strictly(file):
    state = load_state(file)
    assert len(state) == 300
    RetinaFace().load_state_dict(state, strict=True)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 96), (160, 128)])
def test_one_answer_for_every_anchor(net, height, width):
    with torch.inference_mode():
        outputs = net(torch.zeros(2, 3, height, width))
    count = len(make_anchors(height, width))
    assert outputs.boxes.shape == (2, count, 4)
    assert outputs.scores.shape == (2, count, 2)
    assert outputs.landmarks.shape == (2, count, 10)


def test_slope_is_not_in_the_weights_but_in_the_answers():
    leaky, plain = make_net(0.1), RetinaFace(0.0).eval()
    plain.load_state_dict(leaky.state_dict(), strict=True)
    photo = torch.randn(1, 3, 64, 64) * 50
    with torch.inference_mode():
        assert not torch.allclose(leaky(photo).scores, plain(photo).scores, atol=1e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_widened_scores_find_the_same_faces(classes):
    plain, wide = make_net(), RetinaFace(classes=classes).eval()
    wide.load_state_dict(widen_scores(plain.state_dict(), classes))
    photos = torch.randn(2, 3, 64, 96) * 60
    with torch.inference_mode():
        before, after = plain(photos), wide(photos)
    assert after.scores.shape[-1] == 1 + classes
    faces = after.scores.softmax(dim=-1)[..., 1:]
    torch.testing.assert_close(faces.sum(dim=-1), before.scores.softmax(dim=-1)[..., 1])
    torch.testing.assert_close(faces, faces[..., :1].expand_as(faces))
    assert torch.equal(after.boxes, before.boxes)


def make_anchors_slowly(height, width):
    anchors = []
    for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for row in range(math.ceil(height / stride)):
            for column in range(math.ceil(width / stride)):
                for side in sides:
                    centre = ((column + 0.5) * stride, (row + 0.5) * stride)
                    anchors.append([*centre, side, side])
    return anchors


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (96, 64), (40, 72), (1, 1)])
def test_anchors_are_those_of_the_nested_loops(height, width):
    anchors = make_anchors(height, width)
    assert anchors.dtype == "float32"
    assert anchors.tolist() == make_anchors_slowly(height, width)


def test_gradients_go_through_decoding():
    offsets = torch.zeros(42, 4, requires_grad=True)
    decode_boxes(offsets, torch.from_numpy(make_anchors(32, 32)), torch).sum().backward()
    assert offsets.grad is not None


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
    offsets = encode_boxes(boxes, anchors)
    decoded = decode_boxes(offsets, anchors, torch)
    own = torch.from_numpy(decode_boxes(offsets.numpy(), anchors.numpy()))
    torch.testing.assert_close(own, decoded, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(decoded, boxes, rtol=1e-4, atol=0.02)


def test_landmarks_by_hand():
    anchors = torch.tensor([[100.0, 50.0, 16.0, 32.0]])
    offsets = torch.arange(10.0)[None]
    points = decode_landmarks(offsets, anchors)
    assert points.shape == (1, 5, 2)
    slow = [[100 + 0.1 * 16 * (2 * i), 50 + 0.1 * 32 * (2 * i + 1)] for i in range(5)]
    torch.testing.assert_close(points[0], torch.tensor(slow))
