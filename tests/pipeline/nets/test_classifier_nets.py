"""The classifier's networks, names on disk, devices and precision."""

import random

import numpy as np
import pytest
import torch
from fastai.vision.learner import create_vision_model
from torchvision.models import resnet34

from data_prep.base.labels import CLASSES
from pipeline.nets.cards import ClassifierCard, DetectorCard, WeightsError
from pipeline.nets.classifiers import (
    fill_net,
    from_detector,
    from_torchvision,
    last_bias,
    make_head,
    make_mobilenet,
    to_stored,
)
from pipeline.nets.compute import (
    DeviceError,
    has_fast_bf16,
    pick_device,
    prepare_net,
    seed_everything,
)
from pipeline.nets.retinaface import RetinaFace
from tests.makers import make_pixels
from tests.pipeline.makers import CPU


@pytest.fixture(scope="module")
def fastai_net():
    torch.manual_seed(1)
    model = create_vision_model(
        resnet34, len(CLASSES), pretrained=False, custom_head=make_head(512, 0.3)
    )
    with torch.no_grad():
        model.train()(torch.randn(8, 3, 64, 64))
    return model.eval()


def test_fastai_and_torchvision_answer_the_same(fastai_net, tmp_path):
    state = to_stored(fastai_net.state_dict(), "resnet34")
    plain = fill_net(state, "resnet34", tmp_path).eval()
    photos = torch.randn(4, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(plain(photos), fastai_net(photos), rtol=0, atol=1e-5)


def test_names_go_there_and_back(fastai_net):
    state = fastai_net.state_dict()
    stored = to_stored(state, "resnet34")
    back = from_torchvision(stored)
    assert back.keys() == state.keys()
    assert all(back[name] is state[name] for name in state)
    of_imagenet = stored | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    assert len(from_torchvision(of_imagenet)) == len(state) - 2
    assert last_bias("resnet34") == "fc.bias"
    with pytest.raises(WeightsError, match=r"1\.8\.weight have no place"):
        to_stored({"1.8.weight": torch.zeros(3, 512)}, "resnet34")


def shake(net):
    """Statistics of batch norms as after training."""
    torch.manual_seed(2)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.5)
                layer.running_var.uniform_(0.5, 2)
    return net.eval()


@pytest.fixture(scope="module")
def detector():
    net = shake(RetinaFace(0.1))
    net.body.stage1[0][1].running_var.mul_(1e4)  # Of grey levels up to 255.
    return net


@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_body_of_the_detector_computes_the_same(detector, order):
    card = DetectorCard(channel_order=order, mean=(90.0, 110.0, 130.0))
    net = make_mobilenet().eval()
    net.load_state_dict(from_detector(detector.state_dict(), card), strict=False)
    pixels = make_pixels(96, 96).astype(np.float32)
    own = pixels[..., ::-1] if order == "BGR" else pixels
    feed = ClassifierCard()
    with torch.inference_mode():
        inputs = (own - np.array(card.mean, np.float32)).transpose(2, 0, 1)[None]
        expected = detector.body.stage1[0](torch.from_numpy(np.ascontiguousarray(inputs)))
        inputs = (pixels / 255 - np.array(feed.mean)) / np.array(feed.std)
        inputs = torch.tensor(inputs.transpose(2, 0, 1)[None], dtype=torch.float32)
        found = net.body.stage1[0](inputs)
    inside = (..., slice(1, -1), slice(1, -1))  # At the border the padding has another colour.
    torch.testing.assert_close(found[inside], expected[inside], rtol=1e-4, atol=1e-3)
    rest = {k: v for k, v in net.state_dict().items() if "stage1.0" not in k and "head" not in k}
    assert rest
    assert all(torch.equal(detector.state_dict()[name], tensor) for name, tensor in rest.items())


def test_detector_with_another_slope_is_refused(detector):
    with pytest.raises(WeightsError, match="slope 0"):
        from_detector(detector.state_dict(), DetectorCard(negative_slope=0.0))


def test_mobilenet_from_disk_with_folded_norms(tmp_path):
    net = shake(make_mobilenet())
    stored = to_stored(net.state_dict(), "mobilenet0.25")
    assert last_bias("mobilenet0.25") == "head.3.bias"
    plain = fill_net(stored, "mobilenet0.25", tmp_path)
    folded = prepare_net(plain, CPU)
    norms = [any(isinstance(m, torch.nn.BatchNorm2d) for m in n.modules()) for n in (plain, folded)]
    assert norms == [True, False], "what is prepared is a copy"
    photos = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(folded(photos), net(photos), rtol=1e-4, atol=1e-4)


def test_weights_of_the_other_architecture_are_refused(tmp_path):
    state = resnet34(num_classes=len(CLASSES)).state_dict()
    with pytest.raises(WeightsError, match=r"a\.safetensors: does not fit a mobilenet0\.25"):
        fill_net(state, "mobilenet0.25", tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("name", "there", "told"),
    [
        *[("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu")],
        *[("cuda", True, "cuda"), ("cuda", False, "use --device cpu or auto")],
        *[("CUDA", True, "unknown device 'CUDA'"), ("cuda:7", True, "unknown device 'cuda:7'")],
    ],
)
def test_device_by_name(monkeypatch, name, there, told):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    if " " not in told:
        assert pick_device(name).type == told
    else:
        with pytest.raises(DeviceError, match=told):
            pick_device(name)


@pytest.mark.parametrize(
    ("flags", "fast"),
    [("fpu avx2 xamx_bf16", False), ("fpu avx512_bf16", False), ("amx_bf16", True), (None, False)],
)
def test_fast_bf16_by_the_flags_of_the_processor(monkeypatch, tmp_path, flags, fast):
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n\n")
    monkeypatch.setattr("pipeline.nets.compute.Path", lambda _: tmp_path / "cpuinfo")
    assert has_fast_bf16(CPU) is fast


def test_seeding_reaches_every_source_of_chance():
    def draw():
        return random.random(), np.random.rand(), float(torch.rand(1))

    seed_everything(5)
    first = draw()
    seed_everything(5)
    assert draw() == first
    seed_everything(6)
    assert all(a != b for a, b in zip(draw(), first, strict=True))
