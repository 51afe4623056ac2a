"""The detector in use: photos in, boxes of faces out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from data_prep.base.labels import CLASSES
from pipeline.inference import boxes as merging
from pipeline.inference.boxes import FaceBoxes
from pipeline.inference.engines import Net, feed, share_cores, softmax
from pipeline.nets.anchors import VARIANCES, decode_boxes, decode_landmarks, make_anchors
from pipeline.nets.cards import DetectorCard
from pipeline.nets.compute import CPU
from pipeline.nets.options import NORMAL

PAD_TO, GREY = 32, 114  # Input sides are padded to multiples of the coarsest stride, in grey.

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


class Detector(Net[DetectorCard]):
    """RetinaFace with its card."""

    kind = DetectorCard
    quality = NORMAL  # Or `HIGH`: three looks at each photo, fused.

    def __init__(self, net: Any, card: DetectorCard, **how: Any) -> None:
        super().__init__(net, card, **how)
        self.sha256, self._columns = card.sha256, [CLASSES.index(name) for name in card.learnt]

    @staticmethod
    def find_fault(card: DetectorCard) -> str:
        """Its variances, where the net was trained with others than ours."""
        told = f"trained with variances {card.variances}, not {VARIANCES}"
        return "" if card.variances == VARIANCES else told

    def detect(
        self,
        photos: Sequence[np.ndarray],
        *,
        resize: float | None = None,
        min_score: float = merging.MIN_SCORE,
    ) -> list[FaceBoxes]:
        """Find the faces of photos, each height × width × 3, uint8, RGB.

        With no `resize`, the enlargement is chosen per photo, and tiny or huge faces are looked at
        on a second scale, too. In high quality a mirror image and a closer look are fused with it.
        """
        factors = [choose_factor(photo.shape[1], photo.shape[0], resize) for photo in photos]
        again = resize is None
        if self.quality == NORMAL:
            return self._look(photos, factors, min_score, again)
        least = min(min_score, merging.VOTE_SCORE)
        mirrored = [np.ascontiguousarray(photo[:, ::-1]) for photo in photos]
        others = self._look(mirrored, factors, least, again)
        looks = (
            self._look(photos, factors, least, again),
            [faces.mirror(photo.shape[1]) for faces, photo in zip(others, photos, strict=True)],
            self._look(photos, [merging.CLOSER * factor for factor in factors], least, False),
        )
        fused = map(merging.fuse_looks, *looks, factors)
        return [faces.take(faces.scores >= min_score) for faces in fused]

    def _look(
        self, photos: Sequence[np.ndarray], factors: Sequence[float], min_score: float, again: bool
    ) -> list[FaceBoxes]:
        """One look at each photo, and `again` on a second scale where faces ask for it."""
        shrunk = list(photos)
        found = self._detect_at(photos, factors, min(min_score, merging.SURE_SCORE), shrunk)
        if again:
            first = tuple(found)
            for look in (merging.TINY, merging.HUGE):
                some = [i for i, faces in enumerate(first) if look.is_asked(faces, factors[i])]
                scales = [look.scale * factors[index] for index in some]
                some_photos, seen = [photos[i] for i in some], [shrunk[i] for i in some]
                views = seen if look.scale < 1 else list(some_photos)
                others = self._detect_at(some_photos, scales, min_score, views)
                for index, faces in zip(some, others, strict=True):
                    found[index] = look.merge(found[index], faces, factors[index])
        return [merging.drop_containers(faces.take(faces.scores >= min_score)) for faces in found]

    def _detect_at(
        self,
        photos: Sequence[np.ndarray],
        factors: Sequence[float],
        min_score: float,
        views: list[np.ndarray],
    ) -> list[FaceBoxes]:
        """Detect with given enlargements; on a GPU, photos of one padded size run as one batch.

        What is looked at are `views`: the photos, or a look before at more pixels than this one.
        In the place of each is left what is seen now, if it is smaller.
        """
        sizes = [scaled_size(photo, factor) for photo, factor in zip(photos, factors, strict=True)]
        batches: dict[tuple[int, int, int], list[int]] = defaultdict(list)
        for index, (width, height) in enumerate(sizes):
            # One by one on a processor: what several hold at once leaves its cache.
            turn = index if self.device == CPU else 0
            batches[_padded(height), _padded(width), turn].append(index)
        found: dict[int, FaceBoxes] = {}

        def find(batch: tuple[int, int, int]) -> None:
            height, width, _ = batch
            pixels = np.full((len(batches[batch]), height, width, 3), GREY, np.uint8)
            for row, index in enumerate(batches[batch]):
                wide, high = sizes[index]
                scaled = scale_photo(views[index], sizes[index])
                pixels[row, :high, :wide] = scaled
                views[index] = min(views[index], scaled, key=np.size)
            outputs = self.run_net(pixels)
            anchors = make_anchors(height, width, self.card.anchors, self.card.strides)
            for row, index in enumerate(batches[batch]):
                found[index] = self._select(
                    [output[row] for output in outputs],
                    anchors,
                    (photos[index].shape[1], photos[index].shape[0]),
                    sizes[index],
                    min_score,
                )

        share_cores(self.engine, find, list(batches))
        return [found[index] for index in range(len(photos))]

    def _select(
        self,
        outputs: list[np.ndarray],
        anchors: np.ndarray,
        photo_size: tuple[int, int],
        scaled_size: tuple[int, int],
        min_score: float,
    ) -> FaceBoxes:
        """Decode the anchors worth decoding, merge overlaps, and go back to pixels of the photo."""
        offsets, classes, points = outputs
        scores = classes.sum(axis=-1)
        likely = np.flatnonzero(scores >= min(min_score, merging.VOTE_SCORE))
        scores = scores[likely]
        boxes = decode_boxes(offsets[likely], anchors[likely])
        keep = merging.suppress(boxes, scores, most=merging.MAX_FACES)
        keep = keep[scores[keep] >= min_score]
        votes = merging.weigh_votes(boxes, scores, keep)
        boxes, _ = self.check(merging.take_votes(votes, boxes), boxes)
        scores = scores[keep]
        landmarks = decode_landmarks(points[likely][keep], anchors[likely][keep])
        ratio = np.array(photo_size, np.float32) / np.array(scaled_size, np.float32)
        boxes = np.clip(boxes.reshape(-1, 2, 2) * ratio, 0, photo_size, dtype=np.float32)
        boxes = boxes.reshape(-1, 4)
        real = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= 1
        told = None
        if self._columns:
            shares = merging.take_votes(votes[real], classes[likely])
            told = np.zeros((len(shares), len(CLASSES)), np.float32)
            told[:, self._columns] = shares / shares.sum(axis=1, keepdims=True)
        return FaceBoxes(boxes[real], scores[real], (landmarks * ratio)[real], told)

    def run_net(self, photos: np.ndarray) -> tuple[np.ndarray, ...]:
        """Box offsets, probabilities and landmark offsets for every anchor.

        Photos are batch × height × width × 3, uint8, RGB; probabilities those of a face, or of one
        of each learnt class: batch × anchors × classes.
        """
        inputs = feed(photos, self.card.mean, (1, 1, 1), swap=self.card.channel_order == "BGR")
        boxes, scores, landmarks = self.run(inputs)
        return boxes, softmax(scores)[..., 1:], landmarks


def scaled_size(photo: np.ndarray, factor: float) -> tuple[int, int]:
    """Width and height in pixels of a photo enlarged or shrunk."""
    return max(1, round(photo.shape[1] * factor)), max(1, round(photo.shape[0] * factor))


def scale_photo(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A photo enlarged or shrunk to a width and height; itself when it has them."""
    if size == (photo.shape[1], photo.shape[0]):
        return photo
    shrink = cv2.INTER_AREA if size < (photo.shape[1], photo.shape[0]) else cv2.INTER_LINEAR
    return cv2.resize(photo, size, interpolation=shrink)


def _padded(side: int) -> int:
    return -(-side // PAD_TO) * PAD_TO
