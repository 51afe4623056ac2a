"""Photos of several sources looked at for near-duplicates and identical files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from data_prep.duplicates import Fingerprint, describe_photo, group_near_duplicates
from data_prep.files import sha256_of
from data_prep.framed import FramedPhoto
from data_prep.photo import PhotoError, read_photo
from data_prep.progress import show_progress


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
