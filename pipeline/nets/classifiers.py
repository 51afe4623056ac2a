"""The networks a classifier can be, and the names their weights go by on disk.

`resnet34` is torchvision's ResNet-34. `mobilenet0.25` is the detector's body with a head of its
own: far faster, and it can start from what the detector has learnt about faces. `sequential` is the
small network of tutorials. `timm:NAME` is any body of timm that takes the input's size.
"""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from data_prep.base.labels import CLASSES
from pipeline.nets.cards import Architecture, ClassifierCard, DetectorCard, WeightsError
from pipeline.nets.compute import is_timms
from pipeline.nets.options import TIMM
from pipeline.nets.retinaface import RetinaFace, make_detector
from pipeline.nets.timms import Feed, create_timm

FEATURES = {"resnet34": 512, "mobilenet0.25": 256, "sequential": 128}
"""What the last layer sees of each face: channels of the body's last feature map."""

SLOPE = 0.1  # Of the leaky ReLUs of `mobilenet0.25`.

_HEAD_LINEAR = 3
_RESNET = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
_FASTAI = {f"0.{place}": name for place, name in enumerate(_RESNET)} | {f"1.{_HEAD_LINEAR}": "fc"}
"""Torchvision's names for the parts of a ResNet-34, by their places in a fastai learner's."""

_CELLS = 16
_FIRST_CONV, _FIRST_NORM = "body.stage1.0.0", "body.stage1.0.1"
_SHRINK = 32
"""The variance of grey levels up to 255 behind the first convolution, about 60,000, comes near the
end of half precision, which weights are stored in; the batch norm takes a factor out again."""


def make_head(features: int, dropout: float) -> nn.Sequential:
    """Pooling, dropout and the last layer; `to_stored` knows its names."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(features, len(CLASSES)),
    )


def make_mobilenet(dropout: float = 0.0) -> nn.Sequential:
    """`mobilenet0.25` with random weights: the detector's body, then the head."""
    body = nn.Sequential(OrderedDict(RetinaFace(SLOPE).body.named_children()))
    return nn.Sequential(OrderedDict(body=body, head=make_head(FEATURES["mobilenet0.25"], dropout)))


