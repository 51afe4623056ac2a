"""Photos that belong together though they may not look alike, as their dataset says."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd

from data_prep.base.errors import DatasetError
from data_prep.base.files import sha256_of, write_atomically
from data_prep.base.photo import PhotoError, read_photo
from data_prep.base.progress import show_progress
from data_prep.base.records import AnnotatedPhoto
from data_prep.formats.exif_frame import FramedPhoto
from data_prep.grouping.duplicates import find_leaders, group_near_duplicates
from data_prep.grouping.fingerprints import Fingerprint, Fingerprints, describe_photo

AT_ONCE = 1000  # Photos that threads are given at a time.

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


def group_photos(
    photos: Sequence[AnnotatedPhoto],
    prints: Sequence[Fingerprint],
    readable: Sequence[int],
    hashes: Sequence[str] = (),
) -> list[str]:
    """The group of each photo, called after its first photo as `source/image`.

    In one group are near-duplicates, photos that belong together by `groups.csv`, and identical
    files, if `hashes` are given, "" for those unknown. The fingerprints are those of the photos
    that are `readable`, by their rising numbers.
    """
    # All of them at once: how rare a feature is depends on the photos there are.
    found = group_near_duplicates(prints)
    links = [(readable[first], index) for index, first in zip(readable, found, strict=True)]
    known = {root: read_groups(root) for root in dict.fromkeys(photo.root for photo in photos)}
    first_of: dict[str, int] = {}
    for index, photo in enumerate(photos):
        ties = [f"called {photo.name}"]
        if own := known[photo.root].get(photo.image):
            ties.append(f"called {own}")
        if hashes and hashes[index]:
            ties.append(f"bytes {hashes[index]}")
        links += [(first_of.setdefault(tie, index), index) for tie in ties]
    return [photos[leader].name for leader in find_leaders(len(photos), links)]


def map_photos(
    look: Callable[[Any], Any], photos: Sequence[Any], workers: int | None, what: str
) -> Iterator[Any]:
    """What a function makes of each, in threads, one per core when `workers` is None."""
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        starts = range(0, len(photos), AT_ONCE)
        looks = (found for at in starts for found in pool.map(look, photos[at : at + AT_ONCE]))
        yield from show_progress(looks, len(photos), what)


def look_at_photos(
    photos: Sequence[FramedPhoto], workers: int | None = None
) -> tuple[list[str], list[str]]:
    """Hex SHA-256 of each photo's file, "" if it can't be read; the group of each, see above."""
    hashes = []
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Fingerprints(Path(folder, "photos"))) as prints,
    ):
        for sha256, fingerprint in map_photos(_look_at, photos, workers, "comparing photos"):
            hashes.append(sha256)
            prints.append(fingerprint)
        alone = [photo.photo for photo in photos]
        return hashes, group_photos(alone, prints, prints.numbers, hashes)


def _look_at(photo: FramedPhoto) -> tuple[str, Fingerprint | None]:
    try:
        decoded = read_photo(photo.photo.path, fit_size=photo.photo.stated_size)
        return sha256_of(photo.photo.path), describe_photo(decoded.pixels)
    except (PhotoError, OSError):  # That it can't be read is a finding already, or its header is.
        return "", None
