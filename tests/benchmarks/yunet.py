"""YuNet in place of our detector, through OpenCV, measured on the validation split.

python -m tests.benchmarks.yunet PREPARED face_detection_yunet_2023mar.onnx

Wu et al. 2023, "YuNet: a tiny millisecond-level face detector".
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
import torch

from data_prep.base.files import sha256_of
from data_prep.base.progress import log
from pipeline.experiments.measure import THRESH, MeasureOptions, describe_results, measure_weights
from pipeline.inference.boxes import MAX_FACES, MIN_SCORE, NMS_IOU, FaceBoxes
from pipeline.inference.detector import choose_factor, scale_photo, scaled_size
from pipeline.inference.predictor import Predictor
from pipeline.nets.cards import WeightsError
from pipeline.nets.options import SHIPPED

PROBE = 64  # Side in pixels of the black photo that a model is tried on when it is loaded.


class YuNetDetector:
    """YuNet with the enlargement rule and outputs of `Detector`, on one scale only.

    Raises:
        WeightsError: The file can't be read, or is no YuNet.
    """

    device: str = "cpu"
    bf16: bool = False
    quality: str = "normal"

    def __init__(self, model: Path) -> None:
        try:
            self.sha256 = sha256_of(model)
            # From memory: OpenCV opens no path with letters beyond the system's code page.
            data = np.fromfile(model, np.uint8)
        except OSError as error:
            raise WeightsError(f"{model}: can't be read ({error.strerror or error}).") from error
        nothing = np.empty(0, np.uint8)
        try:
            self._net = cv2.FaceDetectorYN.create("onnx", data, nothing, (PROBE, PROBE))
            self._net.detect(np.zeros((PROBE, PROBE, 3), np.uint8))
        except cv2.error as error:
            raise WeightsError(
                f"{model}: not a YuNet model OpenCV can run; face_detection_yunet_2023mar.onnx of "
                "OpenCV's model zoo is one."
            ) from error
        self._turn = Lock()
        self._net.setNMSThreshold(NMS_IOU)
        self._net.setTopK(10 * MAX_FACES)

    def detect(
        self,
        photos: Sequence[np.ndarray],
        *,
        resize: float | None = None,
        min_score: float = MIN_SCORE,
    ) -> list[FaceBoxes]:
        """Find the faces of several photos, one after the other; as `Detector` does."""
        with self._turn:  # OpenCV's detector keeps threshold and size of the photo in itself.
            self._net.setScoreThreshold(min_score)
            return [
                self._detect_one(photo, choose_factor(photo.shape[1], photo.shape[0], resize))
                for photo in photos
            ]

    def _detect_one(self, photo: np.ndarray, factor: float) -> FaceBoxes:
        scaled = cv2.cvtColor(scale_photo(photo, scaled_size(photo, factor)), cv2.COLOR_RGB2BGR)
        height, width = scaled.shape[:2]
        self._net.setInputSize((width, height))
        found = self._net.detect(scaled)[1]
        rows = np.zeros((0, 15), np.float32) if found is None else found[:MAX_FACES]
        ratio = np.array([photo.shape[1] / width, photo.shape[0] / height], np.float32)
        corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        limit = np.tile(np.array(photo.shape[1::-1], np.float32), 2)
        boxes = np.clip(corners * np.tile(ratio, 2), 0, limit)
        order = np.argsort(-rows[:, 14], kind="stable")
        real = order[(boxes[order, 2:] - boxes[order, :2]).min(axis=1, initial=np.inf) >= 1]
        landmarks = rows[:, 4:14].reshape(-1, 5, 2) * ratio
        return FaceBoxes(boxes[real], rows[real, 14], landmarks[real])


if __name__ == "__main__":
    prepared, model = map(Path, sys.argv[1:])
    predictor = Predictor.load(
        SHIPPED, device=torch.device("cpu"), detector=YuNetDetector(model), thresh=THRESH
    )
    log(describe_results(measure_weights(MeasureOptions(prepared), predictor)))
