"""Figures of right and wrong answers, paired differences with intervals, and how they are shown."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from data_prep.base.labels import CLASSES
from evaluate.measures.bootstrap import Statistic, compare, share, tally

Figure = list[float]  # A value, and the low and high end of its 95 % interval.

RESAMPLES = 2000


def count_answers(right: np.ndarray, truth: np.ndarray, groups: pd.Series) -> tuple[Statistic, int]:
    """Accuracy, macro recall, and recall by class, from weights of groups; and how many groups.

    `right` is (N,) whether, or in which share of trainings, each face was told right; `truth` its
    class index; `groups` its photo, or group of photos.
    """
    codes, names = pd.factorize(groups)
    count = partial(tally, codes, truth, photos=len(names), shape=[len(CLASSES)])
    all_right, all_faces = count(values=right.astype(float)), count()
    known = all_faces.sum(axis=0) > 0

    def figures(weights: np.ndarray) -> dict[str, np.ndarray]:
        told, faces = weights @ all_right, weights @ all_faces
        recalls = share(told, faces)
        return {
            "accuracy": told.sum(axis=1) / faces.sum(axis=1),
            "macro_recall": recalls[:, known].mean(axis=1),
            **dict(zip(CLASSES, recalls.T, strict=True)),
        }

    return figures, len(names)


def compare_sides(
    before: np.ndarray, after: np.ndarray, truth: np.ndarray, groups: pd.Series
) -> dict[str, dict[str, Any]]:
    """Differences with intervals; the same resampled groups weigh both sides.

    `before` and `after` are (S, N): whether each of S trainings told each face right; the rest as
    of `count_answers`. By figure, `before` and `after` (means over the trainings), `difference`,
    its paired 95 % `interval`, and `by_seed`; None where not defined.
    """

    def differ(old: np.ndarray, new: np.ndarray, resamples: int) -> dict[str, Any]:
        first, photos = count_answers(old, truth, groups)
        second, _ = count_answers(new, truth, groups)
        return compare(second, first, photos=photos, resamples=resamples)

    # The mean over trainings of a share is the share of the mean.
    sides = differ(before.mean(axis=0), after.mean(axis=0), RESAMPLES)
    seeds = [differ(*pair, 0) for pair in zip(before, after, strict=True)]
    return {
        name: {
            "before": _round(side["other"]),
            "after": _round(side["mine"]),
            "difference": _round(side["difference"]),
            "interval": [_round(end) for end in side["interval"] or (None, None)],
            "by_seed": [_round(seed[name]["difference"]) for seed in seeds],
        }
        for name, side in sides.items()
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def pick_difference(figure: Mapping[str, Any]) -> Figure:
    """The difference and its interval, of a figure of `compare_sides`."""
    return [figure["difference"], *figure["interval"]]


def show_figure(figure: Sequence[float] | None, sign: str = "") -> str:
    """A figure with its interval; with a sign for differences.

    >>> show_figure([0.5, 0.25, 0.75]), show_figure([0.5, 0.25, 0.75], "+"), show_figure(None)
    ('0.500 (0.250 to 0.750)', '+0.500 (+0.250 to +0.750)', '–')
    """
    if figure is None or pd.isna(figure[0]):
        return "–"
    value, low, high = (f"{number:{sign}.3f}" for number in figure)
    return f"{value} ({low} to {high})"


def name_photos(faces: pd.DataFrame) -> pd.Series:
    """(N,) source/image of each face."""
    return faces["source"] + "/" + faces["image"]
