"""Torch itself, batch norms folded into convolutions, channels last."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from pipeline.nets.compute import autocast, prepare_net


class TorchEngine:
    """A copy of a net on a device."""

    def __init__(self, net: nn.Module, device: torch.device, bf16: bool) -> None:
        self.net, self.device, self.bf16 = prepare_net(net, device), device, bf16

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `Engine`."""
        with torch.inference_mode():
            inputs = torch.from_numpy(batch).to(self.device)
            with autocast(self.device, bf16=self.bf16):
                outputs = self.net(inputs)
            tensors = outputs if isinstance(outputs, tuple) else (outputs,)
            return tuple(tensor.float().cpu().numpy() for tensor in tensors)
