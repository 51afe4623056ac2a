"""Where and in what precision the nets run."""

import random
from contextlib import AbstractContextManager
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from data_prep.base.errors import UserError


class DeviceError(UserError, ValueError):
    """A device that was asked for and isn't there."""


def pick_device(name: str) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`; raises `DeviceError` where there is none."""
    if name not in {"auto", "cpu", "cuda"}:
        raise DeviceError(f"unknown device '{name}': use auto, cpu or cuda.")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise DeviceError("no CUDA device can be used here: use --device cpu or auto.")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is native: on GPUs since Ampere, on CPUs with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    cpu = Path("/proc/cpuinfo")
    if not cpu.is_file():
        return False
    flags = next((line for line in cpu.read_text().splitlines() if line.startswith("flags")), "")
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags.split())


def autocast(device: torch.device, *, bf16: bool) -> AbstractContextManager[None]:
    """bfloat16 autocast on this device, or nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def is_timms(module: nn.Module) -> bool:
    """Whether a module is timm's, whose nets are not traced: some can't be."""
    return type(module).__module__.startswith("timm.")


def prepare_net(net: nn.Module, device: torch.device) -> nn.Module:
    """A copy ready for use: batch norms folded into convolutions, channels last, on the device."""
    net = net.eval().cpu()
    folded = deepcopy(net) if any(map(is_timms, net.modules())) else fuse(net)
    return folded.to(device).to(memory_format=torch.channels_last)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
