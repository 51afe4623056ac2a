"""How fast run.py's pipeline is, against a plain loop with the same weights in the same run.

python -m tests.benchmarks.inference_speed PHOTOS
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from data_prep.base.crop import crop_face, fit_crop
from data_prep.base.photo import read_photo
from data_prep.base.progress import log
from data_prep.base.records import Box
from pipeline.inference.detector import Detector
from pipeline.inference.folder import predict_folder
from pipeline.inference.predictor import Predictor
from pipeline.inference.sources import PhotoSet, find_photos
from pipeline.nets.anchors import make_anchors
from pipeline.nets.cards import ClassifierCard, DetectorCard, load_weights
from pipeline.nets.classifiers import fill_net
from pipeline.nets.options import SHIPPED
from pipeline.nets.retinaface import RetinaFace

CPU = torch.device("cpu")
THRESH = 0.3


class PlainLoop:
    """Both nets as torch gives them: float32, nothing folded, nothing batched."""

    def __init__(self, weights: Path) -> None:
        path = weights / "detector.safetensors"
        self.detector = Detector.load(path, device=CPU)
        net = RetinaFace(self.detector.card.negative_slope)
        net.load_state_dict(load_weights(path, DetectorCard)[0])
        self.net = net.eval()
        self.detector.engine = self._find
        path = weights / "classifier.safetensors"
        state, self.card = load_weights(path, ClassifierCard)
        self.classifier: nn.Module = fill_net(state, self.card.architecture, path).eval()

    def run(self, photos: PhotoSet, thresh: float = THRESH) -> list[tuple[str, Box, str]]:
        """One photo after the other, anchors made anew, one classifier call for each face."""
        faces = []
        for image in photos.images:
            photo = read_photo(photos.root / image, upright=True).pixels
            make_anchors.cache_clear()
            for values in self.detector.detect([photo], min_score=thresh)[0].boxes:
                box = Box(*map(float, values))
                probabilities = self._classify(crop_face(photo, box, self.card.crop_scale))
                faces.append((image, box, self.card.classes[int(probabilities.argmax())]))
        return faces

    def _find(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        with torch.inference_mode():
            return tuple(out.numpy() for out in self.net(torch.tensor(batch)))

    def _classify(self, crop: np.ndarray) -> Tensor:
        fitted = torch.from_numpy(fit_crop(crop, self.card.input_size, self.card.colour))
        inputs = fitted.permute(2, 0, 1)[None].float() / 255
        mean, std = (inputs.new_tensor(v)[:, None, None] for v in (self.card.mean, self.card.std))
        inputs = (inputs - mean) / std
        looks = [inputs, inputs.flip(3)] if self.card.mirror else [inputs]
        with torch.inference_mode():
            return self.classifier(torch.cat(looks)).softmax(dim=1).mean(dim=0)


def compare_speed(photos: PhotoSet, weights: Path, out: Path, rounds: int = 3) -> np.ndarray:
    """Photos per second of the plain loop and of the pipeline, rounds × 2.

    Both sides run in turn, A B A B …, after a warm-up; all photos are read anew each time.
    """
    plain, ours = PlainLoop(weights), Predictor.load(weights, device=CPU, thresh=THRESH)
    few = PhotoSet(photos.root, photos.images[:2])
    plain.run(few)
    predict_folder(few, out / "warm-up", ours, draw=False)
    seconds = np.zeros((rounds, 2))
    for number in range(rounds):
        began = time.perf_counter()
        plain.run(photos)
        between = time.perf_counter()
        predict_folder(photos, out / f"round-{number}", ours, draw=False)
        seconds[number] = between - began, time.perf_counter() - between
    return len(photos.images) / seconds


def main(photos: str, most: int = 150) -> None:
    """Compare on at most so many photos of a folder or glob."""
    with tempfile.TemporaryDirectory() as out:
        found = find_photos(photos, leave_out=Path(out))
        some = PhotoSet(found.root, found.images[:: -(-len(found.images) // most)])
        rates = compare_speed(some, SHIPPED, Path(out))
    plain, ours = np.median(rates, axis=0)
    log(
        f"{len(some.images)} photos: plain loop {plain:.2f} photos/s, pipeline {ours:.2f} "
        f"photos/s, ratio {np.median(rates[:, 1] / rates[:, 0]):.2f} (medians of {len(rates)})"
    )


if __name__ == "__main__":
    main(sys.argv[1])
