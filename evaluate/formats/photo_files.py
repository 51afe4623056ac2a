"""Where the photos of a ground truth lie, for showing them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from data_prep.formats.input_files import list_files
from data_prep.photo import PHOTO_SUFFIXES
from evaluate.formats.ground_truth import FACES_FILE
from evaluate.formats.photo_names import AmbiguousPhotoError, match_names

MANIFEST = "manifest.json"
"""Beside a faces.csv: names the folder of each source."""


def find_photos(
    names: Sequence[str], ground_truth: Path, photos: Path | None = None
) -> dict[str, Path]:
    """Files of annotated photos, as far as they are found.

    Looked for in `photos` when given; else, for a faces.csv, in the folders its manifest names;
    else below the ground truth itself.

    Args:
        names: Photo names of the ground truth.
        ground_truth: What it was read from.
        photos: A folder with the photos.
    """
    table = ground_truth / FACES_FILE if ground_truth.is_dir() else ground_truth
    if photos is None and table.suffix == ".csv" and table.is_file():
        return _find_by_source(names, _read_roots(table.parent / MANIFEST))
    folder = photos or (ground_truth if ground_truth.is_dir() else ground_truth.parent)
    if not folder.is_dir():
        return {}
    files = {
        path.relative_to(folder).as_posix(): path for path in list_files(folder, PHOTO_SUFFIXES)
    }
    annotated = tuple(files)
    try:
        found = match_names(annotated, names).found
    except AmbiguousPhotoError:
        # Pictures are an extra: what can't be told apart by name is looked up by its exact path.
        return {name: files[name] for name in names if name in files}
    return {
        name: files[annotated[index]]
        for name, index in zip(names, found, strict=True)
        if index is not None
    }


def _read_roots(manifest: Path) -> dict[str, Path]:
    """Folder of each source; none without a manifest that can be read."""
    try:
        datasets = json.loads(manifest.read_text(encoding="utf-8"))["datasets"]
        return {str(entry["source"]): Path(entry["root"]) for entry in datasets}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _find_by_source(names: Sequence[str], roots: dict[str, Path]) -> dict[str, Path]:
    found = {}
    for name in names:
        source, _, image = name.partition("/")
        if source in roots and (roots[source] / image).is_file():
            found[name] = roots[source] / image
    return found
