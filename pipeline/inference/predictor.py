"""Both stages on decoded photos: detector, the crop of training, classifier."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from data_prep.base.crop import crop_face
from data_prep.base.labels import CLASSES
from data_prep.base.records import Box
from pipeline.inference.classifier import Classifier
from pipeline.inference.detector import Detector
from pipeline.inference.yunet import FaceDetector
from pipeline.nets.cards import CLASSIFIER, DETECTOR
from pipeline.nets.compute import has_fast_bf16


@dataclass(frozen=True)
class FacePrediction:
    """One face.

    Attributes:
        box: Pixels of the photo as given to the pipeline.
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


class MaskPipeline(Protocol):
    """From photos to faces with their classes, in one stage or two.

    Attributes:
        detector: Finds faces.
        seconds: Time spent in each stage so far.
    """

    @property
    def detector(self) -> FaceDetector: ...  # noqa: D102

    @property
    def seconds(self) -> dict[str, float]: ...  # noqa: D102

    def identify(self) -> dict[str, Any]: ...  # noqa: D102

    def predict(  # noqa: D102
        self, photos: Sequence[np.ndarray], *, thresh: float, resize: float | None = None
    ) -> list[list[FacePrediction]]: ...


@dataclass
class TwoStage:
    """Detector and classifier as one.

    Attributes:
        detector: Finds faces.
        classifier: Tells their class.
        seconds: Time spent in each stage so far.
    """

    detector: FaceDetector
    classifier: Classifier
    seconds: dict[str, float] = field(default_factory=lambda: {"detect": 0.0, "classify": 0.0})

    @classmethod
    def load(
        cls,
        weights: Path,
        *,
        device: torch.device,
        bf16: bool | None = None,
        detector: FaceDetector | None = None,
    ) -> TwoStage:
        """Load both nets from a weights folder.

        Args:
            weights: Folder with `detector` and `classifier`, each `.safetensors` and `.json`.
            device: Where to run.
            bf16: Use bfloat16; where the processor has it when None.
            detector: Finds the faces in place of the folder's.

        Raises:
            WeightsError: Weights are missing, damaged or of another kind.
        """
        half = has_fast_bf16(device) if bf16 is None else bf16
        if detector is None:
            detector = Detector.load(weights / f"{DETECTOR}.safetensors", device=device, bf16=half)
        path = weights / f"{CLASSIFIER}.safetensors"
        return cls(detector, Classifier.load(path, device=device, bf16=half))

    def identify(self) -> dict[str, Any]:
        """All that its answers depend on, as JSON holds it."""
        card = self.classifier.card
        return {
            "detector": self.detector.sha256,
            "classifier": card.sha256,
            "feed": [card.input_size, card.crop_scale, card.colour, card.mirror, card.temperature],
            "bf16": [self.detector.bf16, self.classifier.bf16],
        }

    def predict(
        self, photos: Sequence[np.ndarray], *, thresh: float, resize: float | None = None
    ) -> list[list[FacePrediction]]:
        """Find and classify the faces of several photos at once.

        Args:
            photos: Each height × width × 3, uint8, RGB.
            thresh: Least detection score of a face.
            resize: Enlargement before detection; chosen per photo when None.

        Returns:
            The faces of each photo, best detection first.
        """
        began = time.perf_counter()
        found = self.detector.detect(photos, resize=resize, min_score=thresh)
        detected = time.perf_counter()
        crops = [
            crop_face(photo, Box(*map(float, box)), self.classifier.card.crop_scale)
            for photo, faces in zip(photos, found, strict=True)
            for box in faces.boxes
        ]
        probabilities = iter(self.classifier.classify(crops).tolist())
        self.seconds["detect"] += detected - began
        self.seconds["classify"] += time.perf_counter() - detected
        return [
            [
                FacePrediction(Box(*map(float, box)), float(score), tuple(next(probabilities)))
                for box, score in zip(faces.boxes, faces.scores, strict=True)
            ]
            for faces in found
        ]
