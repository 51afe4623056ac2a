"""Options and arguments that several commands share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import AfterValidator

from data_prep.base.command import spell
from data_prep.base.errors import UserError
from data_prep.base.files import as_path, read_object

if TYPE_CHECKING:
    from data_prep.base.boxes import BoxOffsets

_INSTALLED = Path(__file__).parents[1] / "weights"
SHIPPED = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "weights"
"""The weights that come with the project: inside the installed package, else in the checkout."""

DETECTOR, CLASSIFIER = "detector", "classifier"  # File stems in a weights folder.

TIMM = "timm:"
RETINAFACE = "retinaface-"  # Detectors are called so, and by their body.


def _name_of(*known: str, begins: str = "") -> AfterValidator:
    def check(name: str) -> str:
        # Nothing but a name, for timm takes addresses, too.
        if name not in known and not re.fullmatch(rf"{begins}{TIMM}[\w.]+", name):
            raise ValueError(f"give {', '.join(known)}, or {begins}{TIMM}NAME for a body of timm")
        return name

    return AfterValidator(check)


Architecture = Annotated[str, _name_of("resnet34", "mobilenet0.25", "sequential")]
Body = Annotated[str, _name_of("mobilenet0.25")]
DetectorName = Annotated[str, _name_of("retinaface-mobilenet0.25", begins=RETINAFACE)]

Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where the nets run.")]
EngineName = Annotated[
    Literal["auto", "torch", "onnx", "openvino"],
    typer.Option(help="What runs the nets: auto takes the best here."),
]
NORMAL, HIGH = "normal", "high"
Quality = Annotated[
    Literal["normal", "high"],
    typer.Option(help="high fuses three looks at each photo: boxes lie better, it takes longer."),
]
Unsure = Annotated[
    bool,
    typer.Option("--unsure", help="Flag faces whose class can't be told with the card's coverage."),
]
Weights = Annotated[
    Path,
    typer.Option(
        show_default=False,
        help="A run folder, a folder with nets, or one net; the rest is the shipped.",
    ),
]

Prepared = Annotated[Path, typer.Argument(help=f"Folder written by: {spell('build')}.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder that gets the results.")]
Recipe = Annotated[str, typer.Option(help="A recipe's name or TOML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one number of the recipe, such as lr=1e-3; may be repeated.",
    ),
]
Folds = Annotated[int, typer.Option(min=2, help="Trainings, each on the other folds' photos.")]
Jobs = Annotated[
    str | None,
    typer.Option(
        metavar="N|ray[=ADDRESS]",
        help="Trainings at a time, or one for each processor of Ray's, here or at an address; one "
        "for each core if not given.",
    ),
]
LogFormat = Literal["text", "json"]
LogAs = Annotated[
    LogFormat,
    typer.Option("--log", help="Lines for people, or one JSON object per line on standard output."),
]

Target = Literal["onnx", "openvino", "torchscript"]


@dataclass(frozen=True)
class ExportOptions:
    """What is exported, and what it is tried on; here, for `export` needs torch."""

    to: Annotated[Target, typer.Option(help="For which runtime.")]
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that gets the files.")]
    weights: Weights = SHIPPED
    check: Annotated[str | None, typer.Option(metavar="PHOTOS")] = None
    """Photos of yours to try it on, too."""


class WeightsError(UserError, ValueError):
    """Weights that are missing, damaged, or not what their card says."""


def find_boxes(name: str | Path | Sequence[float]) -> BoxOffsets:
    """A convention: a shipped one's name, a file of fit-boxes, or offsets; or `OffsetsError`."""
    from data_prep.base.boxes import MOST_OFFSET, BoxOffsets, OffsetsError

    if not isinstance(name, str | Path):
        with suppress(TypeError):  # Of what has no four numbers.
            if len(name) == 4 and all(abs(offset) <= MOST_OFFSET for offset in name):
                return BoxOffsets(name[0], name[1], name[2], name[3])
        why = f"four numbers are needed, -{MOST_OFFSET} to {MOST_OFFSET}"
        raise OffsetsError(f"boxes={name}: {why}: left, top, right, bottom.")
    known = {path.stem.removeprefix("boxes-"): path for path in SHIPPED.glob("boxes-*.json")}
    path = known.get(str(name)) or as_path("boxes", name)
    if not path.is_file():
        raise OffsetsError(f"boxes {name}: no such file; give one or {', '.join(sorted(known))}.")
    return BoxOffsets.read(path)


def find_weights(weights: Path) -> dict[str, Path]:
    """The nets of a folder, or of one weights file, by `Card.kind`; or `WeightsError`."""
    if not weights.is_dir():
        file = weights.with_suffix(".safetensors")
        kind = (read_object(file.with_suffix(".json")) or {}).get("kind")
        if not weights.is_file() or weights.suffix not in {".safetensors", ".json"}:
            why = "not a .safetensors file" if weights.exists() else "no such file or folder"
        elif kind not in (DETECTOR, CLASSIFIER):
            why = f"no card of a net beside it ({file.with_suffix('.json').name})"
        else:
            return {kind: file}
        hint = "or one of them: each is a .safetensors with its .json card."
        what = f"weights are a run folder, a folder with detector or classifier, {hint}"
        raise WeightsError(f"{weights}: {why}; {what}")
    paths = {net: weights / f"{net}.safetensors" for net in (DETECTOR, CLASSIFIER)}
    found = {net: path for net, path in paths.items() if path.is_file()}
    if not found:
        below = sorted({path.parent for name in paths for path in weights.glob(f"*/{name}.safe*")})
        hint = f"did you mean {below[-1]}?" if below else "name a folder that has one of them."
        if (weights / "checkpoint.pt").is_file():
            hint = f"its training is not done: go on with --resume {quote(str(weights))}."
        names = " or ".join(path.name for path in paths.values())
        raise WeightsError(f"{weights}: no {names} in there; {hint}")
    return found


def find_net(weights: Path, net: str) -> Path:
    """The weights file of one net, which is the shipped one where `weights` has none of it."""
    return find_weights(weights).get(net, SHIPPED / f"{net}.safetensors")
