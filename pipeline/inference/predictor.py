"""From frames to faces with their classes: detector, the crop of training, classifier."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.base.boxes import SIDES, BoxOffsets
from data_prep.base.command import spell
from data_prep.base.crop import crop_face, crop_side
from data_prep.base.progress import log, tell
from data_prep.base.records import Box
from pipeline.inference.boxes import MAX_FACES, FaceBoxes
from pipeline.inference.classifier import Classifier
from pipeline.inference.detector import Detector
from pipeline.inference.engines import AUTO, TORCH, choose_engine
from pipeline.inference.looks import describe_crops
from pipeline.inference.records import BATCH_FRAMES, BATCH_PIXELS, Clock, Face, Frame
from pipeline.inference.sources import Source
from pipeline.inference.unsure import name_sets
from pipeline.nets.cards import PredictionSets, WeightsError
from pipeline.nets.compute import has_fast_bf16, name_device
from pipeline.nets.learnt import KnownPhotos, know_photos
from pipeline.nets.options import CLASSIFIER, DETECTOR, NORMAL, SHIPPED, find_weights


@dataclass(frozen=True)
class Predictor:
    """The nets, ready for use; nothing in it changes, so threads may share it."""

    detector: Detector
    classifier: Classifier | None  # None for a detector that tells classes itself.
    thresh: float = 0.5  # Least detection score of a face.
    resize: float | None = None  # Enlargement before detection; chosen per frame when None.
    origin: str = ""  # Which net comes from where.
    boxes: BoxOffsets | None = None  # How faces are boxed; as by the detector when None.
    engine: str = TORCH  # What runs the nets.
    unsure: bool = False  # Tell which faces are not surely of one class, see `Face.unsure`.

    def __post_init__(self) -> None:
        if self.unsure and self.sets is None:
            how = f"on photos not learnt from: {spell('measure')} PREPARED --weights … --write"
            raise WeightsError(f"--unsure: the card has no limits; fit them {how} ({self.origin})")

    @classmethod
    def load(
        cls,
        weights: Path,
        *,
        device: object = AUTO,
        bf16: bool | None = None,
        engine: str = AUTO,
        quality: str = NORMAL,
        **how: Any,
    ) -> Predictor:
        """Load both nets, or a detector that tells classes, as `find_weights` finds them.

        What `weights` lacks is the shipped one. The device is `auto`, `cpu`, `cuda` or one of
        torch; torch computes in bfloat16 where the processor has it when `bf16` is None. `how` are
        fields of the predictor. Raises `WeightsError`, `EngineError` or `DeviceError`.
        """
        own, device = find_weights(weights), name_device(device)
        paths = {net: SHIPPED / f"{net}.safetensors" for net in (DETECTOR, CLASSIFIER)} | own
        engine = choose_engine(engine, paths.values(), device, bf16)
        half = engine == TORCH and has_fast_bf16(device) if bf16 is None else bf16
        told = {net: str(path) for net, path in paths.items()}
        home = SHIPPED.resolve()
        told |= {net: "as shipped" for net in paths if paths[net].parent.resolve() == home}
        detector = Detector.load(paths[DETECTOR], device=device, bf16=half, engine=engine)
        detector.quality = quality
        if list(own) == [DETECTOR] and detector.card.learnt:
            origin = f"detector that tells classes: {own[DETECTOR]}"
            return cls(detector, None, origin=origin, engine=engine, **how)
        classifier = Classifier.load(paths[CLASSIFIER], device=device, bf16=half, engine=engine)
        origin = "; ".join(f"{net} {told[net]}" for net in told)
        return cls(detector, classifier, origin=origin, engine=engine, **how)

    def identify(self) -> dict[str, Any]:
        """The weights and all else that its answers depend on, as JSON holds it."""
        known: dict[str, Any] = {"learnt_from": self.known.digest}
        if self.boxes is not None:
            known["boxes"] = [getattr(self.boxes, side) for side in SIDES]
        if self.sets is not None:
            known["unsure"] = [self.sets.coverage, self.sets.limits]
        if self.engine != TORCH:
            known["engine"] = self.engine
        if self.detector.quality != NORMAL:
            known["quality"] = self.detector.quality
        if self.classifier is None:
            return {"single_stage": self.detector.sha256, "bf16": [self.detector.bf16], **known}
        card = self.classifier.card
        return known | {
            "detector": self.detector.sha256,
            "classifier": card.sha256,
            "feed": [card.input_size, card.crop_scale, card.colour, card.mirror, card.temperature],
            "bf16": [self.detector.bf16, self.classifier.bf16],
        }

    @property
    def sets(self) -> PredictionSets | None:
        """What `unsure` goes by; None where it is not asked for."""
        return self.classifier.card.sets if self.unsure and self.classifier is not None else None

    @property
    def listed(self) -> dict[str, tuple[str, ...]]:
        """The photos that each net learnt from, as its card lists them; none where not known."""
        nets = {DETECTOR: self.detector, CLASSIFIER: self.classifier}
        cards = {name: getattr(net, "card", None) for name, net in nets.items() if net is not None}
        return {name: card.training_photos if card else () for name, card in cards.items()}

    @property
    def known(self) -> KnownPhotos:
        """The photos that the nets learnt from, as far as their cards list them."""
        return know_photos(*self.listed.values())

    def __call__(self, frames: Sequence[Frame], clock: Clock | None = None) -> list[list[Face]]:
        """The faces of frames, best detection first; clocks `detect` and `classify`."""
        clock = Clock() if clock is None else clock
        photos = [frame.pixels for frame in frames if frame.pixels is not None]
        with clock.measure("detect"):
            found = self.detector.detect(photos, resize=self.resize, min_score=self.thresh)
        with clock.measure("classify"):
            told, looks = self._classify(photos, found)
        rows = zip(told, looks or [[]] * len(told), name_sets(told, self.sets), strict=True)
        if (drawn := self.boxes) is not None:  # What nets see of a face stays as they learnt it.
            pairs = zip(found, photos, strict=True)
            moved = [drawn.apply(f.boxes).clip(0, photo.shape[1::-1] * 2) for f, photo in pairs]
            found = [replace(one, boxes=boxes) for one, boxes in zip(found, moved, strict=True)]
        faces = iter(
            [
                Face(Box(*box), score, tuple(shares), tuple(look), unsure=doubt)
                for box, score, (shares, look, doubt) in zip(
                    boxes.boxes.tolist(), boxes.scores.tolist(), rows, strict=False
                )
            ]
            for boxes in found
        )
        return [[] if frame.pixels is None else next(faces) for frame in frames]

    def _classify(
        self, photos: Sequence[np.ndarray], found: Sequence[FaceBoxes]
    ) -> tuple[list[list[float]], list[list[float]]]:
        """Class probabilities and looks of all faces, photo by photo; no looks without crops."""
        if self.classifier is None:
            told = [boxes.probabilities for boxes in found if boxes.probabilities is not None]
            return [row for shares in told for row in shares.tolist()], []
        card, crops, sides = self.classifier.card, [], []
        for photo, faces in zip(photos, found, strict=True):
            for box in itertools.starmap(Box, faces.boxes.tolist()):
                crops.append(crop_face(photo, box, card.crop_scale, card.input_size))
                sides.append(crop_side(box, card.crop_scale))
        probabilities, features = self.classifier.embed(crops)
        looks = describe_crops(crops, probabilities, features, sides)
        return probabilities.tolist(), looks.round(4).tolist()

    def predict(
        self, source: Source | Iterable[Frame], clock: Clock | None = None
    ) -> Iterator[tuple[Frame, list[Face]]]:
        """Each frame of a source, with `learnt`, and its faces; a batch of them is held at once.

        The clock gets the seconds of `decode`, `detect` and `classify`.
        """
        known = self.known
        for batch in _batches(source):
            if clock is not None:
                clock.add("decode", sum(frame.seconds for frame in batch))
            told = [replace(one, learnt=known.tell(one.fingerprint)) for one in batch]
            for frame, faces in zip(told, self(batch, clock), strict=True):
                if len(faces) == MAX_FACES:
                    log(f"{frame.name}: {tell(MAX_FACES, 'face')}, the surest: more are not told")
                yield frame, faces


def _batches(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    batch: list[Frame] = []
    for frame in frames:
        batch.append(frame)
        pixels = sum(width * height for width, height in (one.size for one in batch))
        if len(batch) == BATCH_FRAMES or pixels >= BATCH_PIXELS:
            yield batch
            batch = []
    if batch:
        yield batch
