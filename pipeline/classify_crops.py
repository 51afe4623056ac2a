"""The classifier alone, on annotated boxes, in the form that `evaluate` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from data_prep.files import write_atomically
from data_prep.labels import CLASSES
from data_prep.photo import read_photo
from pipeline.classifier import Classifier

BOX = ["xmin", "ymin", "xmax", "ymax"]


def classify_crops(faces: pd.DataFrame, prepared: Path, classifier: Classifier, table: Path) -> int:
    """Write one row per annotated face, with its own box and a detection score of 1.

    Args:
        faces: Rows of `faces.csv`.
        prepared: The folder their crops lie in.
        classifier: What to measure.
        table: The CSV, in the form of `run.py`'s; `image` is source/image.

    Returns:
        The number of faces.

    Raises:
        PhotoError: A crop is missing or damaged.
        OutputError: The table can't be written.
    """
    crops = [read_photo(prepared / crop).pixels for crop in faces["crop"]]
    probabilities = classifier.classify(crops)
    best = probabilities.argmax(axis=1)
    rows = pd.DataFrame({"image": faces["source"] + "/" + faces["image"]}).reset_index(drop=True)
    rows[BOX] = faces[BOX].to_numpy()
    rows["label"] = [CLASSES[index] for index in best]
    rows["score"] = probabilities[np.arange(len(best)), best].round(5)
    rows["detection"] = 1.0
    for index, name in enumerate(CLASSES):
        rows[f"p_{name}"] = probabilities[:, index].round(5)
    write_atomically(table, rows.to_csv(index=False))
    return len(rows)
