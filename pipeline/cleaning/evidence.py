"""What speaks against labels: networks' sure disagreement, look-alikes, duplicate faces; all."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
import pandas as pd
from usearch.index import Index

from data_prep.base.labels import CLASSES
from evaluate.measures.bootstrap import measure
from pipeline.training.data import read_crops

RESAMPLES = 200
POWERS = np.geomspace(0.5, 5, 24)  # Tried: how much surer than it says a network may be.


def estimate_wrong_labels(
    labels: np.ndarray,
    probabilities: np.ndarray,
    groups: Sequence[str],
    resamples: int = RESAMPLES,
) -> dict[str, list[float]]:
    """How many labels are wrong, told from a network's own mistakes by how sure it was.

    A label is taken for drawn from the face's true class with probabilities that depend on this
    class alone (the noise), and the true class from what the network says, to a power that is the
    same for all faces. Noise and power are those under which the given labels are likeliest, by
    expectation-maximisation (Mnih, Hinton 2012, "Learning to Label Aerial Images from Noisy Data").
    So a network that is wrong as often as its sureness allows finds no wrong label, and what it
    contradicts more often than that counts. What it can't tell: mistakes so regular that the
    network learns them, or made where it is unsure; and it takes its own sure mistakes for some.

    From the given class index of N faces, out-of-fold probabilities (N, C), and near-duplicate
    groups; groups are resampled, not faces, at the power of the whole.

    Returns:
        For "all" and by given class, estimate, low and high end of the 95 % interval.
    """
    codes, names = pd.factorize(np.asarray(groups))
    given, logs = np.eye(len(CLASSES))[labels], np.log(np.maximum(probabilities, 1e-6))

    def sharpen(power: float) -> np.ndarray:
        sure = np.exp(power * logs)
        return sure / sure.sum(axis=1, keepdims=True)

    fits = [(fit_noise(sharpen(power), given)[::2], power) for power in POWERS]
    (noise, _), power = max(fits, key=lambda fit: (fit[0][1], fit[1]))
    sure = sharpen(power)

    def count_wrong(weights: np.ndarray) -> dict[str, np.ndarray]:
        wrong = [fit_noise(sure, given * row[codes, None], noise)[1] for row in weights]
        return {"all": np.sum(wrong, axis=1), "by_class": np.array(wrong)}

    axes = {"by_class": (CLASSES,)}
    counts, ends = measure(count_wrong, photos=len(names), resamples=resamples, axes=axes)
    assert ends is not None
    counts, ends = ({"all": one["all"], **one["by_class"]} for one in (counts, ends))
    return {name: [round(value, 1) for value in (counts[name], *ends[name])] for name in counts}


def fit_noise(
    sure: np.ndarray, given: np.ndarray, noise: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """The noise that makes the given labels likeliest, by expectation-maximisation.

    `sure` are probabilities of the true class (N, C); `given` tells how often each face counts, in
    the column of its label, and 0 elsewhere (N, C); `noise` is where the search begins.

    Returns:
        The noise (C, C): in each row, what share of a true class is given which label; the expected
        number of wrong labels by given class (C,); the log likelihood.
    """
    if noise is None:
        noise = np.full((given.shape[1],) * 2, 0.02) + 0.94 * np.eye(given.shape[1])
    for _ in range(300):
        chances = np.maximum(sure @ noise, 1e-300)  # of each label, whatever the true class
        pairs = noise * (sure.T @ (given / chances))  # faces by true and given class
        before, noise = noise, pairs / np.maximum(pairs.sum(axis=1, keepdims=True), 1e-12)
        if np.abs(noise - before).max() < 1e-5:
            break
    return noise, pairs.sum(axis=0) - np.diag(pairs), float((given * np.log(chances)).sum())


NEIGHBOURS, _ROWS_AT_ONCE = 30, 1024
MANY = 30_000  # Faces from which an index looks neighbours up: all but a few of the most similar.


@dataclass(frozen=True)
class Neighbours:
    """The K most similar faces of each of N faces, all from other photos."""

    index: np.ndarray  # (N, K) rows, most similar first; -1 where there are fewer
    similarity: np.ndarray  # (N, K) cosine of features taken from their mean; 0 where none is


def find_neighbours(
    features: Sequence[np.ndarray],
    fold: np.ndarray,
    groups: Sequence[str],
    count: int = NEIGHBOURS,
) -> Neighbours:
    """Look up every face's neighbours by the network that it was held out from.

    `features` are those of all faces (N, D) by each fold's network. Similarity is the cosine after
    their mean is taken off: behind a ReLU all lie in one corner of space. Neighbours are of other
    near-duplicate groups; from `MANY` faces on, where an index is asked for twice as many, those of
    a large group may get fewer than `count`.
    """
    codes = pd.factorize(np.asarray(groups))[0]
    count = min(count, len(codes))
    index = np.full((len(codes), count), -1, np.int32)
    similarity = np.zeros((len(codes), count), np.float32)
    for number, own in enumerate(features):
        middle = own.mean(axis=0, dtype=np.float32)

        def scale(some: np.ndarray, middle: np.ndarray = middle) -> np.ndarray:
            units = some.astype(np.float32) - middle
            return units / np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-9)

        held, every = np.flatnonzero(fold == number), np.arange(len(own))
        lookup = Index(ndim=own.shape[1], metric="ip", dtype="f16")
        units = scale(own) if len(own) < MANY else None
        for rows in np.split(every, every[_ROWS_AT_ONCE::_ROWS_AT_ONCE]) if units is None else ():
            lookup.add(rows, scale(own[rows]), threads=1)  # In order: the same each time.
        for rows in np.split(held, np.arange(_ROWS_AT_ONCE, len(held), _ROWS_AT_ONCE)):
            if units is not None:
                near, cosine = every[None], units[rows] @ units.T
            else:
                there = lookup.search(scale(own[rows]), 2 * count + 1)
                near, cosine = there.keys.astype(int), 1 - there.distances
            cosine[codes[rows, None] == codes[near]] = -np.inf
            best = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
            found = np.take_along_axis(cosine, best, axis=1)
            nearest = np.take_along_axis(np.broadcast_to(near, cosine.shape), best, axis=1)
            index[rows] = np.where(np.isfinite(found), nearest, -1)
            similarity[rows] = np.where(np.isfinite(found), found, 0)
    return Neighbours(index, similarity)


def vote(neighbours: Neighbours, labels: np.ndarray) -> np.ndarray:
    """The neighbours' labels by similarity, (N, 3) shares; a third each where there are none."""
    weights = np.maximum(neighbours.similarity, 0) * (neighbours.index >= 0)
    given = labels.astype(np.int8)[neighbours.index]
    votes = np.stack([(weights * (given == c)).sum(axis=1) for c in range(len(CLASSES))], axis=1)
    total = votes.sum(axis=1, keepdims=True)
    return np.divide(votes, total, out=np.full_like(votes, 1 / len(CLASSES)), where=total > 0)


