"""Seconds per photo of every system, in turn on the same photos, so that all share the noise."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from data_prep.photo import read_photo
from data_prep.progress import show_progress
from data_prep.split import VALID
from pipeline.compare.data import SystemData
from pipeline.compare.measuring import SURE
from pipeline.predict import MaskPipeline

PHOTOS = 40
ROUNDS = 5
BATCH = 8


def time_systems(systems: Mapping[str, MaskPipeline], base: SystemData) -> dict[str, float]:
    """Time the nets alone on decoded validation photos.

    Args:
        systems: What to time, by name.
        base: Gives the photos: `PHOTOS` of them, spread evenly.

    Returns:
        Seconds per photo of each, in its fastest of `ROUNDS` rounds; the least is what the machine
        can do when nothing else disturbs it.
    """
    faces = base.faces[base.faces["split"] == VALID]
    images = sorted(set(zip(faces["source"], faces["image"], strict=True)))
    chosen = [images[i] for i in np.linspace(0, len(images) - 1, PHOTOS).round().astype(int)]
    photos = [read_photo(base.roots[source] / image).pixels for source, image in chosen]
    best = dict.fromkeys(systems, float("inf"))
    turns = [name for _ in range(ROUNDS) for name in systems]
    for name in show_progress(turns, len(turns), "timing"):
        began = time.perf_counter()
        for first in range(0, len(photos), BATCH):
            systems[name].predict(photos[first : first + BATCH], thresh=SURE)
        best[name] = min(best[name], (time.perf_counter() - began) / len(photos))
    return best
