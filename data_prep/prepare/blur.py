"""The blur score and the rule that balances the classes by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
import pandas as pd

from data_prep.base.labels import RARE_CLASS

BlurRule = Literal["binned", "global", "none"]

SIZE_EDGES: tuple[float, ...] = (8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Short sides in pixels between which blur scores are compared: half octaves, since the score
depends on size far more than on blur."""

MAJORITY_RATIO = 1.5
"""The largest class keeps at most this multiple of the second class."""


def blur_score(crop: np.ndarray) -> float:
    """Variance of the Laplacian of the grey crop (height × width × 3, RGB); higher is sharper.

    Comparable between crops of about one size only. Source: Pech-Pacheco et al. 2000, "Diatom
    autofocusing in brightfield microscopy".
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def size_bin(short_sides: Sequence[float] | np.ndarray) -> np.ndarray:
    """Index of the size bin, 0 for faces under the first of `SIZE_EDGES`."""
    return np.digitize(np.asarray(short_sides, dtype=float), SIZE_EDGES)


def keep_balanced(
    faces: pd.DataFrame, *, rule: BlurRule = "binned", ratio: float = MAJORITY_RATIO
) -> np.ndarray:
    """Decide which faces of a training split to keep: True for kept rows.

    The largest class is cut down to `ratio` × the second largest by dropping the blurriest faces.
    With `binned` the faces are ranked inside their size bin, so that small and large faces lose
    the same share; with `global` they are ranked all together, which favours small faces (the
    rule of the seed system, kept for comparison); with `none` everything stays. The rare class is
    never cut. `faces` has `label`, `blur` and `short_side`, in a stable order.
    """
    keep = np.ones(len(faces), dtype=bool)
    counts = faces["label"].value_counts()
    if rule == "none" or len(counts) < 2 or counts.index[0] == RARE_CLASS:
        return keep
    excess = int(counts.iloc[0]) - int(ratio * int(counts.iloc[1]))
    if excess <= 0:
        return keep
    rows = np.flatnonzero(faces["label"].to_numpy() == counts.index[0])
    blur = faces["blur"].to_numpy(dtype=float)[rows]
    if rule == "binned":
        # Share of the bin's faces that are blurrier.
        bins = pd.Series(blur).groupby(size_bin(faces["short_side"].to_numpy()[rows]))
        ranks = bins.rank(method="first", na_option="bottom")
        blur = ((ranks - 0.5) / bins.transform("size")).to_numpy()
    keep[rows[np.argsort(blur, kind="stable")[:excess]]] = False
    return keep
