"""What is stored of nets: safetensors beside a JSON card that says what the numbers mean, and
checkpoints of running trainings, without pickle and safe under a kill at any moment.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from data_prep.base.crop import CROP_SCALE, Colour
from data_prep.base.errors import plain
from data_prep.base.files import write_atomically, write_json
from data_prep.base.labels import CLASSES
from pipeline.nets.anchors import ANCHOR_SIZES, ANCHORS_PER_CELL, STRIDES, VARIANCES
from pipeline.nets.options import Architecture, DetectorName, WeightsError

if TYPE_CHECKING:  # Nets as ONNX are read without torch.
    from torch import Tensor

Level = Annotated[float, Field(ge=0, le=255)]
Share = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(ge=0.01, le=10)]
Side = Annotated[int, Field(gt=0, le=4096)]
Fingerprint = Annotated[str, Field(pattern="^[0-9a-f]{16}-[0-9a-f]{16}$")]

_DAMAGED: tuple[type[Exception], ...] = (AssertionError, AttributeError, EOFError, LookupError)
_DAMAGED += (OSError, RuntimeError, TypeError, UnpicklingError, ValueError)
"""What torch's restricted reader raises on files that are damaged or hold more than it knows."""


Names = TypeVar("Names", tuple[str, ...], dict[str, float], dict[str, int])


def _check_classes(names: Names) -> Names:
    if len(set(names)) != len(names) or not set(names) <= set(CLASSES):
        raise ValueError(f"name classes of {', '.join(CLASSES)}, each once")
    return names


Learnt = Annotated[tuple[str, ...], AfterValidator(_check_classes)]


def _check_finite(told: dict[str, Any]) -> dict[str, Any]:
    json.dumps(told, allow_nan=False)
    return told


Told = Annotated[dict[str, Any], AfterValidator(_check_finite)]


class Card(BaseModel, extra="forbid", allow_inf_nan=False):
    """What both cards hold."""

    architecture: str
    sha256: str = ""  # Of the safetensors file, in hex.
    onnx: str = ""  # Of the same net as ONNX beside it, where there is one.
    training: Told = {}  # Data, recipe and versions the weights came from.
    results: Told = {}  # Figures reached, with the split they were measured on.
    training_photos: tuple[Fingerprint, ...] = ()
    """The photos it learnt from (`learnt.fingerprint_photo`), sorted; none where not known."""


class DetectorCard(Card):
    """How to feed the detector and read its outputs."""

    kind: Literal["detector"] = "detector"
    architecture: DetectorName = "retinaface-mobilenet0.25"
    anchors: tuple[tuple[Side, ...], ...] = ANCHOR_SIZES
    strides: tuple[Side, ...] = STRIDES
    variances: tuple[float, float] = VARIANCES
    negative_slope: float = Field(default=0.1, ge=0, le=1)
    channel_order: Literal["BGR", "RGB"] = "BGR"
    mean: tuple[Level, Level, Level] = (104.0, 117.0, 123.0)
    learnt: Learnt = ()  # Classes its scores tell apart, in order; none when it only finds faces.

    @model_validator(mode="after")
    def _anchors_fit_the_net(self) -> DetectorCard:
        sizes = [len(level) for level in self.anchors]
        if self.strides != STRIDES or sizes != [ANCHORS_PER_CELL] * len(STRIDES):
            raise ValueError(f"the net has {ANCHORS_PER_CELL} anchors at each of strides {STRIDES}")
        return self


class PredictionSets(BaseModel, extra="forbid", allow_inf_nan=False):
    """Least probability of each class in sets that hold the true one with a stated coverage."""

    coverage: float = Field(gt=0, lt=1)
    limits: Annotated[dict[str, Share], AfterValidator(_check_classes)]
    """None of a class with too few faces for that coverage."""
    faces: Annotated[dict[str, int], AfterValidator(_check_classes)]  # That each class's rests on.


