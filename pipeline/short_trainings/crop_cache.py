"""Crops in memory, decoded once and shrunk: short trainings read them many times over."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from data_prep.crop import resize_crop
from data_prep.photo import read_photo
from data_prep.progress import show_progress

WORKERS = 4


def load_crops(paths: Iterable[str], side: int) -> dict[str, np.ndarray]:
    """Decode crops and shrink those larger than a short training looks at.

    Args:
        paths: Crop files.
        side: Longest side in pixels that is kept; smaller crops stay as they are.

    Returns:
        By path, side × side × 3, uint8, RGB.

    Raises:
        PhotoError: A crop can't be read.
    """
    wanted = sorted(set(paths))

    def load(path: str) -> np.ndarray:
        pixels = read_photo(Path(path)).pixels
        return resize_crop(pixels, side) if pixels.shape[0] > side else pixels

    with ThreadPoolExecutor(WORKERS) as pool:
        loaded = show_progress(pool.map(load, wanted), len(wanted), "reading crops")
        return dict(zip(wanted, loaded, strict=True))
