"""The audit page: one self-contained HTML file about what is in the datasets."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import pandas as pd

from data_prep.base.boxes import SIZE_EDGES
from data_prep.base.html import COLOURS, INK, Picture, jpeg_uri, new_axes, render_html, to_uri
from data_prep.base.labels import CLASSES
from data_prep.base.records import Finding
from data_prep.decisions.overlay import REASONS
from data_prep.grouping.split import TEST, TRAIN, VALID
from data_prep.prepare.analysis import BLUR_EDGES, list_duplicates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE = "audit.html"  # File name of the page in the output folder.

SIZE_STEPS: tuple[float, ...] = (8, *SIZE_EDGES)
"""Short sides in pixels that divide the columns of the size table."""

MAX_POINTS = 4000
THUMB_SIDE = 96
"""Longest side of an embedded thumbnail in pixels; smaller crops are embedded as they are."""

PER_CLASS, SMALLEST = 56, 28
BLUR_BINS, PER_BLUR_ROW = 4, 13
GROUPS, PER_GROUP = 8, 8


def render_page(
    faces: pd.DataFrame, findings: Sequence[Finding], summary: Mapping[str, Any], crops: Path
) -> str:
    """Render the page: HTML that needs no other file; the column `crop` is below `crops`."""
    return render_html(
        "data_prep.prepare",
        PAGE,
        classes=CLASSES,
        colours=COLOURS,
        summary=summary,
        by_source=tabulate(faces["label"], faces["source"], sorted(faces["source"].unique())),
        by_split=_tabulate_splits(faces),
        by_size=_tabulate_sizes(faces),
        sizes_plot=plot_sizes(faces),
        blur_plot=plot_blur(faces),
        correlation=rank_correlation(faces),
        findings=findings,
        duplicates=list_duplicates(faces),
        sheets=draw_sheets(faces, crops),
        reasons=REASONS,
        per_class=PER_CLASS,
        per_row=PER_BLUR_ROW,
    )


def tabulate(labels: pd.Series, keys: pd.Series, columns: Sequence[str]) -> pd.DataFrame:
    """Count faces by class (rows) and key (columns, in their order), with sums."""
    counts = pd.crosstab(labels, keys, margins=True, margins_name="all")
    return counts.reindex(index=[*CLASSES, "all"], columns=[*columns, "all"], fill_value=0)


def _tabulate_splits(faces: pd.DataFrame) -> pd.DataFrame:
    kept, dropped, valid = "training, kept", "training, dropped", "validation"
    trained = pd.Series(np.where(faces["kept"], kept, dropped), index=faces.index)
    keys = faces["split"].replace({VALID: valid}).mask(faces["split"] == TRAIN, trained)
    return tabulate(faces["label"], keys, [kept, dropped, valid, *[TEST] * (TEST in set(keys))])


def _tabulate_sizes(faces: pd.DataFrame) -> pd.DataFrame:
    first, last = f"under {SIZE_STEPS[0]:g} px", f"{SIZE_STEPS[-1]:g} px and more"
    between = [f"{low:g}–{high:g} px" for low, high in itertools.pairwise(SIZE_STEPS)]
    columns = [first, *between, last]
    keys = pd.cut(faces["short_side"], [0, *SIZE_STEPS, np.inf], right=False, labels=columns)
    return tabulate(faces["label"], keys, columns)


def plot_sizes(faces: pd.DataFrame) -> str:
    """Share of each class's faces by short side, as a PNG data URI."""
    figure, axes = _size_axes("Face sizes per class", "share of the class")
    sides = faces["short_side"].to_numpy(dtype=float)
    bins = np.geomspace(max(1.0, sides.min()), max(2.0, sides.max() * 1.01), 32)
    for label in CLASSES:
        values = sides[faces["label"].to_numpy() == label]
        if len(values):
            share = np.histogram(values, bins)[0] / len(values)
            axes.stairs(share, bins, color=COLOURS[label], lw=1.8, label=label)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.legend(frameon=False, fontsize=8.5, loc="upper left")
    return to_uri(figure)


def plot_blur(faces: pd.DataFrame) -> str:
    """Blur score against size, with the median of each size bin, as a PNG data URI."""
    some = f", {MAX_POINTS} of {len(faces)} faces at random" if len(faces) > MAX_POINTS else ""
    figure, axes = _size_axes(f"Blur score against size{some}", "blur score, log")
    sides = faces["short_side"].to_numpy(dtype=float)
    # Scores of flat crops are 0, which a logarithmic axis has no place for.
    scores = np.maximum(faces["blur"].to_numpy(dtype=float), 0.1)
    shown = np.random.default_rng(0).permutation(len(faces))[:MAX_POINTS]
    colours = faces["label"].map(COLOURS).to_numpy()[shown]
    axes.scatter(sides[shown], scores[shown], s=5, c=colours, alpha=0.35, linewidths=0)
    points = pd.DataFrame({"side": sides, "score": scores})
    medians = points.groupby(np.digitize(sides, BLUR_EDGES)).median()
    how: dict[str, Any] = {"color": INK, "lw": 1.8, "ms": 4.5, "label": "median of a size bin"}
    axes.plot(medians["side"], medians["score"], "o-", **how)
    for edge in BLUR_EDGES:
        axes.axvline(edge, color=INK, lw=0.5, alpha=0.18)
    axes.set_yscale("log")
    axes.legend(frameon=False, fontsize=8.5, loc="lower left")
    return to_uri(figure)


def rank_correlation(faces: pd.DataFrame) -> float | None:
    """Spearman's rank correlation of blur score and short side; None where it is undefined."""
    if len(faces) < 3 or faces["blur"].nunique() < 2 or faces["short_side"].nunique() < 2:
        return None
    return float(faces["blur"].rank().corr(faces["short_side"].rank()))


def _size_axes(title: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.ticker import ScalarFormatter  # Plots take a second to load.

    figure, axes = new_axes(title, "short side, px", y)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    return figure, axes


class Sheets(NamedTuple):
    """All contact sheets of a page, with their names."""

    classes: list[tuple[str, list[Picture]]]  # Some faces of each, at random, the smallest first.
    smallest: list[Picture]  # Of all.
    blur: list[tuple[str, list[Picture], list[Picture]]]
    """What the blur rule drops, and keeps, in the size bins that lose most, the smallest first."""
    groups: list[tuple[str, list[Picture]]]
    """Of the largest near-duplicate groups the largest face of each photo."""


def draw_sheets(faces: pd.DataFrame, crops: Path, *, seed: int = 0) -> Sheets:
    """Choose faces and load their thumbnails; the column `crop` is below `crops`."""
    rng = np.random.default_rng(seed)

    def load(rows: pd.DataFrame) -> list[Picture]:
        return [_load_thumb(row, crops) for _, row in rows.iterrows()]

    def sample(rows: pd.DataFrame, size: int, order: str) -> list[Picture]:
        chosen = rng.permutation(len(rows))[:size]
        return load(rows.iloc[chosen].sort_values(order, kind="stable"))

    by_class = {label: faces[faces["label"] == label] for label in CLASSES}
    classes = [(k, sample(v, PER_CLASS, "short_side")) for k, v in by_class.items() if len(v)]
    smallest = load(faces.nsmallest(SMALLEST, "short_side"))
    names = [f"{low:g} to {high:g} px" for low, high in itertools.pairwise([0.0, *BLUR_EDGES])]
    names.append(f"{BLUR_EDGES[-1]:g} px and more")
    blur = []
    for index, rows in _thinned_bins(faces):
        dropped = sample(rows[~rows["kept"]], PER_BLUR_ROW, "blur")
        title = f"{names[index]}: {(~rows['kept']).sum()} dropped, {rows['kept'].sum()} kept"
        blur.append((title, dropped, sample(rows[rows["kept"]], PER_BLUR_ROW, "blur")))
    largest = faces.sort_values("short_side", ascending=False, kind="stable")
    photos = largest.drop_duplicates(["source", "image"])
    sizes = photos["group"].value_counts().loc[lambda n: n > 1]
    shown = sizes.index[:GROUPS].astype(str)
    members = ((name, photos[photos["group"] == name].sort_values("image")) for name in shown)
    groups = [(name, load(rows.head(PER_GROUP))) for name, rows in members]
    return Sheets(classes, smallest, blur, groups)


def _thinned_bins(faces: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    """Training faces of the thinned class in the size bins that lose most, smallest first."""
    thinned = faces.loc[~faces["kept"], "label"].unique()
    pool = faces[(faces["split"] == TRAIN) & faces["label"].isin(thinned)]
    bins = pd.Series(np.digitize(pool["short_side"], BLUR_EDGES), index=pool.index)
    most = bins[~pool["kept"]].value_counts().sort_index().nlargest(BLUR_BINS).index
    return [(int(index), pool[bins == index]) for index in sorted(most)]


def _load_thumb(row: pd.Series, crops: Path) -> Picture:
    data = (crops / str(row["crop"])).read_bytes()
    pixels = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    if pixels.shape[0] > THUMB_SIDE:
        small = cv2.resize(pixels, (THUMB_SIDE, THUMB_SIDE), interpolation=cv2.INTER_AREA)
        data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    title = f"{row['source']}/{row['image']}, object {row['object']}: "
    title += f"{row['label']}, short side {row['short_side']:.0f} px, blur score {row['blur']:.0f}"
    return Picture(jpeg_uri(data), f"{row['short_side']:.0f}", title)
