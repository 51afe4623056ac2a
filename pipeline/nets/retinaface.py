"""RetinaFace on MobileNet ×0.25 or a body of timm: the net, from pixels to raw head outputs.

Deng et al. 2020, "RetinaFace: Single-shot Multi-level Face Localisation in the Wild". Module names
follow the state dicts in circulation, so that those load strictly.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.nets.anchors import ANCHORS_PER_CELL
from pipeline.nets.cards import DetectorCard
from pipeline.nets.options import RETINAFACE, TIMM, WeightsError
from pipeline.nets.timms import Feed, create_timm, name_as_timm

PYRAMID_CHANNELS = 64


class HeadOutputs(NamedTuple):
    """Raw outputs, batch × anchors × …, levels one after the other, rows before columns."""

    boxes: Tensor  # × 4, offsets to the anchor's centre and log sizes.
    scores: Tensor  # × 1 + classes, logits of background and of a face (of each class).
    landmarks: Tensor  # × 10, offsets of eyes, nose and mouth corners.


class RetinaFace(nn.Module):
    """The detector network, 433,343 weights and buffers at its standard widths.

    Published weights were trained with a `negative_slope` of 0.1 or 0 (plain ReLU); both load
    without complaint, and the wrong one halves the recall. Another `body` gives feature maps at
    strides 8, 16 and 32, of as many channels as `widths` says.
    """

    def __init__(
        self,
        negative_slope: float = 0.1,
        classes: int = 1,
        body: nn.Module | None = None,
        widths: Sequence[int] = (64, 128, 256),
    ) -> None:
        super().__init__()
        self.body = body or _MobileNet(negative_slope)
        self.fpn = _Pyramid(widths, negative_slope)
        self.ssh1, self.ssh2, self.ssh3 = (_ContextModule(negative_slope) for _ in range(3))
        self.ClassHead = nn.ModuleList(_Head(1 + classes) for _ in range(3))
        self.BboxHead = nn.ModuleList(_Head(4) for _ in range(3))
        self.LandmarkHead = nn.ModuleList(_Head(10) for _ in range(3))

    def forward(self, photos: Tensor) -> HeadOutputs:
        """Run the net on batch × 3 × height × width, mean subtracted; sides multiples of 32."""
        levels = self.fpn(self.body(photos))
        context = (self.ssh1, self.ssh2, self.ssh3)
        features = [ssh(level) for ssh, level in zip(context, levels, strict=True)]
        return HeadOutputs(
            _concatenate(self.BboxHead, features),
            _concatenate(self.ClassHead, features),
            _concatenate(self.LandmarkHead, features),
        )


def _concatenate(heads: nn.ModuleList, features: list[Tensor]) -> Tensor:
    return torch.cat([head(x) for head, x in zip(heads, features, strict=True)], dim=1)


def _conv(
    inputs: int, outputs: int, kernel: int = 3, slope: float | None = None, **how: Any
) -> nn.Sequential:
    """Convolution and batch norm, with a leaky ReLU when a slope is given."""
    padded = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False, **how)
    leaky = [] if slope is None else [nn.LeakyReLU(slope, inplace=True)]
    return nn.Sequential(padded, nn.BatchNorm2d(outputs), *leaky)


def _separable(inputs: int, outputs: int, stride: int, slope: float) -> nn.Sequential:
    """Depthwise then pointwise convolution, each with batch norm and leaky ReLU."""
    deep = _conv(inputs, inputs, stride=stride, slope=slope, groups=inputs)
    return nn.Sequential(*deep, *_conv(inputs, outputs, kernel=1, slope=slope))


class _MobileNet(nn.Module):
    """MobileNetV1 at a quarter of the channels; outputs at strides 8, 16 and 32."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        fine = ((8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1))
        self.stage1 = nn.Sequential(
            _conv(3, 8, stride=2, slope=slope), *(_separable(*one, slope) for one in fine)
        )
        self.stage2 = nn.Sequential(
            _separable(64, 128, 2, slope), *(_separable(128, 128, 1, slope) for _ in range(5))
        )
        self.stage3 = nn.Sequential(_separable(128, 256, 2, slope), _separable(256, 256, 1, slope))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.stage1(x)
        middle = self.stage2(fine)
        return fine, middle, self.stage3(middle)


