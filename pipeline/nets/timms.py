"""Bodies of timm: nets made by their names, how they are fed, weights from elsewhere."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from data_prep.base.errors import suggest
from pipeline.nets.options import TIMM, WeightsError


class Feed(nn.Module):
    """Photos standardised by one mean and std, `fed`, brought to those that a body was trained on.

    Mean and std have 3 channels each, as shares of white.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, fed: tuple[Sequence[float], ...], wanted: tuple[Sequence[float], ...]):
        super().__init__()
        given = [torch.tensor(values)[:, None, None] for values in (*fed, *wanted)]
        self.register_buffer("scale", given[1] / given[3])
        self.register_buffer("shift", (given[0] - given[2]) / given[3])

    def forward(self, batch: Tensor) -> Tensor:
        """A batch of the same shape."""
        return batch * self.scale + self.shift


def create_timm(name: str, **how: Any) -> tuple[Any, Sequence[float], Sequence[float]]:
    """A net of timm, and the mean and std that it is fed with; raises `WeightsError`."""
    try:
        import timm
    except ImportError as error:
        raise WeightsError(
            f"{TIMM}{name} needs timm: pip install timm (or trimask with its extra 'timm')."
        ) from error
    if not timm.is_model(name.partition(".")[0]):
        near = suggest(name, timm.list_models(), "timm.list_models() names all.")
        raise WeightsError(f"timm has no '{name}': {near}")
    try:
        net = timm.create_model(name, **how)
    except (OSError, RuntimeError, ValueError) as error:
        told = f"{name} can't be had ({(str(error).splitlines() or [type(error).__name__])[0]}): "
        if how.get("pretrained"):
            told = f"timm's weights of {told}give a file of them with --set init=FILE."
        else:
            told = f"{TIMM}{told}choose another body."
        raise WeightsError(told) from error
    return net, net.pretrained_cfg["mean"], net.pretrained_cfg["std"]


def name_as_timm(state: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Weights of a body of timm from elsewhere, under the names that they have in a net of ours.

    By timm's own names, or where the file has others by their order, which ports to other libraries
    keep: shape by shape the same. Raises `RuntimeError` if neither fits.
    """
    whole = net.state_dict()
    shapes = {
        name.removeprefix("body.net."): tensor.shape
        for name, tensor in whole.items()
        if name.startswith("body.net.") and not name.endswith("num_batches_tracked")
    }
    if not shapes.keys() <= state.keys():
        given = [name for name in state if not name.endswith("num_batches_tracked")]
        state = {name: state[other] for name, other in zip(shapes, given, strict=False)}
    if {name: state[name].shape for name in shapes if name in state} != shapes:
        raise RuntimeError("neither by name nor by order")
    feed = {name: tensor for name, tensor in whole.items() if name.startswith("body.feed.")}
    return feed | {f"body.net.{name}": state[name] for name in shapes}
