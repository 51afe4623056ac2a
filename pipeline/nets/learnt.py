"""Which photos a net learnt from: what its card keeps of each, and how a photo is known again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from data_prep.base.files import read_object, sha256_of
from data_prep.base.photo import PhotoError, read_photo
from data_prep.base.progress import show_progress
from pipeline.nets.options import SHIPPED

if TYPE_CHECKING:
    import pandas as pd

SIDE, LOW = 32, 8
"""Pixels a side of the grey thumbnail, and how many of its lowest frequencies a side are kept."""

NEAR = 6
"""Bits of 64 by which two looks of the same photo may differ. Of 391 training photos all are known
again when re-encoded at quality 20, quartered or doubled, stretched by a tenth or mirrored,
385 when made brighter, 317 with 2 % cut from two sides, 29 with 5 %; none of 292 validation photos
and 2074 of a third set is taken for one of the 1171 (`tests/benchmarks/known_photos.py`)."""

_BITS = np.arange(LOW * LOW, dtype=np.uint64)[::-1]
_ODD = int(sum(1 << int(bit) for bit in _BITS.reshape(LOW, LOW)[:, 1::2].flat))


def hash_look(pixels: np.ndarray) -> int:
    """64 bits of how an upright photo, height × width × 3, uint8, RGB, looks.

    The signs of the lowest frequencies of the cosine transform of a grey thumbnail, after Zauner
    2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"; mirroring the photo
    flips those of the odd columns.
    """
    step = max(1, min(pixels.shape[:2]) // (8 * SIDE))  # Of a large photo some pixels tell as much.
    small = cv2.resize(pixels[::step, ::step], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    waves = cv2.dct(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32))
    signs = (waves[:LOW, :LOW] > 0).ravel()
    return int((signs.astype(np.uint64) << _BITS).sum())


def fingerprint_photo(pixels: np.ndarray, path: Path | None = None) -> str:
    """What a card keeps of a photo: 16 hex digits of its file's SHA-256, a dash, 16 of its look.

    Pixels are the upright photo's; without a file there are no digits before the dash.
    """
    return f"{sha256_of(path)[:16] if path else ''}-{hash_look(pixels):016x}"


def list_photos(
    faces: pd.DataFrame,
    roots: Mapping[str, Path],
    log: Callable[[str], object],
    begun_with: Iterable[str] = (),
) -> tuple[str, ...]:
    """Fingerprints of the photos of some rows of `faces.csv`, sorted.

    With those on the cards of the weights that a training is begun with: weights files, or
    `detector` for the shipped one. None where they would not tell all: a photo can't be read, or a
    dataset has crops of faces only.
    """
    import pandas as pd

    middle = faces[["xmin", "ymin"]].to_numpy() + faces[["xmax", "ymax"]].to_numpy()
    aside = np.abs(middle - faces[["width", "height"]].to_numpy()).max(axis=1) > 1.5
    if not pd.Series(aside).groupby(faces["source"].to_numpy()).any().all():
        log("note: crops have no photos, so the card will not tell which the net learnt from.")
        return ()
    photos = faces[["source", "image"]].drop_duplicates().itertuples(index=False)
    paths = [roots[source] / image for source, image in photos]

    def read(path: Path) -> str:
        return fingerprint_photo(read_photo(path, upright=True).pixels, path)

    try:
        with ThreadPoolExecutor(2) as readers:
            found = show_progress(readers.map(read, paths), len(paths), "training photos")
            listed = set(found)
    except (OSError, PhotoError) as error:
        log(f"note: {error} So the card will not tell which photos the net learnt from.")
        return ()
    for name in begun_with:
        path = SHIPPED / name if name == "detector" else Path(name)
        listed |= set((read_object(path.with_suffix(".json")) or {}).get("training_photos", ()))
    return tuple(sorted(listed))


@lru_cache(4)
def know_photos(*lists: tuple[str, ...]) -> KnownPhotos:
    """`KnownPhotos` of the lists of several cards."""
    return KnownPhotos(chain.from_iterable(lists))


class KnownPhotos:
    """Photos that nets learnt from, by their fingerprints."""

    def __init__(self, fingerprints: Iterable[str]) -> None:
        listed = sorted(set(fingerprints))
        pairs = [fingerprint.split("-") for fingerprint in listed]
        self.digest = hashlib.sha256("\n".join(listed).encode()).hexdigest()
        self._files = {file for file, _ in pairs}
        self._looks = np.array([int(look, 16) for _, look in pairs], np.uint64)

    def tell(self, fingerprint: str) -> str:
        """`exact` for the very file, `near` for one that looks the same or mirrored, or nothing."""
        file, _, look = fingerprint.partition("-")
        if file in self._files:
            return "exact"
        if not look or not len(self._looks):
            return ""
        looks = np.array([int(look, 16), int(look, 16) ^ _ODD], np.uint64)
        return "near" if np.bitwise_count(self._looks ^ looks[:, None]).min() <= NEAR else ""
