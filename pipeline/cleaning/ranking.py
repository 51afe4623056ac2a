"""From what speaks against each label to one order, the most suspect first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.cleaning.evidence import Neighbours, vote

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
        """(N, 3) class shares merged from all the evidence.

        `NETWORK` parts of the network's probabilities, the rest the neighbours' votes; half of that
        and half of `learnt`, where there is one; then each duplicate's label counts as `DUPLICATE`
        of all that.
        """
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
    counts = np.array([np.bincount(labels[list(others)], minlength=3) for others in duplicates])
    return Evidence(labels, probabilities, vote(neighbours, labels), counts, learnt)


def _pick(table: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return table[np.arange(len(columns)), columns]
