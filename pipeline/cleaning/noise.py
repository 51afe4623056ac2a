"""Labels made wrong on purpose, to see how many of them are found."""

from __future__ import annotations

from typing import Literal

import numpy as np

from data_prep.errors import UserError
from data_prep.labels import CLASSES

Kind = Literal["uniform", "likely"]
KINDS: tuple[Kind, ...] = ("uniform", "likely")

LIKELY = {
    "with_mask": {"without_mask": 0.4, "mask_weared_incorrect": 0.6},
    "without_mask": {"with_mask": 0.7, "mask_weared_incorrect": 0.3},
    "mask_weared_incorrect": {"with_mask": 0.7, "without_mask": 0.3},
}
"""Where a wrong label of each class goes under `likely` noise. Set by hand, not measured: a mask
that is worn is taken for one that hangs low, a bare chin in shadow for a mask."""


class NoiseError(UserError, ValueError):
    """A kind of noise that is not known."""


def parse_kinds(text: str) -> tuple[Kind, ...]:
    """Kinds of noise separated by commas, each once.

    Raises:
        NoiseError: One is not known.

    >>> parse_kinds("likely, uniform")
    ('likely', 'uniform')
    """
    names = dict.fromkeys(name.strip() for name in text.split(","))
    known: dict[str, Kind] = {kind: kind for kind in KINDS}
    for name in names:
        if name not in known:
            raise NoiseError(f"unknown kind of noise '{name}': use {', '.join(KINDS)}.")
    return tuple(known[name] for name in names)


def flip_labels(labels: np.ndarray, kind: Kind, *, rate: float, seed: int) -> np.ndarray:
    """Give a share of the faces another class.

    Args:
        labels: (N,) class index of each face.
        kind: `uniform`: either other class is as likely. `likely`: by `LIKELY`.
        rate: Share of the faces, 0 to 1; exact but for rounding to whole faces.
        seed: Of the choice of faces and classes.

    Returns:
        (N,) class index of each face, `round(rate * N)` of them changed.
    """
    rng = np.random.default_rng(seed)
    flipped = labels.copy()
    chosen = rng.permutation(len(labels))[: round(rate * len(labels))]
    shares = flip_shares(kind)[labels[chosen]]
    draws = rng.random((len(chosen), 1))
    flipped[chosen] = (draws >= shares.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return flipped


def flip_shares(kind: Kind) -> np.ndarray:
    """(3, 3) where flipped labels go: true class in rows, new class in columns, rows sum to 1."""
    if kind == "uniform":
        return (1 - np.eye(len(CLASSES))) / (len(CLASSES) - 1)
    return np.array([[LIKELY[true].get(new, 0.0) for new in CLASSES] for true in CLASSES])
