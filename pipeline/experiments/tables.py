"""Figures of right and wrong answers, paired differences with intervals, and how they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from data_prep.base.labels import CLASSES
from evaluate.measures.bootstrap import bootstrap_intervals, compare, share, tally

Figure = list[float]  # A value, and the low and high end of its 95 % interval.

RESAMPLES = 2000


class Answers:
    """How well N faces were told, for resampled groups of them.

    `right` is (N,) whether, or in which share of trainings, each face was told right; `truth` its
    class index; `groups` its photo, or group of photos.
    """

    def __init__(self, right: np.ndarray, truth: np.ndarray, groups: pd.Series) -> None:
        codes, names = pd.factorize(groups)
        self.groups = len(names)
        count = partial(tally, codes, truth, photos=len(names), shape=[len(CLASSES)])
        self._right, self._all = count(values=right.astype(float)), count()

    def measure(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Accuracy, macro recall, and recall by class; (B,) each, from weights (B, P) of groups."""
        right, faces = weights @ self._right, weights @ self._all
        recalls = share(right, faces)
        known = self._all.sum(axis=0) > 0
        return {
            "accuracy": right.sum(axis=1) / faces.sum(axis=1),
            "macro_recall": recalls[:, known].mean(axis=1),
            **dict(zip(CLASSES, recalls.T, strict=True)),
        }

    @property
    def values(self) -> dict[str, float]:
        """Each group counted once."""
        figures = self.measure(np.ones((1, self.groups)))
        return {name: float(values[0]) for name, values in figures.items()}


def measure_side(
    right: np.ndarray, truth: np.ndarray, groups: pd.Series
) -> dict[str, Figure | None]:
    """Figures of `Answers` with their 95 % intervals, None where not defined; see `Answers`."""
    answers = Answers(right, truth, groups)
    ends = bootstrap_intervals(answers.measure, photos=answers.groups, resamples=RESAMPLES)
    figures = {name: [value, *map(float, ends[name])] for name, value in answers.values.items()}
    return {name: None if np.isnan(row[0]) else row for name, row in figures.items()}


def compare_sides(
    before: np.ndarray, after: np.ndarray, truth: np.ndarray, groups: pd.Series
) -> dict[str, dict[str, Any]]:
    """Differences with intervals; the same resampled groups weigh both sides.

    `before` and `after` are (S, N): whether each of S trainings told each face right; the rest as
    of `Answers`. By figure, `before` and `after` (means over the trainings),
    `difference`, its paired 95 % `interval`, and `by_seed`; None where not defined.
    """
    # The mean over trainings of a share is the share of the mean.
    first, second = (Answers(right.mean(axis=0), truth, groups) for right in (before, after))
    sides = compare(second.measure, first.measure, photos=first.groups, resamples=RESAMPLES)
    leads = []
    for pair in zip(before, after, strict=True):
        old, new = (Answers(right, truth, groups).values for right in pair)
        leads.append({name: _round(new[name] - old[name]) for name in new})
    return {
        name: {
            "before": _round(side["other"]),
            "after": _round(side["mine"]),
            "difference": _round(side["difference"]),
            "interval": [_round(end) for end in side["interval"] or (None, None)],
            "by_seed": [lead[name] for lead in leads],
        }
        for name, side in sides.items()
    }


def _round(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else round(value, 5)


def pick_difference(figure: Mapping[str, Any]) -> Figure:
    """The difference and its interval, of a figure of `compare_sides`."""
    return [figure["difference"], *figure["interval"]]


def pick_figure(record: Mapping[str, Any], *path: str) -> Figure | None:
    """A number of an evaluation's record, low and high in four decimals; None where not defined."""
    value: Any = record
    ends: Any = record["intervals"]
    for name in path:
        value, ends = value[name], ends[name]
    if value is None or ends is None:
        return None
    numbers = [float(value), *map(float, ends)]
    return None if np.isnan(numbers).any() else [round(number, 4) for number in numbers]


def show_figure(figure: Sequence[float] | None, sign: str = "") -> str:
    """A figure with its interval; with a sign for differences.

    >>> show_figure([0.5, 0.25, 0.75]), show_figure([0.5, 0.25, 0.75], "+"), show_figure(None)
    ('0.500 (0.250 to 0.750)', '+0.500 (+0.250 to +0.750)', '–')
    """
    if figure is None or pd.isna(figure[0]):
        return "–"
    value, low, high = (f"{number:{sign}.3f}" for number in figure)
    return f"{value} ({low} to {high})"
