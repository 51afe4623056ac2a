"""The networks a classifier or a detector can be, and the names their weights go by on disk.

`resnet34` is torchvision's ResNet-34. `mobilenet0.25` is the detector's body with a head of its
own: far faster, and it can start from what the detector has learnt about faces. `sequential` is the
small network of tutorials. `timm:NAME` is any body of timm that takes the input's size.
"""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from data_prep.base.errors import suggest
from data_prep.base.labels import CLASSES
from pipeline.nets.cards import (
    RETINAFACE,
    TIMM,
    Architecture,
    ClassifierCard,
    DetectorCard,
    WeightsError,
)
from pipeline.nets.compute import is_timms
from pipeline.nets.retinaface import RetinaFace

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


class Feed(nn.Module):
    """From photos by the mean and std that they are fed with to those that a body was trained on.

    All of 3 channels, as shares of white.
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


def make_timm(name: str, dropout: float = 0.0, *, pretrained: bool = False) -> nn.Sequential:
    """A body of timm by its name, random or `pretrained`, and a head; raises `WeightsError`."""
    net, *wanted = _create_timm(name, pretrained=pretrained, num_classes=0)
    card, features = ClassifierCard(), net.head_hidden_size
    feed = Feed((card.mean, card.std), tuple(wanted))
    parts = OrderedDict(feed=feed, net=net, map=nn.Unflatten(1, (features, 1, 1)))
    return nn.Sequential(OrderedDict(body=nn.Sequential(parts), head=make_head(features, dropout)))


def make_detector(card: DetectorCard, *, pretrained: bool = False) -> RetinaFace:
    """The detector of a card, random but for a `pretrained` body; raises `WeightsError`."""
    body, classes = card.architecture.removeprefix(RETINAFACE), len(card.learnt) or 1
    if not body.startswith(TIMM):
        return RetinaFace(card.negative_slope, classes)
    name = body.removeprefix(TIMM)
    levels = _create_timm(name, features_only=True)[0].feature_info.reduction()
    if not set(card.strides) <= set(levels):
        raise WeightsError(f"{name} has no feature maps at strides {card.strides}: take another.")
    levels = [levels.index(stride) for stride in card.strides]
    net, *wanted = _create_timm(name, pretrained=pretrained, features_only=True, out_indices=levels)
    # From grey levels in BGR; `from_imagenet` turns the first layer round.
    fed = [level / 255 for level in card.mean], [1 / 255] * len(card.mean)
    feed = Feed(fed, tuple(values[::-1] for values in wanted))
    parts = nn.Sequential(OrderedDict(feed=feed, net=net))
    return RetinaFace(card.negative_slope, classes, parts, net.feature_info.channels())


def from_imagenet(net: RetinaFace, state: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The body's weights for a detector that is fed BGR, from others that are fed RGB.

    Of a file of any names, or the net's own, as timm made it; raises `RuntimeError` if they don't
    fit.
    """
    prefix = "body.net."
    own = {name.removeprefix(prefix): tensor for name, tensor in net.state_dict().items()}
    named = name_as_timm(own if state is None else state, net)
    first = next(name for name in named if name.startswith(prefix))
    return {**named, first: named[first].flip(1)}


def _create_timm(name: str, **how: Any) -> tuple[Any, Sequence[float], Sequence[float]]:
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
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"timm's weights of {name} can't be had ({reason}).") from error
    return net, net.pretrained_cfg["mean"], net.pretrained_cfg["std"]


def name_as_timm(state: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Weights of a body from elsewhere, under the names that they have in a net of `make_timm`.

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
