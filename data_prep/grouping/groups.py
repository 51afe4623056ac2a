"""Photos that belong together though they may not look alike, as their dataset says."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data_prep.base.errors import DatasetError
from data_prep.base.files import sha256_of, write_atomically
from data_prep.base.photo import PhotoError, read_photo
from data_prep.base.progress import show_progress
from data_prep.base.records import AnnotatedPhoto
from data_prep.formats.exif_frame import FramedPhoto
from data_prep.grouping.duplicates import Fingerprint, describe_photo, group_near_duplicates

GROUPS = "groups.csv"
"""In a dataset's folder: `image`, below the folder, and `group`, any name. Photos with one group's
name are never split, nor are they from the photo that is called so, as `source/image`."""


def write_groups(path: Path, groups: Mapping[str, str]) -> None:
    """Write `groups.csv`.

    Args:
        path: The file.
        groups: The group of each image.

    Raises:
        OutputError: The file can't be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "group"])
    writer.writerows(sorted(groups.items()))
    write_atomically(path, text.getvalue())


def read_groups(root: Path) -> dict[str, str]:
    """The group of each image of a dataset; nothing where it has no `groups.csv`.

    Raises:
        DatasetError: The file is no table with these columns.
    """
    path = root / GROUPS
    if not path.is_file():
        return {}
    try:
        table = pd.read_csv(path, keep_default_na=False, dtype=str)
        return dict(zip(table["image"], table["group"], strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(
            f"{path}: not a table with the columns image and group ({error}); mend it, or move it "
            "away if it is not meant for grouping."
        ) from error


def join_groups(photos: Sequence[AnnotatedPhoto], groups: Sequence[str]) -> list[str]:
    """Join near-duplicate groups whose photos belong together by `groups.csv`.

    Args:
        photos: The photos of all datasets.
        groups: The near-duplicate group of each, "" of those that can't be read.

    Returns:
        The group of each, called after the first group of those that are joined.

    Raises:
        DatasetError: A `groups.csv` can't be used.
    """
    known = {root: read_groups(root) for root in dict.fromkeys(photo.root for photo in photos)}
    if not any(known.values()):
        return list(groups)
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    order: dict[str, int] = {}
    for photo, group in zip(photos, groups, strict=True):
        if not group:
            continue
        order.setdefault(f"near {group}", len(order))
        called = {f"called {photo.source}/{photo.image}"}
        if own := known[photo.root].get(photo.image):
            called.add(f"called {own}")
        for name in sorted(called):
            leader[find(name)] = find(f"near {group}")
    first: dict[str, str] = {}
    for name in order:
        first.setdefault(find(name), name.removeprefix("near "))
    return [first[find(f"near {group}")] if group else "" for group in groups]


@dataclass(frozen=True)
class LookedAt:
    """Hex SHA-256 of a photo's file ("" if it can't be read) and what is compared of it."""

    sha256: str
    fingerprint: Fingerprint | None


def look_at_photos(photos: Sequence[FramedPhoto], workers: int | None = None) -> list[LookedAt]:
    """Hash and describe photos in threads, one per core when `workers` is None."""
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        return list(show_progress(pool.map(_look_at, photos), len(photos), "comparing photos"))


def group_looked_at(photos: Sequence[FramedPhoto], looked: Sequence[LookedAt]) -> list[str]:
    """The near-duplicate group of each photo, called after its first photo as `source/image`.

    Identical files are always in one group; a photo that can't be read is in its own.
    """
    names = [f"{photo.photo.source}/{photo.photo.image}" for photo in photos]
    prints = ((index, look.fingerprint) for index, look in enumerate(looked))
    readable = [(index, print_) for index, print_ in prints if print_ is not None]
    # All of them, as `build` does: how rare a feature is depends on the photos there are.
    found = group_near_duplicates([fingerprint for _, fingerprint in readable])
    groups = {i: readable[first][0] for (i, _), first in zip(readable, found, strict=True)}
    first_of: dict[str, int] = {}
    for index in groups:
        one, other = groups[first_of.setdefault(looked[index].sha256, index)], groups[index]
        if one != other:
            groups = {i: min(one, other) if g in (one, other) else g for i, g in groups.items()}
    return [names[groups.get(index, index)] for index in range(len(names))]


def _look_at(photo: FramedPhoto) -> LookedAt:
    try:
        decoded = read_photo(photo.photo.path, fit_size=photo.photo.stated_size)
        return LookedAt(sha256_of(photo.photo.path), describe_photo(decoded.pixels))
    except (PhotoError, OSError):  # That it can't be read is a finding already, or its header is.
        return LookedAt("", None)
