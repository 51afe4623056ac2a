"""What `build` and `audit` can be asked for, and the options that all readers of datasets share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from data_prep.base.cluster import find_ray
from data_prep.base.crop import CROP_SCALE
from data_prep.base.errors import OptionError
from data_prep.base.labels import CLASSES, parse_aliases
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.csv import FIELDS, parse_columns

BlurRule = Literal["binned", "global", "none"]

ALIAS = f"Another name of a class; CLASS is one of {', '.join(CLASSES)}. May be repeated."

MAJORITY_RATIO = 1.5  # The largest class keeps at most this multiple of the second class.

Decisions = Annotated[
    list[Path],
    typer.Option(
        metavar="LEDGER",
        help="Reviewers' decisions to apply (decisions.jsonl); the datasets stay as they are. "
        "May be repeated.",
    ),
]


KeepSplit = Annotated[
    bool,
    typer.Option(
        "--keep-split",
        help="Keep the split that the data come with (folders train, valid, test; train.txt); "
        "near-duplicates across it are named.",
    ),
]


def check_scale(option: str, scale: float) -> None:
    """Refuse a crop scale that is not from 1 to 10."""
    if not 1 <= scale <= 10:
        raise OptionError(f"{option} {scale:g}: use a number from 1 to 10.")


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How datasets are read: what can't be told from their files."""

    alias: Annotated[list[str], typer.Option(metavar="NAME=CLASS", help=ALIAS)] = field(
        default_factory=list
    )
    format: Annotated[Format | None, typer.Option("--format")] = None
    """Of what is read; recognised by what is there if not given."""
    names: Annotated[Path | None, typer.Option(exists=True, dir_okay=False)] = None
    """Class names for the ids of YOLO labels: data.yaml, or a text file with a name per line.
    Looked for in the dataset if not given."""
    columns: Annotated[
        str,
        typer.Option(
            metavar="FIELD=COLUMN,...",
            help="Columns of CSV tables, such as image=file,label=class,xmin=left; usual names "
            f"are known. Fields: {', '.join(FIELDS)}.",
        ),
    ] = ""
    crop_scale: Annotated[float, typer.Option("--crop-scale")] = 1.0
    """Of folders of ready crops: their side as a multiple of the face's longer side."""

    def __post_init__(self) -> None:
        check_scale("--crop-scale", self.crop_scale)
        _ = self.reading  # Names and columns are refused before any work.

    @property
    def reading(self) -> ReadOptions:
        """The same for readers."""
        same: dict[str, Any] = {n: getattr(self, n) for n in ("format", "names", "crop_scale")}
        return ReadOptions(parse_aliases(self.alias), columns=parse_columns(self.columns), **same)


@dataclass(frozen=True, kw_only=True)
class PrepareOptions(ReadingOptions):
    """Everything that a prepared set depends on besides the data."""

    roots: Annotated[list[Path], typer.Argument(metavar="ROOT", show_default=False)]
    """Dataset folders with photos and annotations in any known format: PASCAL VOC, YOLO, COCO, CSV,
    or crops in folders called after the classes. It is recognised by what is there; each folder's
    name becomes its source."""
    scale: float = CROP_SCALE
    """Crop side as a multiple of the longer box side."""
    folds: int = 5
    """Parts of the split; one of them is for validation."""
    fold: int = 0
    """Which part is for validation, from 0."""
    seed: int = 0
    """Of the split's shuffling."""
    keep_split: KeepSplit = False
    salvage: Annotated[bool, typer.Option("--salvage")] = False
    """Use JPEGs that lack their end, with the faces that are still there."""
    drop_duplicates: Annotated[bool, typer.Option("--drop-duplicates")] = False
    """Of a box annotated twice and of photos that look just alike keep one, unless their labels
    contradict each other; manifest.json lists the others."""
    blur_rule: Annotated[BlurRule, typer.Option("--blur")] = "binned"
    """How the largest class is thinned out: the blurriest of each size bin, the blurriest of all,
    or not at all."""
    ratio: float = MAJORITY_RATIO
    """The largest class keeps this multiple of the second."""
    decisions: Decisions = field(default_factory=list)
    workers: Annotated[int | None, typer.Option(min=1)] = None
    """Threads; one per core if not given."""
    cluster: Annotated[str | None, typer.Option(metavar="ray[=ADDRESS]")] = None
    """Read photos by processes, on this machine or on the machines of a Ray."""

    def __post_init__(self) -> None:
        if self.cluster is not None:
            find_ray("--cluster", self.cluster)
        check_scale("--scale", self.scale)
        if self.folds < 2:
            raise OptionError(f"--folds {self.folds}: a split needs 2 or more.")
        if not 0 <= self.fold < self.folds:
            raise OptionError(f"--fold {self.fold}: use 0 to {self.folds - 1}.")
        if not 0 <= self.seed < 2**32:
            raise OptionError(f"--seed {self.seed}: use a whole number from 0 to 4294967295.")
        if not (self.ratio > 0 and math.isfinite(self.ratio)):
            raise OptionError(f"--ratio {self.ratio:g}: use a number above 0.")
        super().__post_init__()

    def to_record(self) -> dict[str, Any]:
        """What decides on the table and the crops, as JSON can hold it; no paths of data."""
        reading = self.reading
        numbers = ("scale", "folds", "fold", "seed", "blur_rule", "ratio")
        return {
            **{name: getattr(self, name) for name in numbers},
            "aliases": dict(reading.aliases),
            "format": self.format,
            "names": None if self.names is None else str(self.names),
            "columns": dict(reading.columns),
            "crop_scale": self.crop_scale,
            **{n: True for n in ("keep_split", "salvage", "drop_duplicates") if getattr(self, n)},
        }


@dataclass(frozen=True, kw_only=True)
class BuildOptions(PrepareOptions):
    """The options of `build`."""

    out: Annotated[Path, typer.Option("-o", "--out")] = Path("prepared")
    """The prepared folder."""


@dataclass(frozen=True, kw_only=True)
class AuditOptions(PrepareOptions):
    """The options of `audit`."""

    out: Annotated[Path, typer.Option("-o", "--out")] = Path("audit")
    """Folder for audit.html and audit.json."""
