"""The classifier in use: from crops to class probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from data_prep.base.crop import fit_crop
from data_prep.base.files import write_atomically
from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from pipeline.nets.cards import ClassifierCard, WeightsError, load_weights
from pipeline.nets.classifiers import fill_net
from pipeline.nets.compute import autocast, prepare_net

BATCH = 16
"""Crops per forward pass: on CPUs faster than 64, whose activations leave the cache."""

SMALL_CROP = 64
SMALL_INPUT = 192
"""Crops under `SMALL_CROP` pixels are enlarged to `SMALL_INPUT` only: it costs a quarter less and
changes nothing (log loss of 520 such validation faces of facemask 0.164 against 0.165)."""


class Classifier:
    """A network with its card.

    Args:
        net: The network.
        card: How to feed it.
        device: Where it runs.
        bf16: Run it in bfloat16.
    """

    def __init__(
        self, net: nn.Module, card: ClassifierCard, *, device: torch.device, bf16: bool = False
    ) -> None:
        self.net = prepare_net(net, device)
        self.card = card
        self.device = device
        self.bf16 = bf16
        self._untaught = [name not in card.learnt for name in card.classes]

    @classmethod
    def load(cls, path: Path, *, device: torch.device, bf16: bool = False) -> Classifier:
        """Load checked weights.

        Raises:
            WeightsError: They are missing, damaged, or do not fit the network.
        """
        state, card = load_weights(path, ClassifierCard)
        if set(card.classes) != set(CLASSES):
            raise WeightsError(f"{path}: its classes are {card.classes}, not {CLASSES}.")
        return cls(fill_net(state, card.architecture, path), card, device=device, bf16=bf16)

    def classify(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Class probabilities of crops, batched.

        Args:
            crops: Squares of any side, uint8, RGB, cut by `crop_face` at the card's scale.

        Returns:
            Crops × 3, float32, columns in the order of `CLASSES`; rows sum to 1.
        """
        order = [self.card.classes.index(name) for name in CLASSES]
        probabilities = np.zeros((len(crops), len(CLASSES)), dtype=np.float32)
        for size, indices in self._group_by_input(crops).items():
            for start in range(0, len(indices), BATCH):
                some = indices[start : start + BATCH]
                batch = np.stack([fit_crop(crops[index], size, self.card.colour) for index in some])
                inputs = torch.from_numpy(batch).permute(0, 3, 1, 2)
                probabilities[some] = self._classify_batch(inputs)[:, order]
        return probabilities

    def _group_by_input(self, crops: Sequence[np.ndarray]) -> dict[int, list[int]]:
        """Indices of crops by the input size they are brought to."""
        groups: dict[int, list[int]] = {}
        for index, crop in enumerate(crops):
            full = self.card.input_size
            size = min(SMALL_INPUT, full) if crop.shape[0] < SMALL_CROP else full
            groups.setdefault(size, []).append(index)
        return groups

    def _classify_batch(self, crops: Tensor) -> np.ndarray:
        with torch.inference_mode():
            inputs = crops.to(self.device).float() / 255
            mean, std = (
                inputs.new_tensor(v)[:, None, None] for v in (self.card.mean, self.card.std)
            )
            inputs = (inputs - mean) / std
            looks = [inputs, inputs.flip(3)] if self.card.mirror else [inputs]
            batch = torch.cat(looks).contiguous(memory_format=torch.channels_last)
            with autocast(self.device, bf16=self.bf16):
                logits = self.net(batch)
            logits = logits.float() / self.card.temperature
            logits[:, self._untaught] = -torch.inf
            answers = logits.softmax(dim=1)
            return answers.reshape(len(looks), len(crops), -1).mean(dim=0).cpu().numpy()


BOX = ["xmin", "ymin", "xmax", "ymax"]


def classify_crops(faces: pd.DataFrame, prepared: Path, classifier: Classifier, table: Path) -> int:
    """Write one row per annotated face, with its own box and a detection score of 1.

    Args:
        faces: Rows of `faces.csv`.
        prepared: The folder their crops lie in.
        classifier: What to measure.
        table: The CSV, in the form of `run.py`'s; `image` is source/image.

    Returns:
        The number of faces.

    Raises:
        PhotoError: A crop is missing or damaged.
        OutputError: The table can't be written.
    """
    crops = [read_photo(prepared / crop).pixels for crop in faces["crop"]]
    probabilities = classifier.classify(crops)
    best = probabilities.argmax(axis=1)
    rows = pd.DataFrame({"image": faces["source"] + "/" + faces["image"]}).reset_index(drop=True)
    rows[BOX] = faces[BOX].to_numpy()
    rows["label"] = [CLASSES[index] for index in best]
    rows["score"] = probabilities[np.arange(len(best)), best].round(5)
    rows["detection"] = 1.0
    for index, name in enumerate(CLASSES):
        rows[f"p_{name}"] = probabilities[:, index].round(5)
    write_atomically(table, rows.to_csv(index=False))
    return len(rows)
