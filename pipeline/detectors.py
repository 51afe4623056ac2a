"""The detectors there are, and how one is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from pipeline.face_boxes import FaceBoxes
from pipeline.weights import WeightsError
from pipeline.yunet import YuNetDetector

RETINAFACE, YUNET = "retinaface", "yunet"


class FaceDetector(Protocol):
    """What finds faces: RetinaFace, or another with the same answers.

    Attributes:
        sha256: Of its weights, in hex.
        bf16: Whether it runs in bfloat16.
    """

    @property
    def sha256(self) -> str: ...  # noqa: D102

    @property
    def device(self) -> torch.device: ...  # noqa: D102

    @property
    def bf16(self) -> bool: ...  # noqa: D102

    def detect(  # noqa: D102
        self, photos: Sequence[np.ndarray], *, resize: float | None = None, min_score: float = ...
    ) -> list[FaceBoxes]: ...


def choose_detector(name: str, model: Path | None) -> FaceDetector | None:
    """The detector that is asked for; None for the one of the weights folder.

    Args:
        name: `retinaface` or `yunet`.
        model: The model file, for `yunet` only.

    Raises:
        WeightsError: An unknown name, a model that is missing, superfluous, or can't be used.
    """
    if name == YUNET:
        if model is None:
            raise WeightsError(
                "--detector yunet needs --detector-model FILE, such as "
                "face_detection_yunet_2023mar.onnx of OpenCV's model zoo."
            )
        return YuNetDetector(model)
    if name != RETINAFACE:
        raise WeightsError(f"unknown detector '{name}': use {RETINAFACE} or {YUNET}.")
    if model is not None:
        raise WeightsError("--detector-model is for --detector yunet; retinaface is in --weights.")
    return None