class ClassifierCard(Card):
    """How to feed the classifier and read its outputs."""

    kind: Literal["classifier"] = "classifier"
    architecture: Architecture = "resnet34"
    classes: tuple[str, ...] = CLASSES
    input_size: int = Field(default=224, ge=32, le=1024)
    mean: tuple[Share, Share, Share] = (0.485, 0.456, 0.406)
    std: tuple[Spread, Spread, Spread] = (0.229, 0.224, 0.225)
    channel_order: Literal["RGB"] = "RGB"
    colour: Colour = "rgb"
    mirror: bool = False  # Its answer is the mean over a crop and its mirror image.
    learnt: Learnt = Field(default=CLASSES, min_length=1)  # Others it never answers.
    crop_scale: float = Field(default=CROP_SCALE, ge=1, le=10)
    temperature: float = Field(default=1.0, gt=0, le=100)
    looks: dict[str, tuple[float, float]] = {}  # Range of validation photos; see `looks.LOOKS`.
    sets: PredictionSets | None = None  # For `--unsure`; see `inference/unsure.py`.


CardType = TypeVar("CardType", bound=Card)


def save_weights(path: Path, state: dict[str, Tensor], card: CardType) -> CardType:
    """Write safetensors and the card beside it; returns the card with the file's hash.

    Raises `WeightsError`, and writes nothing: the card could not be read again.
    """
    from safetensors.torch import save as save_tensors

    data = save_tensors({name: tensor.contiguous() for name, tensor in state.items()})
    card = card.model_copy(update={"sha256": hashlib.sha256(data).hexdigest(), "onnx": ""})
    _check_card(path.with_suffix(".json"), card.model_dump(), type(card))  # Copies go unchecked.
    write_atomically(path, data)
    write_json(path.with_suffix(".json"), card.model_dump(mode="json"))
    return card


def load_weights(path: Path, kind: type[CardType]) -> tuple[dict[str, Tensor], CardType]:
    """Read weights as float32, checked as by `check_weights`, and that every number is finite."""
    data, card = check_weights(path, kind)
    state = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in _parse_tensors(path, data).items()
    }
    broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise WeightsError(f"{path}: {broken[0]} holds what is no number; the training went wrong.")
    return state, card


def check_weights(path: Path, kind: type[CardType]) -> tuple[bytes, CardType]:
    """A weights file's bytes and its card, of the same name, which must fit it.

    Raises `WeightsError`: missing, damaged, of another hash or kind, or a number out of range.
    """
    card = read_card(path.with_suffix(".json"), kind)
    return _read_hashed(path, card.sha256), card


def read_onnx(path: Path, card: Card) -> bytes | None:
    """The ONNX beside a weights file, if any; `WeightsError`: the card names another."""
    file = path.with_suffix(".onnx")
    return _read_hashed(file, card.onnx) if file.is_file() else None


def _read_hashed(path: Path, sha256: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror or error}).") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        why = "the file is damaged or was exchanged. Fetch it again."
        raise WeightsError(f"{path}: its SHA-256 is not the one on the card; {why}")
    return data


def read_card(path: Path, kind: type[CardType]) -> CardType:
    """Read a card; raises `WeightsError` if it is missing, or not of this kind."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = "weights are a .safetensors with its card, a .json of the same name."
        raise WeightsError(f"{path}: can't be read ({error.strerror or error}); {hint}") from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not a JSON card ({error}).") from error
    return _check_card(path, told, kind)


def _check_card(path: Path, told: Any, kind: type[CardType]) -> CardType:
    try:
        return kind.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "card"
        raise WeightsError(f"{path}: {where}: {plain(first['msg'])}.") from error


def load_state(path: Path) -> dict[str, Tensor]:
    """Read a bare state dict to start a training from: safetensors, or a checkpoint of tensors.

    A `.pth` is read with torch's restricted reader, which executes nothing. A data-parallel
    `module.` prefix is taken off. Raises `WeightsError`: missing, damaged, or other than tensors.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            state: Any = _parse_tensors(path, path.read_bytes())
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: can't be read ({error.strerror or error}).") from error
    except _DAMAGED as error:
        raise WeightsError(f"{path}: damaged, or not a file of plain tensors.") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else {}
    named = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    if not named or not state or not all(map(torch.is_tensor, state.values())):
        raise WeightsError(f"{path}: holds no state dict of tensors.")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _parse_tensors(path: Path, data: bytes) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load as load_tensors

    try:
        return load_tensors(data)
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a safetensors file ({error}).") from error


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; the old checkpoint stays until the new one is whole."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """What torch's restricted reader makes of a checkpoint, if any; raises `WeightsError`."""
    if not path.is_file():
        return None
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGED as error:
        why = "can't be read as a checkpoint; delete it to start again."
        raise WeightsError(f"{path}: {why}") from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path}: not a checkpoint; delete it to start again.")
    return state
