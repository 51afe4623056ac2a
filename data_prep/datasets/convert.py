"""A dataset in one format out, from one in another."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from data_prep.base.crop import CROP_SCALE
from data_prep.base.errors import DatasetError
from data_prep.base.files import sha256_of
from data_prep.base.labels import CLASSES
from data_prep.base.output_folder import OutputFolder, refuse_dataset_folders, refuse_other_files
from data_prep.base.records import AnnotatedPhoto, Dataset, Finding
from data_prep.datasets.place_photos import PhotoMode, place_photos
from data_prep.decisions.ledger import LedgerFile, read_ledgers
from data_prep.decisions.overlay import apply_ledgers
from data_prep.formats.contracts import Format, ReadOptions, order_classes
from data_prep.formats.exif_frame import frame_photos
from data_prep.formats.photo_match import find_folder, list_dataset
from data_prep.formats.registry import make_writer, read_dataset, recognise
from data_prep.grouping.groups import GROUPS, read_groups, write_groups
from data_prep.prepare.analysis import OptionError

RECORD = "convert.json"
VERSION = 1
"""Raised when the same input would give other output, so that old folders are written again."""


@dataclass(frozen=True)
class ConvertOptions:
    """What is written.

    Attributes:
        to: The format.
        photos: What becomes of the photos.
        canonical: Whether classes get the names of `CLASSES`; otherwise they keep theirs.
        scale: Crop side as a multiple of the longer box side, 1 to 10.
        reading: How the dataset is read, but for its classes.

    Raises:
        OptionError: The scale is out of its range.
    """

    to: Format
    photos: PhotoMode = PhotoMode.COPY
    canonical: bool = False
    scale: float = CROP_SCALE
    reading: ReadOptions = field(default_factory=ReadOptions)

    def __post_init__(self) -> None:
        if not 1 <= self.scale <= 10:
            raise OptionError(f"--scale {self.scale:g}: use a number from 1 to 10.")

    def to_record(self) -> dict[str, Any]:
        """All options, as JSON can hold them."""
        reading = {**asdict(self.reading), "names": str(self.reading.names or "")}
        return {**asdict(self), "reading": reading}


@dataclass(frozen=True)
class ConvertResult:
    """What a conversion did.

    Attributes:
        record: What `convert.json` holds.
        findings: All findings; empty when nothing was done.
        up_to_date: True when data and options were those of the last run: nothing was done.
    """

    record: dict[str, Any]
    findings: tuple[Finding, ...]
    up_to_date: bool


def convert(
    root: Path, out: Path, options: ConvertOptions, *, decisions: Sequence[Path] = ()
) -> ConvertResult:
    """Write a dataset in another format.

    The folder appears whole or not at all. With unchanged data and options nothing is done.

    Args:
        root: The dataset's folder, or one table or JSON file in it.
        out: The folder to write.
        options: What is written.
        decisions: Ledgers whose decisions are applied first; see `apply_ledgers`.

    Raises:
        DatasetError: The dataset can't be used, or the format can't hold its names.
        UnknownLabelError: A class name is not known, which matters with `canonical` and decisions.
        LedgerError: A ledger can't be read.
        OutputError: The folder can't be written, meets the dataset, or holds files that convert
            did not write.
    """
    datasets = [find_folder(root)]
    refuse_dataset_folders([out], datasets, "-o")
    refuse_other_files(out, RECORD, "-o")
    ledgers = read_ledgers(decisions)
    reading = replace(options.reading, classes=None)
    written_in = reading.format or recognise(list_dataset(root), reading)
    # Found once: looking through all files again takes its time.
    options = replace(options, reading=replace(reading, format=written_in))
    dataset, overlay = _read_decided(root, options, ledgers)
    writer = make_writer(options.to, options.scale)
    places = writer.place([photo.image for photo in dataset.photos])
    refuse_dataset_folders([(out / place).parent for place in places.values()], datasets, "-o")
    folder = OutputFolder(out, RECORD)
    groups = read_groups(dataset.root)
    told = [VERSION, options.to_record(), overlay, dataset.findings, sorted(groups.items())]
    inputs = hash_photos(dataset.photos, told)
    whole = folder.find_whole(inputs)
    if whole is not None:
        return ConvertResult(whole, (), up_to_date=True)
    framed, faults = frame_photos(dataset.photos)
    if not framed:
        raise DatasetError(_explain_nothing(root, [*dataset.findings, *faults]))
    framed = [replace(photo, image=places[photo.photo.image]) for photo in framed]
    labels = {face.label for photo in framed for face in photo.faces}
    classes = list(CLASSES) if options.canonical else order_classes(labels)
    with folder.stage() as staging:
        written = writer.write(framed, classes, staging)
        files = {name: sha256_of(staging / name) for name in written.files}
        framed = [photo for photo in framed if photo.image not in written.refused]
        own = {p.image: groups[p.photo.image] for p in framed if p.photo.image in groups}
        if own and writer.holds_photos:
            write_groups(staging / GROUPS, own)
            files[GROUPS] = sha256_of(staging / GROUPS)
        photos = place_photos(
            {photo.image: photo.photo.path for photo in framed}, staging, options.photos
        )
        findings = (*dataset.findings, *faults, *written.findings)
        record = {
            "inputs": inputs,
            "dataset": str(root.resolve()),
            "from": written_in.value,
            "options": options.to_record(),
            **({"decisions": overlay} if ledgers else {}),
            "counts": {
                "photos": len(framed),
                "faces": dict(sorted(Counter(f.label for p in framed for f in p.faces).items())),
                "photos_without_faces": sum(not photo.faces for photo in framed),
            },
            "not_held": dict(written.left_out),
            "findings": count_kinds(findings),
            "left_out": sum(finding.dropped for finding in findings),
            "messages": [finding.message for finding in findings],
            "files": files,
            "photos": photos,
        }
        folder.swap_in(staging, record)
    return ConvertResult(record, findings, up_to_date=False)


def _explain_nothing(root: Path, findings: Sequence[Finding]) -> str:
    reasons = " ".join(finding.message for finding in findings[:3]) or "It names none."
    return f"{root}: no photo is left to convert. {reasons}"


def count_kinds(findings: Iterable[Finding]) -> dict[str, int]:
    """Findings by kind."""
    return dict(sorted(Counter(finding.kind for finding in findings).items()))


def hash_photos(photos: Sequence[AnnotatedPhoto], more: object) -> str:
    """Hash of what photos and annotations say, for telling whether anything changed.

    Photos count by size and time of change: reading them all would be the work to avoid.

    Args:
        photos: As annotated.
        more: Whatever else counts.
    """
    digest = hashlib.sha256(json.dumps(more, sort_keys=True, default=repr).encode())
    for photo in photos:
        stat = photo.path.stat()
        digest.update(f"{photo!r}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _read_decided(
    root: Path, options: ConvertOptions, ledgers: Sequence[LedgerFile]
) -> tuple[Dataset, dict[str, Any] | None]:
    """The dataset with decisions applied and classes called as asked for.

    Decisions speak of the mask classes, so a dataset that keeps its own names is read twice.
    """
    known = replace(options.reading, classes=CLASSES)
    as_written = replace(options.reading, classes=None)
    if not ledgers:
        return read_dataset(root, known if options.canonical else as_written), None
    read = read_dataset(root, known)
    overlay = apply_ledgers([read], ledgers)
    (dataset,) = overlay.datasets
    dataset = replace(dataset, findings=(*dataset.findings, *overlay.findings))
    if not options.canonical:
        dataset = _restore_names(dataset, read, read_dataset(root, as_written))
    return dataset, overlay.record


def _restore_names(dataset: Dataset, read: Dataset, written: Dataset) -> Dataset:
    """Faces under their written names; changed ones under what the dataset mostly calls theirs."""
    own = {(photo.image, f.object): f.label for photo in written.photos for f in photo.faces}
    classes = {(photo.image, f.object): f.label for photo in read.photos for f in photo.faces}
    counts = Counter((classes[key], name) for key, name in own.items())
    names: dict[str, str] = {}
    for (label, name), _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        names.setdefault(label, name)

    def restore(photo: AnnotatedPhoto) -> AnnotatedPhoto:
        faces = []
        for face in photo.faces:
            key = (photo.image, face.object)
            is_same = face.label == classes[key]
            name = own[key] if is_same else names.get(face.label, face.label)
            faces.append(replace(face, label=name))
        return replace(photo, faces=tuple(faces))

    return replace(dataset, photos=tuple(restore(photo) for photo in dataset.photos))
