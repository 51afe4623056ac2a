"""Suspects folders of painted photos, with a table as the ranking writes it; decisions."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from data_prep.base.labels import CLASSES
from data_prep.base.records import Box
from data_prep.decisions.ledger import Decision
from tests.pipeline.makers import save_photo

BOXES = ((8, 10, 30, 34), (48, 30, 70, 56), (84, 12, 112, 44))
"""One face of each class to a photo of 120 × 90, in the order of `CLASSES`."""

EXPECTED = {"with_mask": [3.0, 1.0, 5.0], "without_mask": [2.0, 0.0, 4.0]}


def make_suspects(folder: Path, rows: int = 12, likely: list[float] | None = None) -> Path:
    """Write `folder/set` with photos and `folder/found`, the suspects folder, which is returned.

    Four photos have three faces each; more rows repeat them under further keys.
    """
    for number in range(4):
        faces = list(zip(CLASSES, BOXES, strict=True))
        save_photo(folder / "set" / "images" / f"{number:03d}.jpg", faces, seed=number)
    rng = np.random.default_rng(0)
    faces = np.arange(rows)
    labels = np.array(CLASSES)[faces % 3]
    opinion = rng.dirichlet((1, 1, 1), rows).round(5)
    similar = rng.integers(1, rows + 1, (rows, 8))
    corners = np.array(BOXES, float)[faces % 3]
    table = pd.DataFrame(
        {
            "rank": faces + 1,
            "source": "set",
            "image": [f"images/{face // 3 % 4:03d}.jpg" for face in faces],
            "object": faces % 3 + 3 * (faces // 12),
            "label": labels,
            "split": np.where(faces % 5, "train", "valid"),
            "suggested": np.array(CLASSES)[opinion.argmax(axis=1)],
            "score": np.linspace(1, 0, rows).round(5),
            **{f"p_{name}": opinion[:, column] for column, name in enumerate(CLASSES)},
            "reasons": "the model is sure of another class; 6 of 8 neighbours differ",
            "similar": [" ".join(map(str, ranks)) for ranks in similar],
            **dict(zip(("xmin", "ymin", "xmax", "ymax"), corners.T, strict=True)),
            "width": 120,
            "height": 90,
            "crop": [f"crops/train/{label}/{face}.jpg" for face, label in enumerate(labels)],
        }
    )
    found = folder / "found"
    found.mkdir(parents=True)
    table.to_csv(found / "suspects.csv", index=False)
    write_about(found, {"set": folder / "set"}, folder / "prepared", likely)
    return found


def write_about(
    found: Path, roots: dict[str, Path], prepared: Path, likely: list[float] | None = None
) -> None:
    about = {
        "format": 1,
        "prepared": str(prepared),
        "roots": {name: str(root) for name, root in roots.items()},
        "likely_errors": likely,
        "expected_wrong": EXPECTED,
    }
    (found / "suspects.json").write_text(json.dumps(about), encoding="utf-8")


def decide(number: int, **changes) -> Decision:
    """A decision on face `number` of one photo."""
    return Decision(
        **{
            "at": f"2026-11-20T10:00:{number % 60:02}.000Z",
            "by": "ada",
            "source": "sét",
            "image": "a b.jpg",
            "object": number,
            "photo_sha256": "0" * 64,
            "box": Box(1, 2, 3, 4),
            "given": "with_mask",
            "action": "keep",
            "to": None,
            "to_box": None,
        }
        | changes
    )