class _Pyramid(nn.Module):
    """Feature pyramid: coarse levels enlarged and added to finer ones."""

    def __init__(self, inputs: Sequence[int], slope: float) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (
            _conv(channels, PYRAMID_CHANNELS, kernel=1, slope=slope) for channels in inputs
        )
        self.merge1, self.merge2 = (
            _conv(PYRAMID_CHANNELS, PYRAMID_CHANNELS, slope=slope) for _ in range(2)
        )

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = features
        coarse = self.output3(coarse)
        middle = self.output2(middle)
        fine = self.output1(fine)
        middle = self.merge2(middle + F.interpolate(coarse, size=middle.shape[2:]))
        fine = self.merge1(fine + F.interpolate(middle, size=fine.shape[2:]))
        return fine, middle, coarse


class _ContextModule(nn.Module):
    """SSH context: fields of 3, 5 and 7 pixels side by side (Najibi et al. 2017, "SSH")."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        half, quarter = PYRAMID_CHANNELS // 2, PYRAMID_CHANNELS // 4
        self.conv3X3 = _conv(PYRAMID_CHANNELS, half)
        self.conv5X5_1 = _conv(PYRAMID_CHANNELS, quarter, slope=slope)
        self.conv5X5_2 = _conv(quarter, quarter)
        self.conv7X7_2 = _conv(quarter, quarter, slope=slope)
        self.conv7x7_3 = _conv(quarter, quarter)

    def forward(self, x: Tensor) -> Tensor:
        shared = self.conv5X5_1(x)
        wide = self.conv7x7_3(self.conv7X7_2(shared))
        return F.relu(torch.cat([self.conv3X3(x), self.conv5X5_2(shared), wide], dim=1))


class _Head(nn.Module):
    """A 1 × 1 convolution whose outputs are laid out anchor by anchor."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(PYRAMID_CHANNELS, ANCHORS_PER_CELL * values, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1x1(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.values)


def widen_scores(state: dict[str, Tensor], classes: int) -> dict[str, Tensor]:
    """Weights whose scores tell classes apart, from weights that only find faces.

    Every class begins with the face's logit less log(classes), so that the chance of a face, the
    sum over its classes, stays what it was.
    """
    wide = dict(state)
    for name, tensor in state.items():
        if name.startswith("ClassHead."):
            background, face = tensor.unflatten(0, (ANCHORS_PER_CELL, 2)).unbind(1)
            face = face - math.log(classes) if name.endswith("bias") else face
            wide[name] = torch.stack([background, *[face] * classes], dim=1).flatten(0, 1)
    return wide


def make_detector(card: DetectorCard, *, pretrained: bool = False) -> RetinaFace:
    """The detector of a card, random but for a `pretrained` body; raises `WeightsError`."""
    body, classes = card.architecture.removeprefix(RETINAFACE), len(card.learnt) or 1
    if not body.startswith(TIMM):
        return RetinaFace(card.negative_slope, classes)
    name = body.removeprefix(TIMM)
    levels = create_timm(name, features_only=True)[0].feature_info.reduction()
    if not set(card.strides) <= set(levels):
        raise WeightsError(f"{name} has no feature maps at strides {card.strides}: take another.")
    levels = [levels.index(stride) for stride in card.strides]
    net, *wanted = create_timm(name, pretrained=pretrained, features_only=True, out_indices=levels)
    # From grey levels in BGR; `from_imagenet` turns the layers that take them round.
    fed = [level / 255 for level in card.mean], [1 / 255] * len(card.mean)
    feed = Feed(fed, tuple(values[::-1] for values in wanted))
    parts = nn.Sequential(OrderedDict(feed=feed, net=net))
    return RetinaFace(card.negative_slope, classes, parts, net.feature_info.channels())


def from_imagenet(net: RetinaFace, state: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The weights of a timm body that is fed BGR, from those of one that is fed RGB.

    They are those of a file, named as `name_as_timm` takes them, or the net's own, as timm made it.
    Raises `RuntimeError` if they don't fit.
    """
    prefix = "body.net."
    own = {name.removeprefix(prefix): tensor for name, tensor in net.state_dict().items()}
    named = name_as_timm(own if state is None else state, net)
    # Some bodies look at the photo by several layers, or have other weights before the first.
    turned = {n: w.flip(1) for n, w in named.items() if w.ndim == 4 and w.shape[1] == 3}
    if not turned:
        raise RuntimeError("no layer takes three colours")
    return named | turned