def make_sequential(dropout: float = 0.0) -> nn.Sequential:
    """`sequential` with random weights: 16, 32 and 64 filters, each pooled by 2; 128 dense units.

    Made for inputs of 128 pixels; what is left of others is brought to the same 16 × 16 cells.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    dense = FEATURES["sequential"]
    layers += [nn.AdaptiveAvgPool2d(_CELLS), nn.Flatten(), nn.Linear(64 * _CELLS**2, dense)]
    layers += [nn.ReLU(), nn.Unflatten(1, (dense, 1, 1))]
    return nn.Sequential(OrderedDict(body=nn.Sequential(*layers), head=make_head(dense, dropout)))


def make_timm(name: str, dropout: float = 0.0, *, pretrained: bool = False) -> nn.Sequential:
    """A body of timm by its name, random or `pretrained`, and a head; raises `WeightsError`."""
    net, *wanted = create_timm(name, pretrained=pretrained, num_classes=0)
    card, features = ClassifierCard(), net.head_hidden_size
    feed = Feed((card.mean, card.std), tuple(wanted))
    parts = OrderedDict(feed=feed, net=net, map=nn.Unflatten(1, (features, 1, 1)))
    return nn.Sequential(OrderedDict(body=nn.Sequential(parts), head=make_head(features, dropout)))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return is_timms(module) or super().is_leaf_module(module, name)


def fill_net(
    state: dict[str, Tensor], architecture: Architecture, path: Path, card: Any = None
) -> nn.Module:
    """A classifier, or the detector of a card, with weights as on disk; raises `WeightsError`."""
    what = architecture if isinstance(card, DetectorCard) else f"a {architecture}"
    net = make_detector(card) if isinstance(card, DetectorCard) else make_net(architecture)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{path}: does not fit {what} ({error}).") from error
    return net


def expose_features(net: nn.Module) -> nn.Module:
    """A classifier that also gives what its last layer sees, batch × features; else the logits."""
    traced = fx.GraphModule(net, _Tracer().trace(net.eval()))
    (output,) = (node for node in traced.graph.nodes if node.op == "output")
    seen = []
    for node in traced.graph.nodes:
        layer = traced.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(layer, nn.Linear) and layer.out_features == len(CLASSES):
            seen.append(node.args[0])
    with traced.graph.inserting_before(output):
        features = traced.graph.call_function(torch.cat, (seen or [output.args[0]], 1))
    output.args = ((output.args[0], features),)
    traced.recompile()
    return traced


def make_net(architecture: Architecture, dropout: float = 0.0) -> nn.Module:
    """A classifier with random weights, by its names on disk."""
    if architecture.startswith(TIMM):
        return make_timm(architecture.removeprefix(TIMM), dropout)
    if architecture == "resnet34":
        from torchvision.models import resnet34  # Here, for it takes a second to load.

        return resnet34(num_classes=len(CLASSES))
    return (make_mobilenet if architecture == "mobilenet0.25" else make_sequential)(dropout)


def to_stored(state: dict[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
    """A learner's weights by their names on disk; of `resnet34` torchvision's own."""
    if architecture != "resnet34":
        return dict(state)
    renamed = {}
    for name, tensor in state.items():
        part, index, rest = name.split(".", 2)
        if f"{part}.{index}" not in _FASTAI:
            raise WeightsError(f"weights named {name} have no place in a ResNet-34.")
        renamed[f"{_FASTAI[f'{part}.{index}']}.{rest}"] = tensor
    return renamed


def last_bias(architecture: Architecture) -> str:
    """Name of the last layer's bias on disk."""
    return "fc.bias" if architecture == "resnet34" else f"head.{_HEAD_LINEAR}.bias"


def from_torchvision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Torchvision's ResNet-34 as fastai's; a last layer for other classes is left out."""
    named = {own: place for place, own in _FASTAI.items()}
    return {
        f"{named[part]}.{rest}": tensor
        for part, _, rest, tensor in ((*name.partition("."), state[name]) for name in state)
        if part in named and (part != "fc" or len(tensor) == len(CLASSES))
    }


def from_detector(state: dict[str, Tensor], card: DetectorCard) -> dict[str, Tensor]:
    """The detector's body as that of `mobilenet0.25`, fed as classifiers are.

    The detector takes grey levels 0 to 255 minus a mean, in BGR as a rule; classifiers take RGB
    that is standardised. The difference goes into the first convolution and the batch norm behind
    it, so that the body computes the same, up to the outermost pixels, where padding means another
    colour. Raises `WeightsError` if its leaky ReLUs have another slope.
    """
    if card.negative_slope != SLOPE:
        raise WeightsError(
            f"a detector with slope {card.negative_slope} can't start a classifier: {SLOPE} is "
            "needed."
        )
    body = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
        if name.startswith("body.")
    }
    feed = ClassifierCard()
    mean, std = (255 * torch.tensor(values) for values in (feed.mean, feed.std))
    weight, own_mean = body[f"{_FIRST_CONV}.weight"], torch.tensor(card.mean)
    if card.channel_order == "BGR":
        weight, own_mean = weight.flip(1), own_mean.flip(0)
    shift = (weight.sum(dim=(2, 3)) * (mean - own_mean)).sum(dim=1)
    body[f"{_FIRST_CONV}.weight"] = weight * std[:, None, None] / _SHRINK
    body[f"{_FIRST_NORM}.running_mean"] = (body[f"{_FIRST_NORM}.running_mean"] - shift) / _SHRINK
    body[f"{_FIRST_NORM}.running_var"] = body[f"{_FIRST_NORM}.running_var"] / _SHRINK**2
    return body
