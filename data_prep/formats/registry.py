"""Dataset folders of any known format: photos and the faces annotated on them.

A new format is one file with a `DatasetFormat`, its name in `Format` and a line in `FORMATS`; then
build, convert, merge and evaluate read it.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from data_prep.base.command import spell
from data_prep.base.errors import DatasetError
from data_prep.base.labels import CLASSES, knows_label
from data_prep.base.records import AnnotatedPhoto, Dataset, Finding
from data_prep.formats import photo_match
from data_prep.formats.annotators import CVAT, FIFTYONE, LABEL_STUDIO, LABELME
from data_prep.formats.coco import COCO
from data_prep.formats.contracts import BAD_ANNOTATION, IMAGES, DatasetFormat, Format, ReadOptions
from data_prep.formats.crops import CropsFormat
from data_prep.formats.csv import TABLES, CsvFormat, explain_tables
from data_prep.formats.label_files import has_box
from data_prep.formats.tools import CREATEML, MEDICAL_MASK, SUPERVISELY, VIA, VIA3, VOTT, WIDER
from data_prep.formats.voc import VOC
from data_prep.formats.yolo import YoloFormat

FORMATS: Mapping[Format, DatasetFormat] = {
    Format.VOC: VOC,
    Format.YOLO: YoloFormat(),
    Format.COCO: COCO,
    Format.CSV: CsvFormat(),
    Format.LABELME: LABELME,
    Format.VIA: VIA,
    Format.VIA3: VIA3,
    Format.VOTT: VOTT,
    Format.LABEL_STUDIO: LABEL_STUDIO,
    Format.SUPERVISELY: SUPERVISELY,
    Format.MEDICAL_MASK: MEDICAL_MASK,
    Format.CVAT: CVAT,
    Format.FIFTYONE: FIFTYONE,
    Format.CREATEML: CREATEML,
    Format.WIDER: WIDER,
    Format.CROPS: CropsFormat(),
}

LOOKED_FOR = ", ".join(form.looks for form in FORMATS.values())
"""By what datasets are known, for messages."""


def recognise(files: photo_match.DatasetFiles, options: ReadOptions) -> Format:
    """The format of a dataset.

    Crops in folders are believed only where nothing else is: photos may be sorted by class and
    annotated all the same.
    """
    if all((files.root / name).is_file() for name in ("faces.csv", "manifest.json")):
        hint = f"give the dataset that it was made of, or train on it with {spell('train')}."
        raise DatasetError(f"{files.root}: a prepared folder, as build writes it; {hint}")
    found = {name: form.recognise(files, options) for name, form in FORMATS.items()}
    shown = {form: path for form, path in found.items() if path is not None}
    if len(shown) > 1:
        shown.pop(Format.CROPS, None)
    if len(shown) > 1:
        places = ", ".join(f"{form} ({files.relative(path)})" for form, path in shown.items())
        why = f"several formats: {places}. Give --format NAME, or put them into separate folders."
        raise DatasetError(f"{files.root}: {why}")
    if shown:
        return next(iter(shown))
    raise NothingKnownError(
        f"{files.root}: no {LOOKED_FOR} in this folder or below it.{hint_at(files, options)}"
    )


_LIKE_THEM = {".jsonl", ".ndjson", ".xlsx", ".xls", ".ods", ".parquet", ".mat", ".pkl", ".tfrecord"}


class NothingKnownError(DatasetError):
    """A folder in no known format."""


def hint_at(files: photo_match.DatasetFiles, options: ReadOptions) -> str:
    """What there is instead."""
    archive = next(iter(files.by_suffix(photo_match.ARCHIVES)), None)
    if archive is not None:
        return " " + photo_match.explain_archive(archive)
    hints = [finding.message for finding in files.findings[:1]]
    endings = photo_match.ANNOTATIONS | _LIKE_THEM
    others = [path for path in files.files if path.suffix.lower() in endings]
    if others:
        shown = ", ".join(files.relative(path) for path in others[:3])
        hints.append(f"Not annotations, or not known: {shown}.")
    if any(path.suffix.lower() in TABLES for path in others):
        hints.append(explain_tables(files, options.columns))
    labels = next((p for p in others if p.suffix.lower() == ".txt" and has_box(p)), None)
    if labels is not None:
        what = "class names with --names FILE, or call their folder 'labels', beside 'images'."
        hints.append(f"{files.relative(labels)} looks like YOLO's labels: give their {what}")
    folders = {part for path in files.photos for part in files.relative(path).split("/")[:-1]}
    odd = sorted(folders - {IMAGES}, key=lambda name: (name.isdecimal(), name))
    alone = next((path.name for path in files.photos if path.parent == files.root), "")
    classes = options.aliases, options.classes or CLASSES
    if alone and odd and all(knows_label(name, *classes) for name in odd):
        hints.append(f"{alone} lies beside folders of classes: --format crops leaves it out.")
    elif odd and labels is None and {path.suffix.lower() for path in others} <= {".txt", *TABLES}:
        hints.append(
            f"Photos lie in folders called {', '.join(odd[:6])}{', …' * (len(odd) > 6)}: if these "
            f"are classes, say which, such as --alias '{odd[0]}=with_mask'."
        )
    return "".join(f" {hint}" for hint in hints)


DEFAULT_OPTIONS = ReadOptions()


def read_datasets(roots: Sequence[Path], options: ReadOptions = DEFAULT_OPTIONS) -> list[Dataset]:
    """Read several dataset folders whose names become the sources.

    A photo that two datasets annotate, as where one lies in the other, counts in the first.
    """
    sources = [photo_match.find_folder(root).resolve().name for root in roots]
    for source in sources:
        if sources.count(source) > 1:
            raise DatasetError(
                f"two datasets are called '{source}': rename one folder, or link it under another "
                "name, since (source, image, object) is the key of a face."
            )
    return _drop_shared([read_dataset(root, options) for root in roots])


def read_dataset(root: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read a dataset folder; see `DatasetFormat.read`."""
    # A copy, for names that one dataset has left there are no other's.
    files, options = photo_match.list_dataset(root), replace(options)
    dataset = FORMATS[options.format or recognise(files, options)].read(files, options)
    notes = options.check_labels()
    photos, lost = dataset.photos, [finding for finding in dataset.findings if finding.dropped]
    is_lost = any(p.left_out for p in photos) or any(f.kind == BAD_ANNOTATION for f in lost)
    if photos and is_lost and not any(photo.faces for photo in photos):
        why = " ".join([*(finding.message for finding in lost), *notes][:3])
        raise DatasetError(f"{root}: none of its faces can be used. {why}")
    told = [Finding(files.source, "ignored-class", note) for note in notes]
    return replace(dataset, findings=(*dataset.findings, *told)) if told else dataset


def _drop_shared(datasets: Sequence[Dataset]) -> list[Dataset]:
    if len(datasets) < 2:
        return list(datasets)
    owners: dict[str, str] = {}
    result = []
    for dataset in datasets:
        photos: list[AnnotatedPhoto] = []
        findings = list(dataset.findings)
        for photo in dataset.photos:
            name = f"{photo.source}/{photo.image}"
            owner = owners.setdefault(os.path.realpath(photo.path), name)
            if owner == name:
                photos.append(photo)
                continue
            message = f"{name}: the same file as {owner}, which is annotated already; left out."
            findings.append(Finding(name, "second-annotation", message, dropped=True))
        result.append(replace(dataset, photos=tuple(photos), findings=tuple(findings)))
    return result
