"""Tables of faces without photos, and a recipe small enough for tests."""

import pandas as pd

from data_prep.base.labels import CLASSES
from pipeline.runs.recipe import ClassifierRecipe, write_recipe

TINY = ClassifierRecipe(
    name="tiny",
    faces="all",
    sizes=[32],
    epochs=[1],
    batch_size=12,
    lr=1e-3,
    class_weights="none",
    rotate=0.0,
    warp=0.0,
    bf16="off",
)


def table_of(labels, groups=None, images=None, source="set", split="train"):
    """Rows of `faces.csv`, one face to a photo unless told otherwise."""
    count = len(labels)
    images = images or [f"{index}.jpg" for index in range(count)]
    return pd.DataFrame(
        {
            "source": source,
            "image": images,
            "object": range(count),
            "label": [CLASSES[label] for label in labels],
            "group": groups or images,
            "split": split,
            "xmin": 1.0,
            "ymin": 2.0,
            "xmax": 11.0,
            "ymax": 14.0,
            "width": 40,
            "height": 30,
            "kept": True,
            "crop": [f"crops/{index}.jpg" for index in range(count)],
        }
    )


def write_tiny(folder, **changes):
    """A TOML file of `TINY`; its path as commands take it."""
    path = folder / "tiny.toml"
    path.write_text(write_recipe(TINY.model_copy(update=changes)))
    return str(path)
