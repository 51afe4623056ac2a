"""One network for both stages: the detector's scores tell the classes, nothing is cropped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep.records import Box
from pipeline.compute import has_fast_bf16
from pipeline.detector import Detector
from pipeline.predict import FacePrediction
from pipeline.weights import WeightsError


@dataclass
class SingleStage:
    """A detector that tells classes, behind the interface of `TwoStage`.

    Attributes:
        detector: Its card names the classes that it learnt.
        seconds: Time spent so far.
    """

    detector: Detector
    seconds: dict[str, float] = field(default_factory=lambda: {"detect": 0.0})

    @classmethod
    def load(cls, path: Path, *, device: torch.device, bf16: bool | None = None) -> SingleStage:
        """Load checked weights.

        Args:
            path: The safetensors file; its card lies beside it.
            device: Where to run.
            bf16: Use bfloat16; where the processor has it when None.

        Raises:
            WeightsError: They are missing, damaged, or only find faces.
        """
        half = has_fast_bf16(device) if bf16 is None else bf16
        detector = Detector.load(path, device=device, bf16=half)
        if not detector.card.learnt:
            raise WeightsError(
                f"{path}: this detector tells no classes; train one with --recipe single-stage."
            )
        return cls(detector)

    def identify(self) -> dict[str, Any]:
        """All that its answers depend on, as JSON holds it."""
        return {"single_stage": self.detector.sha256, "bf16": [self.detector.bf16]}

    def predict(
        self, photos: Sequence[np.ndarray], *, thresh: float, resize: float | None = None
    ) -> list[list[FacePrediction]]:
        """Find and classify the faces of several photos at once; see `TwoStage.predict`."""
        began = time.perf_counter()
        found = self.detector.detect(photos, resize=resize, min_score=thresh)
        self.seconds["detect"] += time.perf_counter() - began
        return [
            [
                FacePrediction(Box(*map(float, box)), float(score), tuple(shares.tolist()))
                for box, score, shares in zip(
                    faces.boxes, faces.scores, _classes_of(faces.probabilities), strict=True
                )
            ]
            for faces in found
        ]


def _classes_of(probabilities: np.ndarray | None) -> np.ndarray:
    if probabilities is None:
        raise TypeError("the detector tells no classes")
    return probabilities
