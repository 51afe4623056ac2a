"""What a mask worn wrongly counts as: a class of its own, no mask, or nothing at all."""

from __future__ import annotations

import pandas as pd

from data_prep.base.labels import BARE, CLASSES, RARE_CLASS
from pipeline.runs.recipe import Incorrect


def learnt_classes(incorrect: Incorrect) -> tuple[str, ...]:
    """The classes that are learnt, in the order of `CLASSES`.

    >>> learnt_classes("exclude")
    ('with_mask', 'without_mask')
    """
    return tuple(name for name in CLASSES if incorrect == "own" or name != RARE_CLASS)


def count_incorrect(faces: pd.DataFrame, incorrect: Incorrect) -> pd.DataFrame:
    """Faces with masks worn wrongly relabelled, or left out, as a recipe says."""
    is_wrong = faces["label"] == RARE_CLASS
    if incorrect == "exclude":
        return faces[~is_wrong]
    if incorrect == "without_mask":
        return faces.assign(label=faces["label"].where(~is_wrong, BARE))
    return faces
