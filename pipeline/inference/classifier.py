"""The classifier in use: from crops to class probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from data_prep.base.crop import fit_crop
from data_prep.base.labels import CLASSES
from pipeline.inference.engines import Net, feed, share_cores, softmax
from pipeline.inference.looks import LOOKS
from pipeline.nets.cards import ClassifierCard

BATCH = 16  # Crops per forward pass: on CPUs faster than 64, whose activations leave the cache.


class Classifier(Net[ClassifierCard]):
    """A network, any of `fill_net` or a learner's, or its ONNX with features, with its card."""

    kind = ClassifierCard

    def __init__(self, net: Any, card: ClassifierCard, **how: Any) -> None:
        if not isinstance(net, bytes):
            from pipeline.nets.classifiers import expose_features

            net = expose_features(net)
        super().__init__(net, card, **how)
        self._untaught = [name not in card.learnt for name in card.classes]
        self._order = [card.classes.index(name) for name in CLASSES]

    @staticmethod
    def find_fault(card: ClassifierCard) -> str:
        """Its classes, or what its looks tell, where they are not ours."""
        if sorted(card.classes) != sorted(CLASSES):
            return f"its classes are {card.classes}, not {CLASSES}"
        strange = sorted(card.looks.keys() - LOOKS.keys())
        return f"looks: {strange[0]} is none of {', '.join(LOOKS)}" if strange else ""

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
        logits, features = self.run(np.concatenate(looks))
        logits = logits / np.float32(self.card.temperature)
        logits[:, self._untaught] = -np.inf
        (answers,) = self.check(softmax(logits)[:, self._order])
        shape = (len(looks), len(batch), -1)
        return answers.reshape(shape).mean(axis=0), features.reshape(shape).mean(axis=0)
