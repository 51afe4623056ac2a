"""Where and in what precision the nets run; torch is loaded only where it is needed."""

from __future__ import annotations

import os
import random
import shutil
import sys
from contextlib import AbstractContextManager
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep.base.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn

CPU = "cpu"
DRIVERS = ("nvidiactl", "kfd", "dxg")  # Devices of NVIDIA's and AMD's, and of Windows in Linux.


class DeviceError(UserError, ValueError):
    """A device that was asked for and isn't there."""


def count_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_torch() -> bool:
    """Whether PyTorch is installed."""
    return find_spec("torch") is not None


def name_device(wanted: object) -> str:
    """`cpu` or `cuda` for `auto`, for one of them, or a torch.device; raises `DeviceError`."""
    name = getattr(wanted, "type", wanted)
    if name not in ("auto", CPU, "cuda"):  # No set: it may be what has no hash.
        raise DeviceError(f"unknown device '{name}': use auto, cpu or cuda.")
    available = name != CPU and _has_cuda()
    if name == "cuda" and not available:
        raise DeviceError("no CUDA device can be used here: use --device cpu or auto.")
    return "cuda" if available else CPU


def _has_cuda() -> bool:
    there = shutil.which("nvidia-smi") or any(Path("/dev", name).exists() for name in DRIVERS)
    if "torch" not in sys.modules and not there:
        return False  # Told without loading torch, which takes seconds.
    if has_torch():
        import torch

        return torch.cuda.is_available()
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def pick_device(name: str) -> torch.device:
    """The device of torch for `auto`, `cpu` or `cuda`; raises `DeviceError` if there is none."""
    import torch

    return torch.device(name_device(name))


def has_fast_bf16(device: torch.device | str) -> bool:
    """Whether bfloat16 is fast: on GPUs since Ampere, on CPUs with AMX.

    With AVX512-BF16 alone our nets take 1.2 to 1.7 times as long as in full precision (measured).
    """
    if name_device(device) == "cuda":
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False)
    cpu = Path("/proc/cpuinfo")
    if not cpu.is_file():
        return False
    flags = next((line for line in cpu.read_text().splitlines() if line.startswith("flags")), "")
    return "amx_bf16" in flags.split()


def autocast(device: torch.device, *, bf16: bool) -> AbstractContextManager[None]:
    """bfloat16 autocast on this device, or nothing."""
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def is_timms(module: nn.Module) -> bool:
    """Whether a module is timm's, whose nets are not traced: some can't be."""
    return type(module).__module__.startswith("timm.")


def prepare_net(net: nn.Module, device: torch.device) -> nn.Module:
    """A copy ready for use: batch norms folded into convolutions, channels last, on the device."""
    import torch
    from torch.fx.experimental.optimization import fuse

    net = net.eval().cpu()
    folded = deepcopy(net) if any(map(is_timms, net.modules())) else fuse(net)
    return folded.to(device).to(memory_format=torch.channels_last)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