COMPARED, SIDE = 96, 24  # Pixels of a side that crops are kept at at most, and compared at.
ALIKE = 0.85  # Correlation from which two crops show the same face at the same moment.


def find_duplicate_faces(faces: pd.DataFrame) -> list[list[int]]:
    """Match the faces of near-duplicate photos by how alike their crops are, mirrored or not.

    Two faces are duplicates when they lie in different photos of one group, each is the other's
    best match in that photo, and their crops' grey levels correlate by `ALIKE` or more. `crop` is
    a path that can be opened. Gives for each face the rows of its duplicates, ascending.
    """
    duplicates: list[list[int]] = [[] for _ in range(len(faces))]
    photo = pd.factorize(faces["source"] + "\n" + faces["image"])[0]
    paths = faces["crop"].to_numpy()
    groups = [
        rows
        for rows in faces.reset_index(drop=True).groupby("group", sort=True).indices.values()
        if len(np.unique(photo[rows])) > 1
    ]
    for rows in groups:
        crops = list(map(read_crops(side=COMPARED), paths[rows]))
        upright, mirrored = (
            np.stack([_describe(crop[:, ::step]) for crop in crops]) for step in (1, -1)
        )
        alike = np.maximum(upright @ upright.T, upright @ mirrored.T)
        for first, second in combinations(np.unique(photo[rows]), 2):
            here, there = (np.flatnonzero(photo[rows] == one) for one in (first, second))
            pairs = alike[np.ix_(here, there)]
            for one, other in enumerate(pairs.argmax(axis=1)):
                if pairs[:, other].argmax() == one and pairs[one, other] >= ALIKE:
                    duplicates[rows[here[one]]].append(int(rows[there[other]]))
                    duplicates[rows[there[other]]].append(int(rows[here[one]]))
    return [sorted(found) for found in duplicates]


