"""The classifier in use: from crops to class probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data_prep.base.crop import fit_crop
from data_prep.base.labels import CLASSES
from pipeline.inference.engines import (
    AUTO,
    feed,
    load_net,
    make_engine,
    run_engine,
    share_cores,
    softmax,
)
from pipeline.nets.cards import ClassifierCard, WeightsError, read_card
from pipeline.nets.compute import name_device

if TYPE_CHECKING:
    from torch import nn

BATCH = 16  # Crops per forward pass: on CPUs faster than 64, whose activations leave the cache.


class Classifier:
    """A network, any of `fill_net` or a learner's, with its card."""

    def __init__(
        self,
        net: nn.Module | bytes,  # Or its ONNX, with features.
        card: ClassifierCard,
        *,
        device: object,
        bf16: bool = False,
        engine: str = AUTO,
    ) -> None:
        if not isinstance(net, bytes):
            from pipeline.nets.classifiers import expose_features

            net = expose_features(net)
        self.card, self.device, self.bf16 = card, name_device(device), bf16
        self.engine = make_engine(engine, net, self.device, bf16=bf16)
        self._untaught = [name not in card.learnt for name in card.classes]
        self._order = [card.classes.index(name) for name in CLASSES]

    @classmethod
    def load(
        cls, path: Path, *, device: object = AUTO, bf16: bool = False, engine: str = AUTO
    ) -> Classifier:
        """Load checked weights; raises WeightsError. The device is as in `Detector.load`."""
        classes = read_card(path.with_suffix(".json"), ClassifierCard).classes
        if set(classes) != set(CLASSES):
            raise WeightsError(f"{path}: its classes are {classes}, not {CLASSES}.")
        net, card = load_net(path, ClassifierCard, engine, device, bf16)
        return cls(net, card, device=device, bf16=bf16, engine=engine)

    def classify(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Class probabilities of crops: crops × 3, float32, columns in the order of `CLASSES`.

        Crops are squares of any side, uint8, RGB, cut by `crop_face` at the card's scale.
        """
        return self.embed(crops)[0]

    def embed(self, crops: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Class probabilities as `classify` gives them, and the features they come from.

        Those are crops × D, float32: what the last layer sees; with `mirror` the mean of two looks.
        """
        parts = [range(len(crops))[start : start + BATCH] for start in range(0, len(crops), BATCH)]
        mean, std = (255 * np.array(v, np.float32) for v in (self.card.mean, self.card.std))

        def run(part: range) -> tuple[np.ndarray, np.ndarray]:
            fed = [fit_crop(crops[i], self.card.input_size, self.card.colour) for i in part]
            return self.answer(feed(np.stack(fed), mean, std))

        if not parts:
            return np.zeros((0, len(CLASSES)), np.float32), np.zeros((0, 0), np.float32)
        probabilities, features = zip(*share_cores(self.engine, run, parts), strict=True)
        return np.concatenate(probabilities), np.concatenate(features)

    def answer(self, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `embed`, of crops as the net is fed: N × 3 × side × side, float32, standardised."""
        looks = [batch, batch[..., ::-1]] if self.card.mirror else [batch]
        logits, features = run_engine(self.engine, np.concatenate(looks))
        logits = logits / np.float32(self.card.temperature)
        logits[:, self._untaught] = -np.inf
        answers = softmax(logits)[:, self._order]
        shape = (len(looks), len(batch), -1)
        return answers.reshape(shape).mean(axis=0), features.reshape(shape).mean(axis=0)
