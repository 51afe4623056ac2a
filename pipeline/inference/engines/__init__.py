"""What runs a net: a batch of arrays in, arrays out.

Another engine is a file beside `torch_engine.py` and a line in `ENGINES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import nn

from data_prep.base.errors import UserError
from pipeline.inference.engines.torch_engine import TorchEngine


class EngineError(UserError, ValueError):
    """An engine that isn't there, or that answers with what is no number."""


class Engine(Protocol):
    """A net that is ready for use; may be called from several threads at once."""

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """The net's outputs, float32, for batch × 3 × height × width, float32, as it is fed.

        Strides may be those of channels last. Outputs are those of the net as it is: of the
        detector see `RetinaFace`, of the classifier logits (batch × classes) and features.
        """


ENGINES: dict[str, Callable[[nn.Module, torch.device, bool], Engine]] = {"torch": TorchEngine}
"""By name: makes an engine of a net, for a device, in bfloat16 or not."""

AUTO = "auto"


def make_engine(name: str, net: nn.Module, device: torch.device, *, bf16: bool) -> Engine:
    """The engine of that name, or the best one here for `auto`.

    Raises:
        EngineError: There is none of that name.
    """
    if name != AUTO and name not in ENGINES:
        known = ", ".join([AUTO, *ENGINES])
        raise EngineError(f"unknown engine '{name}': this version has {known}.")
    return ENGINES["torch" if name == AUTO else name](net, device, bf16)


def run_engine(engine: Engine, batch: np.ndarray) -> tuple[torch.Tensor, ...]:
    """The outputs for a batch as tensors.

    Raises:
        EngineError: They are not finite: the weights are broken.
    """
    outputs = engine(batch)
    if not all(np.isfinite(output).all() for output in outputs):
        raise EngineError("the net answers with what is no number: its weights are broken.")
    return tuple(map(torch.from_numpy, outputs))