def _describe(crop: np.ndarray) -> np.ndarray:
    """Grey levels from their mean, as a vector of length 1; of length 0 for an even crop."""
    grey = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean()
    return (small / max(float(np.linalg.norm(small)), 1e-6)).ravel()


NETWORK = 0.6  # Weight of the network in the merged order; the neighbours have the rest.
DUPLICATE = 0.5  # Weight of each duplicate of a face, that of everything else being 1.
LEAST = 1e-6  # Probabilities count as this at least, so that no loss is infinite.


@dataclass(frozen=True)
class Evidence:
    """What speaks for and against the labels of N faces."""

    labels: np.ndarray  # (N,) class index given
    probabilities: np.ndarray  # (N, 3) of the network
    votes: np.ndarray  # (N, 3) the nearest neighbours' labels, shares that sum to 1
    duplicate_votes: np.ndarray  # (N, 3) counts of the labels of each face's duplicates
    learnt: np.ndarray | None = None  # (N, 3) of a network shortly trained on all these faces

    @property
    def loss(self) -> np.ndarray:
        """(N,) minus the natural logarithm of the given label's probability."""
        return -np.log(np.maximum(_pick(self.probabilities, self.labels), LEAST))

    @property
    def margin(self) -> np.ndarray:
        """(N,) probability of the given label minus that of the likeliest other, -1 to 1."""
        others = self.probabilities.copy()
        others[np.arange(len(self.labels)), self.labels] = -np.inf
        return _pick(self.probabilities, self.labels) - others.max(axis=1)

    @property
    def disagreement(self) -> np.ndarray:
        """(N,) share of the nearest neighbours that have another label."""
        return 1 - _pick(self.votes, self.labels)

    @property
    def contradicted(self) -> np.ndarray:
        """(N,) whether a duplicate of the face has another label."""
        return self.duplicate_votes.sum(axis=1) > _pick(self.duplicate_votes, self.labels)

    @property
    def opinions(self) -> np.ndarray:
        """(N, 3) class shares merged from all the evidence, as the README says."""
        merged = NETWORK * self.probabilities + (1 - NETWORK) * self.votes
        if self.learnt is not None:
            # Too short a training to learn single labels by heart doubts wrong ones all the same,
            # and has seen more photos than a fold's.
            merged = (merged + self.learnt) / 2
        duplicates = self.duplicate_votes.sum(axis=1, keepdims=True)
        return (merged + DUPLICATE * self.duplicate_votes) / (1 + DUPLICATE * duplicates)

    @property
    def score(self) -> np.ndarray:
        """(N,) how suspect each label is by all the evidence, 0 to 1: the merged order."""
        return 1 - _pick(self.opinions, self.labels)


def gather_evidence(
    labels: np.ndarray,
    probabilities: np.ndarray,
    neighbours: Neighbours,
    duplicates: Sequence[Sequence[int]],
    learnt: np.ndarray | None = None,
) -> Evidence:
    """Bring together the opinions of networks (N, 3), neighbours, and rows of duplicates."""
    given = np.eye(len(CLASSES), dtype=int)[labels]
    counts = np.array([given[list(others)].sum(axis=0) for others in duplicates])
    return Evidence(labels, probabilities, vote(neighbours, labels), counts, learnt)


def _pick(table: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return table[np.arange(len(columns)), columns]
