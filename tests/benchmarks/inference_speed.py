"""How fast run.py's pipeline is, against a plain loop with the same weights in the same run.

python -m tests.benchmarks.inference_speed PHOTOS [WEIGHTS]

With WEIGHTS it is the pipeline with these, against the shipped ones, by torch and by ONNX Runtime.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
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

    def run(
        self, photos: PhotoSet, out: object = None, thresh: float = THRESH
    ) -> list[tuple[str, Box, str]]:
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


Side = Callable[[PhotoSet, Path], object]


def by_pipeline(weights: Path, engine: str = "auto") -> Side:
    """Photos as `run.py` runs them, into a folder, nothing drawn."""
    nets = Predictor.load(weights, device=CPU, thresh=THRESH, engine=engine)
    return lambda photos, out: predict_folder(photos, out, nets, draw=False)


def compare_speed(
    sides: Sequence[Side], photos: PhotoSet, out: Path, rounds: int = 3
) -> np.ndarray:
    """Photos per second of each side, rounds × sides.

    They run in turn, A B A B …, after a warm-up; all photos are read anew each time.
    """
    few = PhotoSet(photos.root, photos.images[:2])
    seconds = np.zeros((rounds, len(sides)))
    for number, side in enumerate(sides):
        side(few, out / f"warm-up-{number}")
    for number in range(rounds):
        for place, side in enumerate(sides):
            began = time.perf_counter()
            side(photos, out / f"round-{number}-{place}")
            seconds[number, place] = time.perf_counter() - began
    return len(photos.images) / seconds


def main(photos: str, weights: str | None = None, most: int = 150) -> None:
    """Compare on at most so many photos of a folder or glob."""
    with tempfile.TemporaryDirectory() as out:
        found = find_photos(photos, leave_out=Path(out))
        some = PhotoSet(found.root, found.images[:: -(-len(found.images) // most)])
        if weights is None:
            pairs = {"plain loop, pipeline": [PlainLoop(SHIPPED).run, by_pipeline(SHIPPED)]}
        else:
            pairs = {
                f"shipped, {weights} by {engine}": [
                    by_pipeline(one, engine) for one in (SHIPPED, Path(weights))
                ]
                for engine in ("torch", "onnx")
            }
        for number, (names, sides) in enumerate(pairs.items()):
            rates = compare_speed(sides, some, Path(out) / str(number))
            (before, ours), ratios = np.median(rates, axis=0), rates[:, 1] / rates[:, 0]
            log(
                f"{len(some.images)} photos, {names}: {before:.2f} and {ours:.2f} photos/s, ratio "
                f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}; "
                f"medians of {len(rates)})"
            )


if __name__ == "__main__":
    main(*sys.argv[1:3])
