"""From frames to faces with their classes: detector, the crop of training, classifier."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch

from data_prep.base.boxes import UPRIGHT
from data_prep.base.crop import crop_face
from data_prep.base.labels import CLASSES
from data_prep.base.records import Box
from data_prep.formats.predictions import PredictionRow
from pipeline.inference.boxes import FaceBoxes, FaceDetector
from pipeline.inference.classifier import Classifier
from pipeline.inference.detector import Detector
from pipeline.inference.engines import AUTO
from pipeline.inference.sources import Frame, Source
from pipeline.nets.cards import CLASSIFIER, DETECTOR, WeightsError
from pipeline.nets.compute import has_fast_bf16

BATCH_FRAMES = 16
BATCH_PIXELS = 24_000_000
"""A batch goes through the nets at once; large photos make smaller batches, to bound memory."""


@dataclass(frozen=True)
class Face:
    """One face that was found.

    Attributes:
        box: Pixels of the frame.
        detection: The detector's score, 0 to 1.
        probabilities: Of each class, in the order of `CLASSES`.
    """

    box: Box
    detection: float
    probabilities: tuple[float, ...]

    @property
    def label(self) -> str:
        """The likeliest class; of equal ones the first."""
        return CLASSES[int(np.argmax(self.probabilities))]

    @property
    def score(self) -> float:
        """Detection score × probability of the likeliest class."""
        return self.detection * max(self.probabilities)


def list_rows(image: str, faces: Iterable[Face], orientation: int = UPRIGHT) -> list[PredictionRow]:
    """Faces as rows of `predictions.csv`."""
    return [
        PredictionRow(image, f.box, f.label, f.score, f.detection, f.probabilities, orientation)
        for f in faces
    ]


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


@dataclass(frozen=True)
class Predictor:
    """The nets, ready for use; nothing in it changes, so threads may share it.

    Attributes:
        detector: Finds faces.
        classifier: Tells their class; None for a detector that tells classes itself.
        thresh: Least detection score of a face.
        resize: Enlargement before detection; chosen per frame when None.
    """

    detector: FaceDetector
    classifier: Classifier | None
    thresh: float = 0.5
    resize: float | None = None

    @classmethod
    def load(
        cls,
        weights: Path,
        *,
        device: torch.device,
        bf16: bool | None = None,
        engine: str = AUTO,
        detector: FaceDetector | None = None,
        thresh: float = 0.5,
        resize: float | None = None,
    ) -> Predictor:
        """Load both nets from a weights folder.

        Args:
            weights: Folder with `detector` and `classifier`, each `.safetensors` and `.json`.
            device: Where to run.
            bf16: Use bfloat16; where the processor has it when None.
            engine: What runs the nets; see `pipeline.inference.engines`.
            detector: Finds the faces in place of the folder's.
            thresh: Least detection score of a face.
            resize: Enlargement before detection; chosen per frame when None.

        Raises:
            WeightsError: Weights are missing, damaged or of another kind.
            EngineError: There is no such engine.
        """
        half = has_fast_bf16(device) if bf16 is None else bf16
        if detector is None:
            path = weights / f"{DETECTOR}.safetensors"
            detector = Detector.load(path, device=device, bf16=half, engine=engine)
        path = weights / f"{CLASSIFIER}.safetensors"
        classifier = Classifier.load(path, device=device, bf16=half, engine=engine)
        return cls(detector, classifier, thresh, resize)

    @classmethod
    def load_single(
        cls, path: Path, *, device: torch.device, bf16: bool | None = None, engine: str = AUTO
    ) -> Predictor:
        """Load a detector that tells classes, alone.

        Args:
            path: The safetensors file; its card lies beside it.
            device: Where to run.
            bf16: Use bfloat16; where the processor has it when None.
            engine: What runs the net.

        Raises:
            WeightsError: They are missing, damaged, or only find faces.
        """
        half = has_fast_bf16(device) if bf16 is None else bf16
        detector = Detector.load(path, device=device, bf16=half, engine=engine)
        if not detector.card.learnt:
            raise WeightsError(
                f"{path}: this detector tells no classes; train one with --recipe single-stage."
            )
        return cls(detector, None)

    def identify(self) -> dict[str, Any]:
        """The weights and all else that its answers depend on, as JSON holds it."""
        if self.classifier is None:
            return {"single_stage": self.detector.sha256, "bf16": [self.detector.bf16]}
        card = self.classifier.card
        return {
            "detector": self.detector.sha256,
            "classifier": card.sha256,
            "feed": [card.input_size, card.crop_scale, card.colour, card.mirror, card.temperature],
            "bf16": [self.detector.bf16, self.classifier.bf16],
        }

    def __call__(self, frames: Sequence[Frame], clock: Clock | None = None) -> list[list[Face]]:
        """The faces of several frames at once.

        Args:
            frames: Any sizes; those with an error have no faces.
            clock: Gets the seconds of `detect` and `classify`.

        Returns:
            The faces of each frame, best detection first.
        """
        clock = Clock() if clock is None else clock
        photos = [frame.pixels for frame in frames if frame.pixels is not None]
        with clock.measure("detect"):
            found = self.detector.detect(photos, resize=self.resize, min_score=self.thresh)
        with clock.measure("classify"):
            shares = iter(self._classify(photos, found))
        faces = iter(
            [
                Face(Box(*map(float, box)), float(score), tuple(next(shares)))
                for box, score in zip(boxes.boxes, boxes.scores, strict=True)
            ]
            for boxes in found
        )
        return [[] if frame.pixels is None else next(faces) for frame in frames]

    def _classify(
        self, photos: Sequence[np.ndarray], found: Sequence[FaceBoxes]
    ) -> list[list[float]]:
        """Class probabilities of all faces, photo by photo."""
        if self.classifier is None:
            return [row for boxes in found for row in boxes.classes().tolist()]
        crops = [
            crop_face(photo, Box(*map(float, box)), self.classifier.card.crop_scale)
            for photo, boxes in zip(photos, found, strict=True)
            for box in boxes.boxes
        ]
        rows: list[list[float]] = self.classifier.classify(crops).tolist()
        return rows

    def predict(
        self, source: Source | Iterable[Frame], clock: Clock | None = None
    ) -> Iterator[tuple[Frame, list[Face]]]:
        """Each frame of a source with its faces, as soon as its batch is done.

        Args:
            source: Any number of frames; only those of a batch are held at once.
            clock: Gets the seconds of `decode`, `detect` and `classify`.
        """
        for batch in _batches(source):
            if clock is not None:
                clock.add("decode", sum(frame.seconds for frame in batch))
            yield from zip(batch, self(batch, clock), strict=True)


def _batches(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    for frame in frames:
        batch.append(frame)
        pixels = sum(width * height for width, height in (one.size for one in batch))
        if len(batch) == BATCH_FRAMES or pixels >= BATCH_PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch
