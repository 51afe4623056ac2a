"""Contact sheets for the audit page: which faces to show, and their thumbnails."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from data_prep.base.labels import CLASSES
from data_prep.grouping.split import TRAIN
from data_prep.prepare.blur import SIZE_EDGES, size_bin

THUMB_SIDE = 96
"""Longest side of an embedded thumbnail in pixels; smaller crops are embedded as they are."""

PER_CLASS = 56
SMALLEST = 28
BLUR_BINS = 4
PER_BLUR_ROW = 13
GROUPS = 8
PER_GROUP = 8


@dataclass(frozen=True)
class Thumb:
    """A face to show: a data URI, a short caption, and what hovering tells."""

    src: str
    caption: str
    title: str


@dataclass(frozen=True)
class Sheet:
    """A row of faces under a title."""

    title: str
    thumbs: tuple[Thumb, ...]


@dataclass(frozen=True)
class BlurSheet:
    """What the blur rule drops of one size bin, next to what it keeps of the same bin."""

    title: str
    dropped: tuple[Thumb, ...]
    kept: tuple[Thumb, ...]


@dataclass(frozen=True)
class Sheets:
    """All contact sheets of a page.

    A random sample of each class, smallest face first; the smallest faces of all; the size bins
    that lose most to the blur rule, smallest first; the largest near-duplicate groups: the largest
    face of each of their photos.
    """

    classes: tuple[Sheet, ...]
    smallest: Sheet
    blur: tuple[BlurSheet, ...]
    groups: tuple[Sheet, ...]


def draw_sheets(faces: pd.DataFrame, crops: Path, *, seed: int = 0) -> Sheets:
    """Choose faces and load their thumbnails; `crops` holds all crops side by side."""
    rng = np.random.default_rng(seed)

    def load(rows: pd.DataFrame) -> tuple[Thumb, ...]:
        return tuple(_load_thumb(row, crops) for _, row in rows.iterrows())

    def sample(rows: pd.DataFrame, size: int, order: str) -> tuple[Thumb, ...]:
        chosen = rng.permutation(len(rows))[:size]
        return load(rows.iloc[chosen].sort_values(order, kind="stable"))

    by_class = {label: faces[faces["label"] == label] for label in CLASSES}
    classes = tuple(
        Sheet(label, sample(rows, PER_CLASS, "short_side"))
        for label, rows in by_class.items()
        if len(rows)
    )
    smallest = Sheet("smallest", load(faces.nsmallest(SMALLEST, "short_side")))
    blur = tuple(
        BlurSheet(
            _name_bin(index),
            sample(rows[~rows["kept"]], PER_BLUR_ROW, "blur"),
            sample(rows[rows["kept"]], PER_BLUR_ROW, "blur"),
        )
        for index, rows in _thinned_bins(faces)
    )
    groups = tuple(Sheet(name, load(rows)) for name, rows in _largest_groups(faces))
    return Sheets(classes, smallest, blur, groups)


def _thinned_bins(faces: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    """Training faces of the thinned class in the size bins that lose most, smallest first."""
    dropped = faces[~faces["kept"]]
    if dropped.empty:
        return []
    pool = faces[(faces["split"] == TRAIN) & faces["label"].isin(dropped["label"].unique())]
    bins = pd.Series(size_bin(pool["short_side"].to_numpy()), index=pool.index)
    losses = bins[~pool["kept"]].value_counts().sort_index()
    most = losses.nlargest(BLUR_BINS).index
    return [(int(index), pool[bins == index]) for index in sorted(most)]


def _name_bin(index: int) -> str:
    edges = [0.0, *SIZE_EDGES]
    if index == len(SIZE_EDGES):
        return f"{edges[-1]:g} px and more"
    return f"{edges[index]:g} to {edges[index + 1]:g} px"


def _largest_groups(faces: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    best = faces.sort_values("short_side", ascending=False, kind="stable")
    photos = best.drop_duplicates(["source", "image"])
    sizes = photos["group"].value_counts().loc[lambda n: n > 1]
    return [
        (name, photos[photos["group"] == name].sort_values("image").head(PER_GROUP))
        for name in sizes.index[:GROUPS].astype(str)
    ]


def _load_thumb(row: pd.Series, crops: Path) -> Thumb:
    data = (crops / str(row["crop"])).read_bytes()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise OSError(f"{crops / str(row['crop'])}: the crop can't be decoded")
    if pixels.shape[0] > THUMB_SIDE:
        small = cv2.resize(pixels, (THUMB_SIDE, THUMB_SIDE), interpolation=cv2.INTER_AREA)
        data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    title = (
        f"{row['source']}/{row['image']}, object {row['object']}: {row['label']}, "
        f"short side {row['short_side']:.0f} px, blur score {row['blur']:.0f}"
    )
    src = "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
    return Thumb(src, f"{row['short_side']:.0f}", title)
