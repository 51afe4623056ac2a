"""Copies of training faces turned by right angles.

Only what the split has put into training is turned: sets that were turned before they were split,
as a composite set of the field was, hold in training a turned copy of what they validate on.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from data_prep.split import TRAIN
from pipeline.classifier_data import ReadCrop
from pipeline.recipe import ClassifierRecipe


def add_turned_faces(
    faces: pd.DataFrame, read: ReadCrop, recipe: ClassifierRecipe
) -> tuple[pd.DataFrame, ReadCrop]:
    """Add a turned copy of every training face for every angle.

    Args:
        faces: Rows of `faces.csv`, drawn ones, too: `crop`, `split`.
        read: Gives the pixels of a crop.
        recipe: `rotated` says by how much, counter-clockwise.

    Returns:
        The faces with rows added, and what reads their crops, too; both as given when nothing is
        to be turned.
    """
    if not recipe.rotated:
        return faces, read
    training = faces[faces["split"] == TRAIN]
    turned: dict[str, tuple[str, int]] = {}
    copies = []
    for angle in recipe.rotated:
        names = [f"{crop}@{angle}" for crop in training["crop"]]
        turned |= {name: (crop, angle) for name, crop in zip(names, training["crop"], strict=True)}
        copies.append(training.assign(crop=names))

    def read_turned(path: str) -> np.ndarray:
        if path not in turned:
            return read(path)
        crop, angle = turned[path]
        return np.ascontiguousarray(np.rot90(read(crop), angle // 90))

    return pd.concat([faces, *copies], ignore_index=True), read_turned
