"""The network: its weights, its outputs, and the slope that no weight file tells."""

import pytest
import torch
from torch.nn import functional as F

from pipeline.nets.cards import load_state
from pipeline.nets.retinaface import RetinaFace, make_anchors, widen_scores
from tests.pipeline.makers import make_net
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


def test_outputs_are_in_the_order_of_the_anchors(net):
    """A change in one corner of the photo moves the answers of the fine anchors there most."""
    photo = torch.zeros(1, 3, 128, 128)
    changed = photo.clone()
    changed[:, :, 96:120, 8:32] = 100  # lower left
    with torch.inference_mode():
        difference = (net(changed).scores - net(photo).scores).abs().sum(dim=-1)[0]
    fine = 16 * 16 * 2
    x, y = make_anchors(128, 128)[difference[:fine].argmax(), :2].tolist()
    assert 8 - 16 <= x <= 32 + 16
    assert 96 - 16 <= y <= 120 + 16


def test_batch_equals_one_by_one(net):
    photos = torch.randn(3, 3, 64, 64) * 50
    with torch.inference_mode():
        together = net(photos)
        alone = [net(photo[None]) for photo in photos]
    for index, one in enumerate(alone):
        for ours, theirs in zip(together, one, strict=True):
            torch.testing.assert_close(ours[index], theirs[0], rtol=1e-4, atol=1e-5)


def test_slope_is_not_in_the_weights_but_in_the_answers():
    leaky, plain = make_net(0.1), RetinaFace(0.0).eval()
    plain.load_state_dict(leaky.state_dict(), strict=True)
    photo = torch.randn(1, 3, 64, 64) * 50
    with torch.inference_mode():
        assert not torch.allclose(leaky(photo).scores, plain(photo).scores, atol=1e-3)


def test_slope_zero_is_relu(net):
    plain = RetinaFace(0.0)
    slopes = [m.negative_slope for m in plain.modules() if isinstance(m, torch.nn.LeakyReLU)]
    assert len(slopes) == len([m for m in net.modules() if isinstance(m, torch.nn.LeakyReLU)])
    values = torch.linspace(-3, 3, 7)
    assert all(torch.equal(F.leaky_relu(values, slope), F.relu(values)) for slope in slopes)


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
