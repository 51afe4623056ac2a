"""From what speaks against each label to one order, the most suspect first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data_prep.base.errors import UserError
from pipeline.cleaning.evidence import Neighbours, vote

Order = Literal["merged", "out-of-fold", "in-sample"]
ORDERS: tuple[Order, ...] = ("merged", "out-of-fold", "in-sample")
"""By all the evidence; by plain out-of-fold loss; by the loss of a network on its own training
faces."""


class OrderError(UserError, ValueError):
    """An order that is not known."""


NETWORK = 0.6
"""Say of the network in the merged order; the neighbours have the rest."""

TWIN = 0.5
"""Say of each near-duplicate of the very face, the others' together being 1."""

LEAST = 1e-6
"""Probabilities count as this at least, so that no loss is infinite."""


@dataclass(frozen=True)
class Evidence:
    """What speaks for and against the labels of N faces.

    Attributes:
        labels: (N,) class index given to each face.
        probabilities: (N, 3) of the network.
        votes: (N, 3) the nearest neighbours' labels, shares that sum to 1.
        twin_votes: (N, 3) counts of the labels of near-duplicates of the very face.
        learnt: (N, 3) of a network shortly trained on all faces, these included; None without one.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    votes: np.ndarray
    twin_votes: np.ndarray
    learnt: np.ndarray | None = None

    @property
    def loss(self) -> np.ndarray:
        """(N,) minus the natural logarithm of the given label's probability."""
        return -np.log(np.maximum(_pick(self.probabilities, self.labels), LEAST))

    @property
    def margin(self) -> np.ndarray:
        """(N,) probability of the given label minus that of the likeliest other, -1 to 1."""
        return margins(self.probabilities, self.labels)

    @property
    def disagreement(self) -> np.ndarray:
        """(N,) share of the nearest neighbours that have another label."""
        return 1 - _pick(self.votes, self.labels)

    @property
    def twin(self) -> np.ndarray:
        """(N,) whether a near-duplicate of the face has another label."""
        return self.twin_votes.sum(axis=1) > _pick(self.twin_votes, self.labels)


def gather_evidence(
    labels: np.ndarray,
    probabilities: np.ndarray,
    neighbours: Neighbours,
    twins: Sequence[Sequence[int]],
    learnt: np.ndarray | None = None,
) -> Evidence:
    """Bring together the network's, the neighbours' and the near-duplicates' opinions.

    Args:
        labels: (N,) given class index of each face.
        probabilities: (N, 3) of the network.
        neighbours: Of each face.
        twins: Rows of each face's near-duplicates.
        learnt: (N, 3) of a network shortly trained on all faces, these included.
    """
    twin_votes = np.zeros(probabilities.shape)
    for row, others in enumerate(twins):
        np.add.at(twin_votes[row], labels[list(others)], 1)
    return Evidence(labels, probabilities, vote(neighbours, labels), twin_votes, learnt)


def choose_order(name: str) -> Order:
    """The order of this name.

    Raises:
        OrderError: There is none.
    """
    for order in ORDERS:
        if order == name:
            return order
    raise OrderError(f"unknown order '{name}': use {', '.join(ORDERS)}.")


def margins(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Probability of the given label minus that of the likeliest other one, (N,).

    >>> margins(np.array([[0.75, 0.25, 0.0]]), np.array([1])).tolist()
    [-0.5]
    """
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return _pick(probabilities, labels) - others.max(axis=1)


def _pick(table: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return table[np.arange(len(columns)), columns]


def merge_opinions(evidence: Evidence) -> np.ndarray:
    """Class shares in which network, neighbours and near-duplicates each have their say.

    Args:
        evidence: Of N faces.

    Returns:
        (N, 3): `NETWORK` parts of the network's probabilities, the rest the neighbours' votes; half
        of that and half of what a network has learnt, where there is one; then each
        near-duplicate's label counts as `TWIN` of all that.
    """
    merged = NETWORK * evidence.probabilities + (1 - NETWORK) * evidence.votes
    if evidence.learnt is not None:
        # Too short a training to learn single labels by heart doubts wrong ones all the same, and
        # has seen more photos than a fold's.
        merged = (merged + evidence.learnt) / 2
    twins = evidence.twin_votes.sum(axis=1, keepdims=True)
    return (merged + TWIN * evidence.twin_votes) / (1 + TWIN * twins)


def score_labels(evidence: Evidence) -> np.ndarray:
    """How suspect each label is by all the evidence: the merged order.

    Args:
        evidence: Of N faces.

    Returns:
        (N,) 0 to 1, higher is more suspect.
    """
    return 1 - _pick(merge_opinions(evidence), evidence.labels)
