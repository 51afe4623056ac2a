"""Faces painted as rectangles, and stand-ins for both nets that find and tell them by colour."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models import resnet34
from typer.testing import CliRunner, Result

from data_prep.base.labels import CLASSES
from pipeline.cli import app
from pipeline.inference.boxes import MIN_SCORE, FaceBoxes
from pipeline.inference.classifier import Classifier
from pipeline.inference.detector import Detector
from pipeline.inference.predictor import Predictor
from pipeline.inference.records import Frame
from pipeline.nets.anchors import VARIANCES
from pipeline.nets.cards import ClassifierCard, DetectorCard, save_weights
from pipeline.nets.options import CLASSIFIER, DETECTOR
from pipeline.nets.retinaface import RetinaFace, widen_scores
from tests.makers import Objects, make_pixels, make_voc

CPU = torch.device("cpu")

COLOURS = {"with_mask": 1, "without_mask": 0, "mask_weared_incorrect": 2}
"""Channel that is bright in a painted face: green, red, blue."""

BRIGHT = 128
FACES: Objects = (("with_mask", (20, 15, 60, 55)), ("without_mask", (80, 30, 100, 60)))


def call(*arguments: object) -> Result:
    """A command of `python -m pipeline`, in this process; unexplained errors are raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def assert_refused(result: Result, *words: object) -> None:
    """Exit 2, and a last line on standard error that says why."""
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    for word in words:
        assert str(word) in line


class Killed(BaseException):
    """What a test ends a training with."""


class Told:
    """Keeps what is logged, lines and events with their facts; kills at a line that begins so."""

    def __init__(self, lines: list[str] | None = None, stop: str | None = None) -> None:
        self.lines = [] if lines is None else lines
        self.events: list[dict] = []
        self.stop = stop

    def __call__(self, line: str, event: str = "note", /, **facts) -> None:
        self.lines.append(line)
        self.events.append({"event": event, **facts})
        if self.stop is not None and line.startswith(self.stop):
            raise Killed


def paint_photo(
    faces: Objects = FACES, width: int = 120, height: int = 90, level: int = 250, seed: int = 0
) -> np.ndarray:
    """A dark photo with painted faces: height × width × 3, uint8."""
    pixels = make_pixels(width, height, seed) // 4
    for label, box in faces:
        x0, y0, x1, y1 = (round(value) for value in box)
        pixels[y0:y1, x0:x1] = 0
        pixels[y0:y1, x0:x1, COLOURS[label]] = level
    return pixels


def save_photo(path: Path, faces: Objects = FACES, **options) -> np.ndarray:
    """Write a painted photo, JPEG at quality 95; returns the pixels before encoding."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save = {"quality": 95, "subsampling": 0} if path.suffix in {".jpg", ".jpeg"} else {}
    pixels = paint_photo(faces, **options)
    Image.fromarray(pixels).save(path, **save)
    return pixels


def paint_dataset(root: Path, photos: int, seed: int = 0) -> Path:
    """A VOC dataset of painted photos, every class in each, at places of their own."""
    rng = np.random.default_rng(seed)
    for index in range(photos):
        faces = []
        for place, label in enumerate(CLASSES):
            x, y = place * 40 + rng.integers(4, 12), rng.integers(6, 50)
            faces.append((label, (x, y, x + rng.integers(16, 24), y + rng.integers(18, 28))))
        save_photo(root / "images" / f"{index:03d}.jpg", faces, seed=seed * 1000 + index)
        make_voc(root / "annotations" / f"{index:03d}.xml", f"{index:03d}.jpg", faces)
    return root


def make_net(negative_slope: float = 0.1, seed: int = 0) -> RetinaFace:
    """A detector network with random weights whose answers differ from place to place.

    Without the right batch norm statistics, layers upon layers of random weights answer the same
    everywhere.
    """
    torch.manual_seed(seed)
    net = RetinaFace(negative_slope)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average of all batches
    with torch.no_grad():
        for photos in torch.randn(2, 4, 3, 96, 96) * 60:
            net.train()(photos)
        for head in net.ClassHead:
            head.conv1x1.weight.mul_(4)
    return net.eval()


def make_shy_net(seed: int = 0) -> RetinaFace:
    """Random nets see faces everywhere; this one seldom does, which saves time."""
    net = make_net(seed=seed)
    with torch.no_grad():
        for head in net.ClassHead:
            head.conv1x1.bias[::2] += 30
    return net


def save_random_weights(folder: Path) -> Path:
    """A weights folder as `run.py` takes it, the classifier made for small inputs."""
    save_weights(folder / f"{DETECTOR}.safetensors", make_net().state_dict(), DetectorCard())
    torch.manual_seed(0)
    state = resnet34(num_classes=len(CLASSES)).half().state_dict()
    save_weights(folder / f"{CLASSIFIER}.safetensors", state, ClassifierCard(input_size=64))
    return folder


class BrightDetector(Detector):
    """Finds bright rectangles; the brightness is the score."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), DetectorCard(sha256="bright"), device=CPU)
        self.seen: list[np.ndarray] = []

    def detect(
        self,
        photos: Sequence[np.ndarray],
        *,
        resize: float | None = None,
        min_score: float = MIN_SCORE,
    ) -> list[FaceBoxes]:
        self.seen.extend(photos)
        return [self._find(photo, min_score) for photo in photos]

    def _find(self, photo: np.ndarray, min_score: float) -> FaceBoxes:
        mask = (photo.max(axis=2) >= BRIGHT).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        found = []
        for x, y, width, height, area in stats[1:count]:
            score = float(photo[y : y + height, x : x + width].max(axis=2).mean()) / 255
            if area >= 25 and score >= min_score:
                found.append((score, (x, y, x + width, y + height)))
        found.sort(key=lambda face: (-face[0], face[1]))
        boxes = np.array([box for _, box in found], np.float32).reshape(-1, 4)
        scores = np.array([score for score, _ in found], np.float32)
        return FaceBoxes(boxes, scores, np.zeros((len(found), 5, 2), np.float32))


