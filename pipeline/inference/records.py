"""What sources, nets and sinks hand each other."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from data_prep.base.boxes import UPRIGHT
from data_prep.base.labels import CLASSES
from data_prep.base.records import Box
from data_prep.formats.predictions import PredictionRow

BATCH_FRAMES = 16
BATCH_PIXELS = 24_000_000
"""A batch goes through the nets at once; large photos make smaller batches, to bound memory."""


@dataclass(frozen=True)
class Frame:
    """One picture of a source, or the reason why there is none."""

    name: str  # Within the source, forward slashes.
    index: int = 0  # Its place in the source.
    pixels: np.ndarray | None = None  # Height × width × 3, uint8, RGB, upright.
    error: str = ""  # Why it can't be read.
    orientation: int = UPRIGHT  # EXIF orientation that the pixels were turned upright by.
    time_s: float | None = None  # Since the start of a video; None for photos.
    stamp: tuple[int, int] = (-1, -1)  # Bytes, and time of change (ns), before it was read.
    seconds: float = 0.0  # What reading and decoding took.
    fingerprint: str = ""  # By which a photo that nets learnt from is known again.
    learnt: str = ""  # Whether the weights learnt from it, as in `PhotoRow`.
    salvaged: int = 0  # Stored rows are there of a photo that lacks its end; 0 if it is whole.

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels; 0 when it can't be read."""
        return (0, 0) if self.pixels is None else (self.pixels.shape[1], self.pixels.shape[0])


@dataclass(frozen=True)
class Face:
    """One face that was found."""

    box: Box  # Pixels of the frame.
    detection: float  # The detector's score, 0 to 1.
    probabilities: tuple[float, ...]  # Of each class, in the order of `CLASSES`.
    looks: tuple[float, ...] = field(default=(), compare=False)  # See `looks.LOOKS`.
    track: int | None = None  # The person's number in a video.
    held: str = ""  # The person's class so far.
    unsure: str | None = None
    """Empty where the class is sure, else those it may be of, `a|b`, or `none`; None: not asked."""

    @property
    def label(self) -> str:
        """The person's class where known, else the likeliest; of equal ones the first."""
        return self.held or CLASSES[int(np.argmax(self.probabilities))]

    @property
    def score(self) -> float:
        """Detection score × probability of the label."""
        return self.detection * self.probabilities[CLASSES.index(self.label)]


def list_rows(image: str, faces: Iterable[Face], orientation: int = UPRIGHT) -> list[PredictionRow]:
    """Faces as rows of `predictions.csv`."""
    return [
        PredictionRow(
            *(image, f.box, f.label, f.score, f.detection, f.probabilities, orientation),
            unsure=f.unsure,
        )
        for f in faces
    ]


def round_box(box: Box) -> Box:
    """Pixels as in the table."""
    return Box(*(round(float(value), 2) for value in box))


class Clock:
    """Seconds spent in each stage, summed over all threads that use it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = Lock()

    def add(self, stage: str, seconds: float) -> None:
        """Count seconds for a stage."""
        with self._lock:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Count what the block takes."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - began)
