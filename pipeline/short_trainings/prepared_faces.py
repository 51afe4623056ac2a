"""The faces whose labels are judged, with crops that can be opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.faces import KEY, read_faces
from data_prep.labels import CLASSES
from data_prep.split import TRAIN, VALID
from pipeline.recipe import ClassifierRecipe
from pipeline.runs import PreparedError, identify_data


@dataclass(frozen=True)
class PreparedFaces:
    """Faces of the splits that may be looked at: train and valid, never another such as test.

    Attributes:
        folder: The prepared folder.
        table: N rows of `faces.csv` in the order of their keys, index from 0; `crop` is a path that
            can be opened.
        scale: Side of the crops as a multiple of the box's longer side.
        data: What identifies the folder: hash of `faces.csv`, sources, options.
        roots: Dataset folder of each source.
    """

    folder: Path
    table: pd.DataFrame
    scale: float
    data: dict[str, Any]
    roots: dict[str, Path]


def open_faces(folder: Path, recipe: ClassifierRecipe) -> PreparedFaces:
    """Read the faces of train and valid.

    Args:
        folder: The prepared folder.
        recipe: Names the datasets; all when it names none.

    Raises:
        PreparedError: Not a prepared folder, or a class without faces.
        FacesError: `faces.csv` can't be used.
    """
    data, roots = identify_data(folder)
    table = read_faces(folder)
    table = table[table["split"].isin([TRAIN, VALID])]
    if recipe.sources:
        table = table[table["source"].isin(recipe.sources)]
    if recipe.faces == "kept":
        table = table[table["kept"] | (table["split"] == VALID)]
    missing = [name for name in CLASSES if name not in set(table["label"])]
    if missing:
        raise PreparedError(
            f"{folder}: no face of class {missing[0]} in train and valid: check sources "
            f"{recipe.sources or 'all'}."
        )
    table = table.sort_values(list(KEY), kind="stable").reset_index(drop=True)
    table["crop"] = [str(folder / crop) for crop in table["crop"]]
    return PreparedFaces(folder, table, float(data["options"]["scale"]), data, roots)


def label_codes(table: pd.DataFrame) -> np.ndarray:
    """(N,) class index of each face."""
    return np.array([CLASSES.index(label) for label in table["label"]], dtype=np.int64)


def label_names(codes: np.ndarray) -> list[str]:
    """Class names of N class indices."""
    return [CLASSES[code] for code in codes]
