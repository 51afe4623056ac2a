"""Datasets in the folder layout of YOLO: `labels/` beside `images/`, ids and shares of the photo.

As documented by Ultralytics: one text file per photo, one face per line, `id x y width height`
with the centre, or `id x1 y1 x2 y2 …` for an outline; no file, or an empty one, for a photo with
nothing on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.base.photo import PHOTO_SUFFIXES, Size, upright_size
from data_prep.formats.class_names import YAML_FILES, ClassNames
from data_prep.formats.input_files import InputError, list_files, read_text
from data_prep.formats.yolo_layout import parse_line
from evaluate.arrays import GroundTruth
from evaluate.inputs.photos import NO_SIZES, SizeSource
from evaluate.inputs.predictions import Predictions
from evaluate.inputs.rows import BoxRow, build_truth
from evaluate.inputs.text import TextFormat, list_texts, read_text_predictions

_LABELS, _IMAGES = "labels", "images"
_DEPTHS = (_LABELS, f"*/{_LABELS}", f"*/*/{_LABELS}")
"""Where label folders lie below a dataset."""


@dataclass(frozen=True)
class _Dataset:
    """Photos by name, each with its file and its label file, or None where there is none."""

    labels: dict[str, Path | None]
    photos: dict[str, Path | None]


def is_yolo(folder: Path) -> bool:
    """Whether a folder has, is, or lies in a folder of labels, or holds a data.yaml."""
    has_yaml = any((folder / name).is_file() for name in YAML_FILES)
    return has_yaml or bool(_find_label_folders(folder))


def read_yolo_truth(folder: Path, names: ClassNames, sizes: SizeSource = NO_SIZES) -> GroundTruth:
    """Read a YOLO dataset, or a part of one such as `valid` or `labels/val`.

    A photo is called by its path. Photos without a label file are photos without a face; a warning
    counts them. No face is difficult: the format can't say.

    Args:
        folder: With `labels` in it, or up to two folders further down.
        names: What the ids stand for; see `list_names_folders`.
        sizes: Sizes of the photos, for those that are not in the matching `images` folder.

    Raises:
        InputError: A line is not as it should be, the message names file and line; or class names
            or a photo's size are needed and not there.
        PhotoError: A photo can't be read.
    """
    dataset = _list_dataset(folder)
    known = _find_sizes(dataset, sizes)
    rows: list[BoxRow] = []
    for photo, path in dataset.labels.items():
        if path is not None:
            rows.extend(_read_rows(path, photo, names, known.get(photo)))
    unlabelled = [photo for photo, path in dataset.labels.items() if path is None]
    warnings = []
    if unlabelled:
        warnings.append(
            f"{len(unlabelled)} photos have no label file and are taken for photos without a face, "
            f"the first: {unlabelled[0]}"
        )
    photos = {photo: known.get(photo) for photo in dataset.labels}
    return build_truth(photos, rows, names.vocabulary, warnings, upright=True)


def read_yolo_predictions(
    folder: Path, names: ClassNames, sizes: SizeSource = NO_SIZES
) -> Predictions:
    """Read predictions in a folder `labels`, `id x y width height score` per line.

    That is what Ultralytics writes when it saves text and confidence; the score is last.

    Args:
        folder: With `labels` in it, or that folder itself.
        names: What the ids stand for; see `list_names_folders`.
        sizes: Sizes of the photos.

    Raises:
        InputError: See `box_text.read_text_predictions`; or there are several `labels`.
    """
    folders = _find_label_folders(folder)
    if len(folders) != 1:
        raise InputError(
            f"{folder}: {len(folders)} folders '{_LABELS}' here or below; give one of them."
        )
    found = read_text_predictions(folders[0], TextFormat("ultralytics", names, sizes))
    return replace(found, path=folder)


def read_yolo_sizes(folder: Path) -> dict[str, Size]:
    """Sizes of the photos of a YOLO dataset, by photo name, as far as they are there.

    Raises:
        PhotoError: A photo can't be read.
    """
    return _find_sizes(_list_dataset(folder), NO_SIZES)


def list_names_folders(folder: Path) -> list[Path]:
    """Where a dataset's class names may be: in the folder, or up to two above it."""
    path = folder.resolve()
    return [path, path / _LABELS, path.parent, path.parent.parent]


def _find_label_folders(folder: Path) -> list[Path]:
    path = folder.resolve()
    if path.name == _LABELS and path.is_dir():
        return [folder]
    if path.parent.name == _LABELS and (path.parent.parent / _IMAGES / path.name).is_dir():
        return [folder]
    return [found for depth in _DEPTHS for found in sorted(folder.glob(depth)) if found.is_dir()]


def _list_dataset(folder: Path) -> _Dataset:
    labels: dict[str, Path | None] = {}
    photos: dict[str, Path | None] = {}
    for label_folder in _find_label_folders(folder):
        images, prefix = _find_images(folder, label_folder)
        by_stem: dict[str, Path] = {}
        for path in list_files(images, PHOTO_SUFFIXES) if images.is_dir() else ():
            stem = path.relative_to(images).with_suffix("").as_posix()
            if stem in by_stem:
                raise InputError(
                    f"{path}: {by_stem[stem].name} is there too, and both have one label file."
                )
            by_stem[stem] = path
        texts = list_texts(label_folder) if list_files(label_folder, {".txt"}) else {}
        for stem in sorted({*by_stem, *texts}):
            photo = by_stem.get(stem)
            name = prefix + (stem if photo is None else photo.relative_to(images).as_posix())
            labels[name], photos[name] = texts.get(stem), photo
    if not any(labels.values()):
        raise InputError(
            f"{folder}: no label files (*.txt) in its folders '{_LABELS}'; expected is one per "
            "photo, with lines 'id x y width height'."
        )
    return _Dataset(labels, photos)


def _find_images(folder: Path, label_folder: Path) -> tuple[Path, str]:
    """The folder of the photos, and what its photos' names begin with."""
    path = label_folder.resolve()
    if path.name != _LABELS:
        # A part such as labels/val; its photos are in images/val.
        return path.parent.parent / _IMAGES / path.name, ""
    if label_folder == folder:
        return path.parent / _IMAGES, ""
    images = label_folder.parent / _IMAGES
    return images, f"{images.relative_to(folder).as_posix()}/"


def _find_sizes(dataset: _Dataset, sizes: SizeSource) -> dict[str, Size]:
    known = sizes.find(list(dataset.labels))
    for name, photo in dataset.photos.items():
        if name not in known and photo is not None:
            known[name] = upright_size(photo)
    return known


def _read_rows(path: Path, photo: str, names: ClassNames, size: Size | None) -> list[BoxRow]:
    rows = []
    for line, text in enumerate(read_text(path).split("\n"), start=1):
        where = f"{path}, line {line}"
        parsed = parse_line(text, where)
        if parsed is None:
            continue
        if size is None:
            raise InputError(
                f"{where}: the size of the photo {photo} is not known; put the photo into "
                f"'{_IMAGES}' beside '{_LABELS}', or give --photos FOLDER or --image-size W,H."
            )
        box = parsed.to_box(size, where)
        rows.append(BoxRow(where, photo, names.index(parsed.label, where), box))
    return rows
