"""Whether photos look like those that the nets learnt from, told by the faces found in them.

A net tells less than it seems on pictures of another kind, and nothing in its scores says so. So
its card keeps, for a few plain properties of faces, the range that 95 % of the photos lay in that
it was validated on; a run counts the photos whose faces lie outside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.base.crop import resize_crop
from data_prep.base.progress import tell

if TYPE_CHECKING:
    import pandas as pd

SIDE = 32  # Crops are looked at in this size: what is told should not depend on that of the face.

LOOKS: dict[str, tuple[str, str]] = {
    "size": ("smaller faces", "larger faces"),
    "sharpness": ("blurred faces", "grainy or drawn faces"),
    "colour": ("less colour", "more colour"),
    "brightness": ("darker faces", "brighter faces"),
    "contrast": ("flatter light", "harsher light"),
    "certainty": ("classes less sure", "classes surer"),
    "recognition": ("faces the net makes little of", "faces the net makes much of"),
}
"""What is told of a crop, in the order of every array; what too little or too much is called."""

INSIDE = 0.95
OUTSIDE, CHANCE = 0.035, 0.02
"""A set is unlike when more photos lie beyond one end of a range than come about with `CHANCE`,
over all ranges, where `OUTSIDE` of them may."""

FEW = 20  # A dataset with fewer photos gets no ranges of its own: they would be noise.

_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def describe_crops(
    crops: Sequence[np.ndarray],
    probabilities: np.ndarray,
    features: np.ndarray,
    sides: Sequence[int] | None = None,
) -> np.ndarray:
    """What `LOOKS` tells of crops (squares, uint8, RGB) and what the classifier makes of them.

    Size is the log2 of the crop's side, of `sides` where crops were shrunk since; sharpness that of
    the Laplacian's variance over the variance, colour of the mean distance between the channels;
    brightness and contrast are mean and deviation of the grey levels; certainty is the highest
    probability; recognition is the length of the feature vector, which is short for what a net
    never saw (Vaze et al. 2022, "Open-set recognition: a good closed-set classifier is all you
    need?"). Gives N × looks.
    """
    if not len(crops):
        return np.zeros((0, len(LOOKS)))
    small = np.stack([resize_crop(crop, SIDE) for crop in crops]).astype(np.float32)
    grey = small @ _GREY
    middle, spread = grey[:, 1:-1, 1:-1], grey.std(axis=(1, 2))
    around = grey[:, 2:, 1:-1] + grey[:, :-2, 1:-1] + grey[:, 1:-1, 2:] + grey[:, 1:-1, :-2]
    edges = (around - 4 * middle).var(axis=(1, 2))
    chroma = (small.max(axis=3) - small.min(axis=3)).mean(axis=(1, 2))
    columns = [
        np.log2(sides or [len(crop) for crop in crops]),
        np.log2(edges / (spread**2 + 1) + 1e-4),
        np.log2(chroma + 1),
        grey.mean(axis=(1, 2)),
        spread,
        probabilities.max(axis=1),
        np.linalg.norm(features, axis=1),
    ]
    return np.stack(columns, axis=1)


def fit_ranges(
    looks: np.ndarray, photos: pd.Series, sources: pd.Series
) -> dict[str, tuple[float, float]]:
    """The range of each look that `INSIDE` of the photos lie in; the widest of all datasets.

    Of N faces: looks, as `describe_crops` gives them, the photo and the dataset. A photo counts by
    the median of its faces.
    """
    import pandas as pd

    table = pd.DataFrame(looks, columns=list(LOOKS))
    medians = table.groupby([sources.to_numpy(), photos.to_numpy()]).median()
    parts = [part for _, part in medians.groupby(level=0) if len(part) >= FEW] or [medians]
    ends = np.stack([part.quantile([(1 - INSIDE) / 2, (1 + INSIDE) / 2]) for part in parts])
    low, high = ends[:, 0].min(axis=0).tolist(), ends[:, 1].max(axis=0).tolist()
    return {name: (round(a, 4), round(b, 4)) for name, a, b in zip(LOOKS, low, high, strict=True)}


def tell_chance(least: int, of: int) -> float:
    """That so many or more of all photos lie outside where `OUTSIDE` of them do: binomial."""
    ways = math.lgamma(of + 1) - math.lgamma(least + 1) - math.lgamma(of - least + 1)
    exactly = ways + least * math.log(OUTSIDE) + (of - least) * math.log1p(-OUTSIDE)
    ratios = np.arange(of - least, 0, -1) / np.arange(least + 1, of + 1) * OUTSIDE / (1 - OUTSIDE)
    return float(np.exp(np.cumsum(np.r_[exactly, np.log(ratios)])).sum())


def find_unlike(
    photos: Sequence[Sequence[Sequence[float]]], ranges: Mapping[str, tuple[float, float]]
) -> dict[str, Any] | None:
    """How photos, each with the looks of its faces, differ from those of the ranges, or None.

    Gives the number of photos that do, of how many with faces, why, and a sentence for people.
    """
    medians = np.array([np.median(looks, axis=0) for looks in photos if len(looks)])
    tests, outside = 2 * max(len(ranges), 1), {}
    if OUTSIDE ** len(medians) >= CHANCE / tests:  # Of so few photos all may lie outside.
        return None
    for name, (low, high) in ranges.items():
        values = medians[:, list(LOOKS).index(name)]
        for word, beyond in zip(LOOKS[name], (values < low, values > high), strict=True):
            if beyond.any() and tell_chance(int(beyond.sum()), len(values)) < CHANCE / tests:
                outside[word] = beyond
    if not outside:
        return None
    why = {word: int(beyond.sum()) for word, beyond in outside.items()}
    unlike = int(np.any(list(outside.values()), axis=0).sum())
    told = ", ".join(f"{word} in {n}" for word, n in sorted(why.items(), key=lambda w: -w[1]))
    said = (
        f"{tell(unlike, of=len(medians))} with faces {'looks' if unlike == 1 else 'look'} unlike "
        f"those that the nets learnt from ({told}): expect more errors, "
        "and measure them on photos of your own."
    )
    return {"photos": unlike, "of": len(medians), "why": why, "said": said}
