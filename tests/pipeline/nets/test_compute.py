"""Devices, precision and folding."""

import random

import numpy as np
import pytest
import torch

from pipeline.nets.compute import (
    DeviceError,
    autocast,
    has_fast_bf16,
    pick_device,
    prepare_net,
    seed_everything,
)
from tests.pipeline.makers import CPU


@pytest.mark.parametrize(
    ("name", "there", "device"),
    [("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_device_by_name(monkeypatch, name, there, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert pick_device(name).type == device


def test_cuda_without_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="use --device cpu or auto"):
        pick_device("cuda")


@pytest.mark.parametrize("name", ["gpu", "", "CUDA", "cuda:7"])
def test_unknown_device(name):
    with pytest.raises(DeviceError, match=f"unknown device '{name}': use auto, cpu or cuda"):
        pick_device(name)


@pytest.mark.parametrize(
    ("flags", "fast"),
    [
        ("fpu avx2", False),
        ("fpu avx512_bf16", True),
        ("amx_tile amx_bf16", True),
        ("xamx_bf16", False),
    ],
)
def test_fast_bf16_by_the_flags_of_the_processor(monkeypatch, tmp_path, flags, fast):
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n\n")
    monkeypatch.setattr("pipeline.nets.compute.Path", lambda _: tmp_path / "cpuinfo")
    assert has_fast_bf16(CPU) is fast


def test_no_cpuinfo_no_bf16(monkeypatch, tmp_path):
    monkeypatch.setattr("pipeline.nets.compute.Path", lambda _: tmp_path / "none")
    assert has_fast_bf16(CPU) is False


@pytest.mark.parametrize("bf16", [True, False])
def test_autocast(bf16):
    a = torch.ones(4, 4)
    with autocast(CPU, bf16=bf16):
        assert (a @ a).dtype == (torch.bfloat16 if bf16 else torch.float32)


def test_prepared_net_is_a_copy_that_answers_the_same():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
    with torch.no_grad():
        net.train()(torch.randn(4, 3, 16, 16) * 3 + 1)
    prepared = prepare_net(net, CPU)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in prepared.modules())
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())
    photos = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(prepared(photos), net.eval()(photos), rtol=1e-4, atol=1e-5)


def test_seeding_reaches_every_source_of_chance():
    def draw():
        return random.random(), np.random.rand(), float(torch.rand(1))

    seed_everything(5)
    first = draw()
    seed_everything(5)
    assert draw() == first
    seed_everything(6)
    assert all(a != b for a, b in zip(draw(), first, strict=True))
