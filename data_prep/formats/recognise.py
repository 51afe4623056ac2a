"""Which format a dataset folder is in."""

from __future__ import annotations

from collections.abc import Mapping

from data_prep.errors import DatasetError
from data_prep.formats.coco_files import CocoReader
from data_prep.formats.crops_folder import CropsReader
from data_prep.formats.csv_files import TABLES, CsvReader, explain_tables
from data_prep.formats.dataset_files import ARCHIVES, DatasetFiles, explain_archive
from data_prep.formats.reader import Format, Reader, ReadOptions
from data_prep.formats.voc_folder import VocReader
from data_prep.formats.yolo_folder import YoloReader

READERS: Mapping[Format, Reader] = {
    Format.VOC: VocReader(),
    Format.YOLO: YoloReader(),
    Format.COCO: CocoReader(),
    Format.CSV: CsvReader(),
    Format.CROPS: CropsReader(),
}

LOOKED_FOR = (
    "VOC annotation (*.xml), YOLO labels (labels/*.txt beside images/, or *.txt beside photos and "
    "data.yaml, classes.txt or obj.names), COCO annotations (*.json), table (*.csv) with columns "
    "for photo, class and box, or folders of face crops called after the classes"
)


def recognise(files: DatasetFiles, options: ReadOptions) -> Format:
    """The format of a dataset.

    Crops in folders are believed only where nothing else is: photos may be sorted by class and
    annotated all the same.

    Raises:
        DatasetError: There is none that is known, or there are several.
    """
    if all((files.root / name).is_file() for name in ("faces.csv", "manifest.json")):
        raise DatasetError(
            f"{files.root}: a prepared folder, as build writes it; give the dataset that it was "
            "made of, or train on it with python -m pipeline train."
        )
    found = {form: reader.recognise(files, options) for form, reader in READERS.items()}
    shown = {form: path for form, path in found.items() if path is not None}
    if len(shown) > 1:
        shown.pop(Format.CROPS, None)
    if len(shown) > 1:
        places = ", ".join(f"{form} ({files.relative(path)})" for form, path in shown.items())
        raise DatasetError(
            f"{files.root}: several formats: {places}. Give --format NAME, or put them into "
            "separate folders."
        )
    if shown:
        return next(iter(shown))
    if files.by_suffix({".xml"}):
        return Format.VOC  # Its reader says what is wrong with them.
    raise DatasetError(
        f"{files.root}: no {LOOKED_FOR} in this folder or below it.{_hint(files, options)}"
    )


def _hint(files: DatasetFiles, options: ReadOptions) -> str:
    """What there is instead."""
    archive = next(iter(files.by_suffix(ARCHIVES)), None)
    if archive is not None:
        return " " + explain_archive(archive)
    hints = [finding.message for finding in files.findings[:1]]
    others = files.by_suffix({".json", ".csv", ".tsv", ".txt"})
    if others:
        shown = ", ".join(files.relative(path) for path in others[:3])
        hints.append(f"Not annotations, or not known: {shown}.")
    if any(path.suffix.lower() in TABLES for path in others):
        hints.append(explain_tables(files, options.columns))
    return "".join(f" {hint}" for hint in hints)
