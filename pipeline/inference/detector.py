"""The detector in use: photos in, boxes of faces out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import nms

from data_prep.base.labels import CLASSES
from pipeline.inference.boxes import (
    MAX_FACES,
    MIN_SCORE,
    NMS_IOU,
    SECOND_SCALE,
    SURE_SCORE,
    VOTE_SCORE,
    FaceBoxes,
    drop_containers,
    has_tiny_faces,
    merge_scales,
    take_votes,
    weigh_votes,
)
from pipeline.inference.engines import AUTO, make_engine, run_engine
from pipeline.nets.cards import DetectorCard, WeightsError, load_weights
from pipeline.nets.retinaface import (
    VARIANCES,
    RetinaFace,
    decode_boxes,
    decode_landmarks,
    make_anchors,
)

PAD_TO = 32  # Input sides are padded to multiples of the coarsest stride.

AUTO_LONGEST = 832
AUTO_LARGEST_FACTOR = 3.0


def choose_factor(width: int, height: int, resize: float | None) -> float:
    """How much a photo is enlarged before detection.

    Faces of 20 pixels are only found enlarged. Without a given factor, photos are brought to
    `AUTO_LONGEST` pixels on the longer side, enlarged at most `AUTO_LARGEST_FACTOR` times, and
    larger photos left as they are up to twice that length.

    >>> choose_factor(400, 300, None), choose_factor(1000, 800, None), choose_factor(400, 300, 1.5)
    (2.08, 1.0, 1.5)
    """
    if resize is not None:
        return resize
    longest = max(width, height)
    if longest > AUTO_LONGEST:
        return min(1.0, 2 * AUTO_LONGEST / longest)
    return min(AUTO_LONGEST / longest, AUTO_LARGEST_FACTOR)


class Detector:
    """RetinaFace with its card."""

    def __init__(
        self,
        net: nn.Module,
        card: DetectorCard,
        *,
        device: torch.device,
        bf16: bool = False,
        engine: str = AUTO,
    ) -> None:
        self.engine = make_engine(engine, net, device, bf16=bf16)
        self.card, self.sha256 = card, card.sha256
        self.device, self.bf16 = device, bf16
        self._columns = [CLASSES.index(name) for name in card.learnt]

    @classmethod
    def load(
        cls, path: Path, *, device: torch.device, bf16: bool = False, engine: str = AUTO
    ) -> Detector:
        """Load checked weights.

        Raises:
            WeightsError: They are missing, damaged, or do not fit the network.
        """
        state, card = load_weights(path, DetectorCard)
        if card.variances != VARIANCES:
            raise WeightsError(f"{path}: trained with variances {card.variances}, not {VARIANCES}.")
        net = RetinaFace(card.negative_slope, len(card.learnt) or 1)
        try:
            net.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsError(f"{path}: does not fit {card.architecture} ({error}).") from error
        return cls(net, card, device=device, bf16=bf16, engine=engine)

    def detect(
        self,
        photos: Sequence[np.ndarray],
        *,
        resize: float | None = None,
        min_score: float = MIN_SCORE,
    ) -> list[FaceBoxes]:
        """Find the faces of several photos; see `FaceDetector`.

        With no `resize` given, photos with tiny faces are also looked at on a second scale.
        """
        factors = [choose_factor(photo.shape[1], photo.shape[0], resize) for photo in photos]
        found = self._detect_at(photos, factors, min(min_score, SURE_SCORE))
        if resize is None:
            tiny = [i for i, faces in enumerate(found) if has_tiny_faces(faces, factors[i])]
            again = self._detect_at(
                [photos[index] for index in tiny],
                [factors[index] * SECOND_SCALE for index in tiny],
                min_score,
            )
            for index, faces in zip(tiny, again, strict=True):
                found[index] = merge_scales(found[index], faces, factors[index])
        return [drop_containers(faces.take(faces.scores >= min_score)) for faces in found]

    def _detect_at(
        self, photos: Sequence[np.ndarray], factors: Sequence[float], min_score: float
    ) -> list[FaceBoxes]:
        """Detect with given enlargements; on a GPU, photos of one padded size run as one batch."""
        scaled = [scale_photo(photo, factor) for photo, factor in zip(photos, factors, strict=True)]
        batches: dict[tuple[int, int, int], list[int]] = defaultdict(list)
        for index, photo in enumerate(scaled):
            # One by one on a processor: what several hold at once leaves its cache.
            turn = index if self.device.type == "cpu" else 0
            batches[_padded(photo.shape[0]), _padded(photo.shape[1]), turn].append(index)
        found: dict[int, FaceBoxes] = {}
        for (height, width, _), indices in batches.items():
            pixels = torch.full((len(indices), height, width, 3), 114, dtype=torch.uint8)
            for row, index in enumerate(indices):
                photo = scaled[index]
                pixels[row, : photo.shape[0], : photo.shape[1]] = torch.from_numpy(photo)
            outputs = self.run_net(pixels.permute(0, 3, 1, 2))
            anchors = make_anchors(height, width, self.card.anchors, self.card.strides)
            for row, index in enumerate(indices):
                found[index] = _select(
                    [output[row] for output in outputs],
                    anchors,
                    (photos[index].shape[1], photos[index].shape[0]),
                    (scaled[index].shape[1], scaled[index].shape[0]),
                    min_score,
                    self._columns,
                )
        return [found[index] for index in range(len(photos))]

    def run_net(self, photos: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Box offsets, probabilities and landmark offsets for every anchor.

        Photos are batch × 3 × height × width, uint8, RGB; probabilities those of a face, or of one
        of each learnt class: batch × anchors × classes.
        """
        inputs = normalise(photos, self.card).numpy()
        boxes, scores, landmarks = run_engine(self.engine, inputs)
        return boxes, scores.softmax(dim=-1)[..., 1:], landmarks