class ColourClassifier(Classifier):
    """Tells the class by the colour of most bright pixels of the crop."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), ClassifierCard(sha256="colour"), device=CPU)
        self.seen: list[np.ndarray] = []

    def classify(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        self.seen.extend(crops)
        rows = np.full((len(crops), len(CLASSES)), 0.1, np.float32)
        for row, crop in zip(rows, crops, strict=True):
            bright = crop[crop.max(axis=2) >= BRIGHT].sum(axis=0)
            row[[COLOURS[name] for name in CLASSES].index(int(bright.argmax()))] = 0.8
        return rows

    def embed(self, crops: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        rows = self.classify(crops)
        return rows, rows


class OneClass(ColourClassifier):
    """Calls everything a mask."""

    def classify(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        rows = super().classify(crops)
        rows[:] = (0.8, 0.1, 0.1)
        return rows


def save_single(path: Path, learnt: Sequence[str] = CLASSES[:2], seed: int = 1) -> dict:
    """A detector that tells classes: widened random weights, class logits differing."""
    state = widen_scores(make_net().state_dict(), len(learnt))
    torch.manual_seed(seed)
    for name, tensor in state.items():
        if name.startswith("ClassHead.") and name.endswith("weight"):
            state[name] = tensor + 0.05 * torch.randn_like(tensor)
    save_weights(path, state, DetectorCard(learnt=learnt))
    return state


def stand_ins(thresh: float = 0.3, **options) -> Predictor:
    """Both stages, without nets."""
    return Predictor(BrightDetector(), ColourClassifier(), thresh, **options)


def frames_of(photos: Sequence[np.ndarray]) -> list[Frame]:
    """Photos as a source gives them."""
    return [Frame(f"{place}.png", place, photo) for place, photo in enumerate(photos)]


def faces_of(sides, scores):
    """Square faces of these sides, one beside the other."""
    corners = np.cumsum([0, *sides[:-1]]) if len(sides) else np.zeros(0)
    boxes = np.array(
        [(x, 0, x + side, side) for x, side in zip(corners, sides, strict=True)], np.float32
    ).reshape(-1, 4)
    return FaceBoxes(boxes, np.array(scores, np.float32), np.zeros((len(sides), 5, 2), np.float32))


def encode_boxes(boxes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Corner boxes to network offsets: the inverse of `decode_boxes`."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    size = boxes[..., 2:] - boxes[..., :2]
    shift = (centre - anchors[:, :2]) / (anchors[:, 2:] * VARIANCES[0])
    return torch.cat([shift, torch.log(size / anchors[:, 2:]) / VARIANCES[1]], dim=-1)
