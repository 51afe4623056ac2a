"""A dataset in one format out, from one in another."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from data_prep.base import files
from data_prep.base.crop import CROP_SCALE
from data_prep.base.errors import DatasetError
from data_prep.base.labels import CLASSES
from data_prep.base.records import Dataset, Finding
from data_prep.decisions.ledger import Ledger, read_ledger
from data_prep.decisions.overlay import apply_ledgers, restore_names
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.crops import CropsFormat
from data_prep.formats.exif_frame import FramedPhoto, frame_photos
from data_prep.formats.photo_match import find_folder, list_dataset
from data_prep.formats.registry import FORMATS, read_dataset, recognise
from data_prep.grouping.groups import GROUPS, look_at_photos, read_groups, write_groups
from data_prep.grouping.split import find_leaks, find_parts, place_parts
from data_prep.prepare.options import Decisions, KeepSplit, OptionError, ReadingOptions, check_scale

RECORD = "convert.json"
WRITTEN = [name.value for name, known in FORMATS.items() if known.writes]
SIDE = "Of crops: side as a multiple of the longer box side"
VERSION = 1
"""Raised when the same input would give other output, so that old folders are written again."""


@dataclass(frozen=True, kw_only=True)
class ConvertOptions(ReadingOptions):
    """The options of `convert`; `photos` and `scale` are None for what suits the format."""

    dataset: Annotated[Path, typer.Argument()]
    """Dataset folder, in any format that is read."""
    out: Annotated[Path, typer.Option("--out", "-o")]
    """Folder to write: new, empty, or of an earlier convert."""
    to: Annotated[Format, typer.Option(parser=str, metavar=f"<{'|'.join(WRITTEN)}>")]
    """Format to write."""
    photos: files.PhotoMode | None = None
    """Photos: copied, which is usual, linked (hard links, one file under two names), or left where
    they are. Crops go without."""
    decisions: Decisions = field(default_factory=list)
    canonical: Annotated[bool, typer.Option("--canonical")] = False
    """Name classes as TriMask does, not as written."""
    keep_split: KeepSplit = False
    scale: Annotated[float | None, typer.Option(help=f"{SIDE}; {CROP_SCALE} if not given.")] = None

    def __post_init__(self) -> None:
        if self.to not in WRITTEN:
            why = "only read" if self.to in {*Format} else "unknown"
            raise OptionError(f"--to {self.to}: {why}; use one of {', '.join(WRITTEN)}.")
        object.__setattr__(self, "to", Format(self.to))  # The command line's is a string.
        if self.to is Format.CROPS and self.photos not in {None, files.PhotoMode.NONE}:
            raise OptionError("--photos: a folder of crops holds no photos; leave it out.")
        if self.to is Format.CROPS and self.keep_split:
            raise OptionError("--keep-split: crops are parted by build; leave it out.")
        if self.to is not Format.CROPS and self.scale is not None:
            raise OptionError("--scale: only crops have one; leave it out or use --to crops.")
        if self.alias and not (self.canonical or self.decisions):
            raise OptionError("--alias: classes keep their written names; add --canonical.")
        check_scale("--scale", self.crop_side)
        super().__post_init__()

    @property
    def crop_side(self) -> float:
        """Of crops, as a multiple of the longer box side."""
        return CROP_SCALE if self.scale is None else self.scale

    @property
    def photo_mode(self) -> files.PhotoMode:
        """What becomes of the photos."""
        return self.photos or files.PhotoMode("none" if self.to is Format.CROPS else "copy")

    def to_record(self, written_in: Format) -> dict[str, Any]:
        """What decides on the output besides the data, as JSON can hold it."""
        reading = self.reading
        return {
            "to": self.to,
            "photos": self.photo_mode,
            "canonical": self.canonical,
            "scale": self.crop_side,
            **({"keep_split": True} if self.keep_split else {}),
            "reading": {
                "aliases": dict(reading.aliases),
                "classes": None,
                "format": written_in,
                "names": str(reading.names or ""),
                "columns": dict(reading.columns),
                "crop_scale": reading.crop_scale,
            },
        }


def convert(options: ConvertOptions) -> files.Outcome:
    """Write a dataset in another format; the record is that of `convert.json`.

    The folder appears whole or not at all. With unchanged data and options nothing is done. Raises
    `UserError`: the dataset or a ledger can't be used, the format can't hold its names, or the
    folder can't be written, meets the dataset, or holds files that convert did not write.
    """
    root, out = options.dataset, options.out
    own_folder = [find_folder(root)]
    files.refuse_dataset_folders([out], own_folder)
    files.refuse_other_files(out, RECORD)
    ledgers = [read_ledger(path) for path in options.decisions]
    reading = replace(options.reading, classes=None)
    # Found once: looking through all files again takes its time.
    written_in = reading.format or recognise(list_dataset(root), reading)
    reading = replace(reading, format=written_in)
    dataset, overlay = _read_decided(root, reading, ledgers, canonical=options.canonical)
    writer = CropsFormat(options.crop_side) if options.to is Format.CROPS else FORMATS[options.to]
    images = [photo.image for photo in dataset.photos]
    parts, untold = find_parts(dataset) if options.keep_split else ({}, [])
    parted = place_parts(images, parts) if parts else dict(zip(images, images, strict=True))
    below = writer.place([*parted.values()])
    places = {image: below[place] for image, place in parted.items()}
    files.refuse_dataset_folders([(out / place).parent for place in places.values()], own_folder)
    folder = files.OutputFolder(out, RECORD)
    groups = read_groups(dataset.root)
    record: dict[str, Any] = options.to_record(written_in)
    read = [VERSION, record, overlay, dataset.findings, sorted(groups.items())]
    inputs = files.hash_photos(dataset.photos, [*read, parts] if parts else read)
    whole = folder.find_whole(inputs)
    if whole is not None:
        return files.Outcome(whole, (), up_to_date=True)
    framed, findings = _frame(dataset, places, parts, options)
    findings[:0] = untold
    labels = {face.label for photo in framed for face in photo.faces}
    known = [label for label in CLASSES if label in labels]  # Come first, in their own order.
    classes = list(CLASSES) if options.canonical else [*known, *sorted(labels - {*known})]
    with folder.stage() as staging:
        written = writer.write(framed, classes, staging)
        made = {name: files.sha256_of(staging / name) for name in written.files}
        framed = [photo for photo in framed if photo.image not in written.refused]
        own = {p.image: groups[p.photo.image] for p in framed if p.photo.image in groups}
        if own and writer.holds_photos:
            write_groups(staging / GROUPS, own)
            made[GROUPS] = files.sha256_of(staging / GROUPS)
        paths = {photo.image: photo.photo.path for photo in framed}
        photos = files.place_photos(paths, staging, options.photo_mode)
        findings += written.findings
        record = {
            "inputs": inputs,
            "dataset": str(root.resolve()),
            "from": written_in.value,
            "options": record,
            **({"decisions": overlay} if ledgers else {}),
            "counts": {
                "photos": len(framed),
                "faces": dict(sorted(Counter(f.label for p in framed for f in p.faces).items())),
                "photos_without_faces": sum(not photo.faces for photo in framed),
            },
            "not_held": dict(written.left_out),
            **describe_findings(findings),
            "files": made,
            "photos": photos,
        }
        folder.swap_in(staging, record)
    return files.Outcome(record, tuple(findings), up_to_date=False)


def _frame(
    dataset: Dataset, places: Mapping[str, str], parts: Mapping[str, str], options: ConvertOptions
) -> tuple[list[FramedPhoto], list[Finding]]:
    """The photos, where they go and of which part; findings. `DatasetError` if none is left."""
    framed, faults = frame_photos(dataset.photos)
    findings = [*dataset.findings, *faults]
    if not framed:
        why = " ".join(finding.message for finding in findings[:3]) or "It names none."
        raise DatasetError(f"{dataset.root}: no photo is left to convert. {why}")
    images = [photo.photo.image for photo in framed]
    if parts:
        alike = look_at_photos(framed)[1]
        names, sides = [photo.photo.name for photo in framed], [parts[image] for image in images]
        findings[:0] = find_leaks(names, alike, sides)
    pairs = zip(framed, images, strict=True)
    framed = [replace(one, image=places[name], part=parts.get(name, "")) for one, name in pairs]
    return framed, findings


def describe_findings(findings: Sequence[Finding]) -> dict[str, Any]:
    """What a record tells of findings: how many of each kind, how many faults, all messages."""
    return {
        "findings": dict(sorted(Counter(finding.kind for finding in findings).items())),
        "left_out": sum(finding.dropped for finding in findings),
        "messages": [finding.message for finding in findings],
    }


def _read_decided(
    root: Path, reading: ReadOptions, ledgers: Sequence[Ledger], *, canonical: bool
) -> tuple[Dataset, dict[str, Any] | None]:
    """With decisions, which speak of the mask classes: one that keeps its names is read twice."""
    known = replace(reading, classes=CLASSES)
    if not ledgers:
        return read_dataset(root, known if canonical else reading), None
    read = read_dataset(root, known)
    overlay = apply_ledgers([read], ledgers)
    (dataset,) = overlay.datasets
    dataset = replace(dataset, findings=(*dataset.findings, *overlay.findings))
    if not canonical:
        dataset = restore_names(dataset, read, read_dataset(root, reading))
    return dataset, overlay.record