def normalise(photos: Tensor, card: DetectorCard) -> Tensor:
    """Bring RGB bytes to the network's input: channel order and mean of the card."""
    # Turned while still bytes, and subtracted in place: whole batches of floats are slow to copy.
    inputs = photos.flip(1) if card.channel_order == "BGR" else photos
    inputs = inputs.contiguous(memory_format=torch.channels_last).float()
    return inputs.sub_(inputs.new_tensor(card.mean)[:, None, None])


def scale_photo(photo: np.ndarray, factor: float) -> np.ndarray:
    """A photo enlarged or shrunk; itself when the factor is 1."""
    if factor == 1:
        return photo
    size = (max(1, round(photo.shape[1] * factor)), max(1, round(photo.shape[0] * factor)))
    shrink = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return cv2.resize(photo, size, interpolation=shrink)


def _padded(side: int) -> int:
    return -(-side // PAD_TO) * PAD_TO


def _select(
    outputs: list[Tensor],
    anchors: Tensor,
    photo_size: tuple[int, int],
    scaled_size: tuple[int, int],
    min_score: float,
    columns: list[int],
) -> FaceBoxes:
    """Decode the anchors worth decoding, merge overlaps, and go back to pixels of the photo."""
    offsets, classes, points = outputs
    scores = classes.sum(dim=-1)
    likely = scores >= min(min_score, VOTE_SCORE)
    scores = scores[likely]
    boxes = decode_boxes(offsets[likely], anchors[likely])
    keep = nms(boxes, scores, NMS_IOU)
    keep = keep[scores[keep] >= min_score][:MAX_FACES]
    votes = weigh_votes(boxes, scores, keep)
    boxes, scores = take_votes(votes, boxes), scores[keep]
    landmarks = decode_landmarks(points[likely][keep], anchors[likely][keep])
    ratio = boxes.new_tensor([photo_size[0] / scaled_size[0], photo_size[1] / scaled_size[1]])
    limit = boxes.new_tensor(photo_size)
    boxes = (boxes.unflatten(1, (2, 2)) * ratio).clamp(min=0).minimum(limit).flatten(1)
    real = (boxes[:, 2:] - boxes[:, :2]).min(dim=1).values >= 1
    return FaceBoxes(
        boxes[real].numpy(),
        scores[real].numpy(),
        (landmarks * ratio)[real].numpy(),
        _spread(take_votes(votes[real], classes[likely]), columns) if columns else None,
    )


def _spread(shares: Tensor, columns: list[int]) -> np.ndarray:
    """Probabilities of all classes, given a face, from shares of those that were learnt."""
    probabilities = shares.new_zeros(len(shares), len(CLASSES))
    probabilities[:, columns] = shares / shares.sum(dim=1, keepdim=True)
    return probabilities.numpy()
