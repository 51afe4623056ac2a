"""How fast the pipeline is, against a plain loop with the same weights in the same run."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
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
from pipeline.nets.cards import CLASSIFIER, DETECTOR, ClassifierCard, DetectorCard, load_weights
from pipeline.nets.classifiers import fill_net
from pipeline.nets.options import SHIPPED
from pipeline.nets.retinaface import RetinaFace, make_anchors


@dataclass(frozen=True)
class Comparison:
    """Outcome of a benchmark.

    Attributes:
        photos, faces: How many of each went through one side.
        plain, ours: Photos per second of each side in each round.
    """

    photos: int
    faces: int
    plain: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Median over the rounds of ours / plain."""
        return float(np.median(np.array(self.ours) / np.array(self.plain)))

    def describe(self) -> str:
        """The outcome in one line."""
        return (
            f"{self.photos} photos, {self.faces} faces: plain loop "
            f"{np.median(self.plain):.2f} photos/s, pipeline {np.median(self.ours):.2f} photos/s, "
            f"ratio {self.ratio:.2f} (medians of {len(self.plain)} rounds)"
        )


@dataclass(frozen=True)
class PlainEngine:
    """A net as it is, in float32."""

    net: nn.Module
    device: torch.device

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """Its outputs for a batch."""
        with torch.inference_mode():
            return tuple(out.cpu().numpy() for out in self.net(torch.tensor(batch).to(self.device)))


@dataclass(frozen=True)
class PlainLoop:
    """Both nets as torch gives them: float32, nothing folded, nothing batched.

    Attributes:
        detector: Only its net is plain; finding and decoding are those of the pipeline.
        classifier: The bare network.
        card: How to feed it.
    """

    detector: Detector
    classifier: nn.Module
    card: ClassifierCard

    @classmethod
    def load(cls, weights: Path, device: torch.device) -> PlainLoop:
        """Load the shipped or other weights.

        Raises:
            WeightsError: They are missing or damaged.
        """
        path = weights / f"{DETECTOR}.safetensors"
        detector = Detector.load(path, device=device)
        net = RetinaFace(detector.card.negative_slope)
        net.load_state_dict(load_weights(path, DetectorCard)[0])
        detector.engine = PlainEngine(net.eval().to(device), device)
        path = weights / f"{CLASSIFIER}.safetensors"
        state, card = load_weights(path, ClassifierCard)
        return cls(detector, fill_net(state, card.architecture, path).eval().to(device), card)

    def run(self, photos: PhotoSet, *, thresh: float) -> list[tuple[str, Box, str]]:
        """One photo after the other, anchors made anew, one classifier call for each face.

        Args:
            photos: Which ones.
            thresh: Least detection score.

        Returns:
            Photo, box and class of every face.
        """
        faces = []
        for image in photos.images:
            photo = read_photo(photos.root / image, upright=True).pixels
            make_anchors.cache_clear()
            for values in self.detector.detect([photo], min_score=thresh)[0].boxes:
                box = Box(*map(float, values))
                probabilities = self._classify(crop_face(photo, box, self.card.crop_scale))
                faces.append((image, box, self.card.classes[int(probabilities.argmax())]))
        return faces

    def _classify(self, crop: np.ndarray) -> Tensor:
        fitted = fit_crop(crop, self.card.input_size, self.card.colour)
        pixels = torch.from_numpy(fitted).to(self.detector.device)
        inputs = pixels.permute(2, 0, 1)[None].float() / 255
        mean, std = (inputs.new_tensor(v)[:, None, None] for v in (self.card.mean, self.card.std))
        inputs = (inputs - mean) / std
        looks = [inputs, inputs.flip(3)] if self.card.mirror else [inputs]
        with torch.inference_mode():
            return self.classifier(torch.cat(looks)).softmax(dim=1).mean(dim=0, keepdim=True)


def compare_speed(
    photos: PhotoSet,
    weights: Path,
    out: Path,
    *,
    device: torch.device,
    thresh: float,
    rounds: int,
    say: Callable[[str], None],
) -> Comparison:
    """Time both sides in turn, A B A B …, after a warm-up.

    Args:
        photos: Which ones; all are read anew in every round by both sides.
        weights: Weights folder, the same for both.
        out: An empty folder for the tables of our side.
        device: Where both run.
        thresh: Least detection score.
        rounds: How often each side runs.
        say: Gets a line per round.
    """
    plain = PlainLoop.load(weights, device)
    ours = Predictor.load(weights, device=device, thresh=thresh)
    few = PhotoSet(photos.root, photos.images[:2])
    plain.run(few, thresh=thresh)
    predict_folder(few, out / "warm-up", ours, draw=False)
    rates: dict[str, list[float]] = {"plain": [], "ours": []}
    faces = 0
    for number in range(rounds):
        began = time.perf_counter()
        faces = len(plain.run(photos, thresh=thresh))
        rates["plain"].append(len(photos.images) / (time.perf_counter() - began))
        began = time.perf_counter()
        predict_folder(photos, out / f"round-{number}", ours, draw=False)
        rates["ours"].append(len(photos.images) / (time.perf_counter() - began))
        say(
            f"round {number + 1}: plain loop {rates['plain'][-1]:.2f} photos/s, "
            f"pipeline {rates['ours'][-1]:.2f} photos/s"
        )
    return Comparison(len(photos.images), faces, tuple(rates["plain"]), tuple(rates["ours"]))


def main(photos: str, most: int = 150) -> None:
    """Time both on at most so many photos of a folder or glob, three rounds each, on the CPU."""
    with tempfile.TemporaryDirectory() as out:
        found = find_photos(photos, leave_out=Path(out))
        some = PhotoSet(found.root, found.images[:: -(-len(found.images) // most)])
        cpu = torch.device("cpu")
        result = compare_speed(some, SHIPPED, Path(out), device=cpu, thresh=0.3, rounds=3, say=log)
        log(result.describe())


if __name__ == "__main__":
    main(sys.argv[1])
