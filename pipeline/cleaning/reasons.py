"""Why a label is suspected, in words for the person who looks at the face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from data_prep.labels import CLASSES
from pipeline.cleaning.ranking import Evidence
from pipeline.plots import SHORT

FROM_LOOKALIKES = 0.5
"""Share of the neighbours with another label from which they are a reason."""


def give_reasons(
    faces: pd.DataFrame, evidence: Evidence, twins: Sequence[Sequence[int]]
) -> list[str]:
    """What speaks against each label, the strongest first, parted by semicolons.

    Args:
        faces: N rows of `faces.csv`.
        evidence: Of each face.
        twins: Rows of each face's near-duplicates.

    Returns:
        N texts; empty where nothing speaks against the label.
    """
    images = faces["image"].tolist()
    labels = evidence.labels
    model = evidence.probabilities.argmax(axis=1)
    crowd = evidence.votes.argmax(axis=1)
    reasons = []
    for row in range(len(faces)):
        found = []
        other = [twin for twin in twins[row] if labels[twin] != labels[row]]
        if other:
            found.append(f"duplicate: {_short(labels[other[0]])}, in {images[other[0]]}")
        if model[row] != labels[row]:
            share = evidence.probabilities[row, model[row]]
            found.append(f"model: {_short(model[row])} {share:.0%}")
        if evidence.disagreement[row] >= FROM_LOOKALIKES and crowd[row] != labels[row]:
            share = evidence.votes[row, crowd[row]]
            found.append(f"look-alikes: {share:.0%} {_short(crowd[row])}")
        reasons.append("; ".join(found))
    return reasons


def _short(label: np.integer) -> str:
    return SHORT[CLASSES[int(label)]]
