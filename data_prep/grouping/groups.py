"""Photos that belong together though they may not look alike, as their dataset says."""

from __future__ import annotations

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
from data_prep.grouping.duplicates import (
    Fingerprint,
    describe_photo,
    find_leaders,
    group_near_duplicates,
)

GROUPS = "groups.csv"
"""In a dataset's folder: `image`, below the folder, and `group`, any name. Photos with one group's
name are never split, nor are they from the photo that is called so, as `source/image`."""


def write_groups(path: Path, groups: Mapping[str, str]) -> None:
    """Write `groups.csv`."""
    table = pd.DataFrame(sorted(groups.items()), columns=["image", "group"])
    write_atomically(path, table.to_csv(index=False, lineterminator="\n"))


def read_groups(root: Path) -> dict[str, str]:
    """The group of each image of a dataset; nothing where it has no `groups.csv`."""
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


def name_groups(
    photos: Sequence[AnnotatedPhoto], fingerprints: Sequence[Fingerprint | None]
) -> list[str]:
    """The near-duplicate group of each photo, called after its first photo as `source/image`.

    The group is "" where there is no fingerprint, since the photo can't be read.
    """
    readable = [index for index, print_ in enumerate(fingerprints) if print_ is not None]
    # All of them at once: how rare a feature is depends on the photos there are.
    found = group_near_duplicates([print_ for print_ in fingerprints if print_ is not None])
    groups = [""] * len(photos)
    for index, first in zip(readable, found, strict=True):
        groups[index] = photos[readable[first]].name
    return groups


def join_groups(
    photos: Sequence[AnnotatedPhoto], groups: Sequence[str], hashes: Sequence[str] = ()
) -> list[str]:
    """Join near-duplicate groups whose photos belong together by `groups.csv`, or are one file.

    `hashes` are those of the files, "" if unknown. A joined group is called after its first one; a
    photo in no group ("") stays in none.
    """
    known = {root: read_groups(root) for root in dict.fromkeys(photo.root for photo in photos)}
    first: dict[str, int] = {}
    links: list[tuple[int, int]] = []
    for index, (photo, group) in enumerate(zip(photos, groups, strict=True)):
        if not group:
            continue
        ties = [f"near {group}", f"called {photo.name}"]
        if own := known[photo.root].get(photo.image):
            ties.append(f"called {own}")
        if hashes and hashes[index]:
            ties.append(f"bytes {hashes[index]}")
        links += [(first.setdefault(tie, index), index) for tie in ties]
    return [groups[leader] for leader in find_leaders(len(photos), links)]


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
    """The group of each photo: near-duplicates, identical files, and what `groups.csv` joins.

    A photo that can't be read is in its own.
    """
    annotated = [photo.photo for photo in photos]
    near = name_groups(annotated, [look.fingerprint for look in looked])
    groups = [group or photo.name for group, photo in zip(near, annotated, strict=True)]
    return join_groups(annotated, groups, [look.sha256 for look in looked])


def _look_at(photo: FramedPhoto) -> LookedAt:
    try:
        decoded = read_photo(photo.photo.path, fit_size=photo.photo.stated_size)
        return LookedAt(sha256_of(photo.photo.path), describe_photo(decoded.pixels))
    except (PhotoError, OSError):  # That it can't be read is a finding already, or its header is.
        return LookedAt("", None)
