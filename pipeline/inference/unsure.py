"""Which classes a face may be of: sets that hold the true class with a stated coverage.

Split conformal prediction by class (Vovk 2012, "Conditional validity of inductive conformal
predictors"), least ambiguous sets (Sadinle, Lei, Wasserman 2019, "Least ambiguous set-valued
classifiers with bounded error levels").
"""

import math
from collections.abc import Sequence

import numpy as np

from data_prep.base.labels import CLASSES
from pipeline.nets.cards import PredictionSets

COVERAGE = 0.95
NONE = "none"  # Told of a face that is unlike those of any class.


def fit_sets(
    probabilities: np.ndarray, truth: np.ndarray, coverage: float = COVERAGE
) -> PredictionSets:
    """Limits by N faces that a net did not learn from: (N, classes), and (N,) true class indices.

    A class's limit is the k-th smallest probability that its n faces got of it, with k = (1 -
    coverage)(n + 1) rounded down: of further faces of the class, drawn alike, no more than k of
    n + 1 lie below on average. Where k is 0, or the limit would be, there is none.
    """
    limits, faces = {}, {}
    for index, name in enumerate(CLASSES):
        own = np.sort(probabilities[truth == index, index].astype(float))
        faces[name] = len(own)
        place = math.floor((1 - coverage) * (len(own) + 1) + 1e-9)
        if place and own[place - 1] > 0:
            limits[name] = float(own[place - 1])
    return PredictionSets(coverage=coverage, limits=limits, faces=faces)


def find_members(probabilities: np.ndarray, sets: PredictionSets) -> np.ndarray:
    """Whether each class is in the sets, (N, classes); without a limit, where it is likeliest."""
    members = probabilities >= [sets.limits.get(name, np.inf) for name in CLASSES]
    return members | (find_likeliest(probabilities) & [n not in sets.limits for n in CLASSES])


def name_sets(
    probabilities: Sequence[Sequence[float]], sets: PredictionSets | None
) -> list[str] | list[None]:
    """`Face.unsure` of N faces, (N, classes): empty where the set is the likeliest class alone."""
    if sets is None or not probabilities:
        return [None] * len(probabilities)
    shares = np.array(probabilities)
    members, likeliest = find_members(shares, sets), find_likeliest(shares)
    sure, empty = (members == likeliest).all(axis=1), ~members.any(axis=1)
    # What is told is among the classes that a face may be of, also where its set lacks it.
    named = ["|".join(np.array(CLASSES)[row]) for row in members | likeliest]
    return np.select([sure, empty], ["", NONE], named).tolist()


def find_likeliest(probabilities: np.ndarray) -> np.ndarray:
    """Whether each class is the likeliest, of equal ones the first: (N, classes)."""
    return np.eye(len(CLASSES), dtype=bool)[probabilities.argmax(axis=1)]
