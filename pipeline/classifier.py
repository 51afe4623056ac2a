"""The classifier: ResNet-34 in torchvision's own form, and its use on crops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import resnet34

from data_prep.crop import resize_crop
from data_prep.labels import CLASSES
from pipeline.compute import autocast, prepare_net
from pipeline.weights import ClassifierCard, WeightsError, load_weights

BATCH = 16
"""Crops per forward pass: on CPUs faster than 64, whose activations leave the cache."""

SMALL_CROP = 64
SMALL_INPUT = 192
"""Crops under `SMALL_CROP` pixels are enlarged to `SMALL_INPUT` only: it costs a quarter less and
changes nothing (log loss of 520 such validation faces of facemask 0.164 against 0.165)."""

_BODY = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
_HEAD_LINEAR = 3


def make_head(dropout: float) -> nn.Sequential:
    """Head for fastai's `vision_learner` that `to_torchvision` can turn into ResNet-34's own."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(512, len(CLASSES))
    )


def to_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a fastai learner's weights (body, head) to those of `torchvision.models.resnet34`.

    Raises:
        WeightsError: A name belongs to neither.
    """
    renamed = {}
    for name, tensor in state.items():
        part, index, rest = name.split(".", 2)
        if part == "0":
            renamed[f"{_BODY[int(index)]}.{rest}"] = tensor
        elif part == "1" and int(index) == _HEAD_LINEAR:
            renamed[f"fc.{rest}"] = tensor
        else:
            raise WeightsError(f"weights named {name} have no place in a ResNet-34.")
    return renamed


def from_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_torchvision`; a last layer for other classes is left out."""
    renamed = {}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        if part in _BODY:
            renamed[f"0.{_BODY.index(part)}.{rest}"] = tensor
        elif part == "fc" and len(tensor) == len(CLASSES):
            renamed[f"1.{_HEAD_LINEAR}.{rest}"] = tensor
    return renamed


class Classifier:
    """ResNet-34 with its card.

    Args:
        net: The network.
        card: How to feed it.
        device: Where it runs.
        bf16: Run it in bfloat16.
    """

    def __init__(
        self, net: nn.Module, card: ClassifierCard, *, device: torch.device, bf16: bool = False
    ) -> None:
        self.net = prepare_net(net, device)
        self.card = card
        self.device = device
        self.bf16 = bf16

    @classmethod
    def load(cls, path: Path, *, device: torch.device, bf16: bool = False) -> Classifier:
        """Load checked weights.

        Raises:
            WeightsError: They are missing, damaged, or do not fit the network.
        """
        state, card = load_weights(path, ClassifierCard)
        if set(card.classes) != set(CLASSES):
            raise WeightsError(f"{path}: its classes are {card.classes}, not {CLASSES}.")
        return cls(fill_resnet(state, path), card, device=device, bf16=bf16)

    def classify(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Class probabilities of crops, batched.

        Args:
            crops: Squares of any side, uint8, RGB, cut by `crop_face` at the card's scale.

        Returns:
            Crops × 3, float32, columns in the order of `CLASSES`; rows sum to 1.
        """
        order = [self.card.classes.index(name) for name in CLASSES]
        probabilities = np.zeros((len(crops), len(CLASSES)), dtype=np.float32)
        for size, indices in self._group_by_input(crops).items():
            for start in range(0, len(indices), BATCH):
                some = indices[start : start + BATCH]
                batch = np.stack([resize_crop(crops[index], size) for index in some])
                inputs = torch.from_numpy(batch).permute(0, 3, 1, 2)
                probabilities[some] = self._classify_batch(inputs)[:, order]
        return probabilities

    def _group_by_input(self, crops: Sequence[np.ndarray]) -> dict[int, list[int]]:
        """Indices of crops by the input size they are brought to."""
        groups: dict[int, list[int]] = {}
        for index, crop in enumerate(crops):
            full = self.card.input_size
            size = min(SMALL_INPUT, full) if crop.shape[0] < SMALL_CROP else full
            groups.setdefault(size, []).append(index)
        return groups

    def _classify_batch(self, crops: Tensor) -> np.ndarray:
        with torch.inference_mode():
            inputs = crops.to(self.device).float() / 255
            mean, std = (
                inputs.new_tensor(v)[:, None, None] for v in (self.card.mean, self.card.std)
            )
            inputs = ((inputs - mean) / std).contiguous(memory_format=torch.channels_last)
            with autocast(self.device, bf16=self.bf16):
                logits = self.net(inputs)
            return (logits.float() / self.card.temperature).softmax(dim=1).cpu().numpy()


def fill_resnet(state: dict[str, Tensor], path: Path) -> nn.Module:
    """A ResNet-34 for our classes with these weights.

    Raises:
        WeightsError: They do not fit.
    """
    net = resnet34(num_classes=len(CLASSES))
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{path}: does not fit a ResNet-34 ({error}).") from error
    return net
