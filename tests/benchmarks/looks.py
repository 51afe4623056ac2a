"""How often "these photos look unlike those that the nets were trained on" is said, and rightly.

    python -m tests.benchmarks.looks PREPARED [OTHER …] [--write]

PREPARED is what the shipped classifier was trained on (`python -m data_prep build` of both shared
sets). Ranges are fitted on half of its validation photos, and sets of N photos of one dataset are
drawn from the other half, as they are and edited; OTHER are prepared folders that it never saw, all
of whose photos count. Printed is the share of sets that are called unlike. With --write the ranges
of all validation photos go onto the shipped card, which keeps its weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch

from data_prep.base.files import write_json
from data_prep.base.photo import read_photo
from data_prep.base.tables import markdown_table, read_faces
from data_prep.grouping.split import VALID
from pipeline.inference.classifier import Classifier
from pipeline.inference.looks import describe_crops, find_unlike, fit_ranges

WEIGHTS = Path(__file__).parents[2] / "weights" / "classifier.safetensors"
SIZES, DRAWS, HALVES = (10, 30, 60), 50, 8
NOISE = np.random.default_rng(0)
EDITS = {
    "as they are": lambda crop: crop,
    "grey": lambda crop: np.repeat(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2),
    "blurred": lambda crop: cv2.GaussianBlur(crop, (0, 0), len(crop) / 25),
    "a quarter of the light": lambda crop: crop // 4,
    "noise": lambda crop: np.clip(crop + NOISE.normal(0, 30, crop.shape), 0, 255).astype(np.uint8),
    "negative": lambda crop: 255 - crop,
}


def look_at(prepared: Path, classifier: Classifier, edit, valid_only: bool) -> pd.DataFrame:
    """The looks of a folder's faces after an edit, with source and image."""
    faces = read_faces(prepared)
    faces = faces[faces["split"] == VALID] if valid_only else faces
    crops = [edit(read_photo(prepared / crop).pixels) for crop in faces["crop"]]
    looks = describe_crops(crops, *classifier.embed(crops)).tolist()
    return faces[["source", "image"]].assign(looks=looks).reset_index(drop=True)


def fit(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    return fit_ranges(np.array(table["looks"].to_list()), table["image"], table["source"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("others", type=Path, nargs="*")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    classifier = Classifier.load(WEIGHTS, device=torch.device("cpu"))
    own = {name: look_at(options.prepared, classifier, edit, True) for name, edit in EDITS.items()}
    base = own["as they are"]
    if options.write:
        card = classifier.card.model_copy(update={"looks": fit(base)})
        write_json(WEIGHTS.with_suffix(".json"), card.model_dump(mode="json"))
    photos = base.drop_duplicates(["source", "image"])[["source", "image"]]
    rng = np.random.default_rng(0)
    others = {path.name: look_at(path, classifier, EDITS["as they are"], False)
              for path in options.others}  # fmt: skip
    said: dict[tuple[str, str], dict[int, list[bool]]] = {}
    for _ in range(HALVES):
        half = rng.random(len(photos)) < 0.5
        ranges = fit(base.merge(photos[half]))
        for name, table in {**own, **others}.items():
            if name in own:
                table = table.merge(photos[~half])
            for source, rows in table.groupby("source"):
                by_photo = rows.groupby("image")["looks"]
                sets = [[np.median(list(looks), axis=0)] for _, looks in by_photo]
                for size in SIZES:
                    hits = said.setdefault((name, str(source)), {}).setdefault(size, [])
                    for _ in range(DRAWS):
                        drawn = rng.choice(len(sets), min(size, len(sets)), replace=False)
                        hits.append(find_unlike([sets[i] for i in drawn], ranges) is not None)
    rows = [
        [name, source, *(f"{np.mean(hits[size]):.3f}" for size in SIZES)]
        for (name, source), hits in said.items()
    ]
    heads = ["photos", "set", *(f"{size} photos" for size in SIZES)]
    sys.stdout.write(markdown_table(heads, rows) + "\n")


if __name__ == "__main__":
    main()
