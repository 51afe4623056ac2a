"""The audit page: one self-contained HTML file about what is in the datasets."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from data_prep.base.boxes import SIZE_EDGES
from data_prep.base.html import COLOURS, INK, new_axes, render_html, to_uri
from data_prep.base.labels import CLASSES
from data_prep.base.records import Finding
from data_prep.decisions.overlay import REASONS
from data_prep.grouping.split import TRAIN, VALID
from data_prep.prepare.analysis import list_duplicates
from data_prep.prepare.blur import SIZE_EDGES as BLUR_EDGES
from data_prep.prepare.blur import size_bin
from data_prep.prepare.sheets import Sheets

MAX_POINTS = 4000


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


def plot_blur(faces: pd.DataFrame, *, seed: int = 0) -> str:
    """Blur score against size, with the median of each size bin, as a PNG data URI."""
    figure, axes = _size_axes("Blur score against size", "blur score, log")
    sides = faces["short_side"].to_numpy(dtype=float)
    # Scores of flat crops are 0, which a logarithmic axis has no place for.
    scores = np.maximum(faces["blur"].to_numpy(dtype=float), 0.1)
    shown = np.random.default_rng(seed).permutation(len(faces))[:MAX_POINTS]
    colours = faces["label"].map(COLOURS).to_numpy()[shown]
    axes.scatter(sides[shown], scores[shown], s=5, c=colours, alpha=0.35, linewidths=0)
    bins = size_bin(sides)
    present = np.unique(bins)
    middles = [np.median(sides[bins == index]) for index in present]
    medians = [np.median(scores[bins == index]) for index in present]
    axes.plot(middles, medians, "o-", color=INK, lw=1.8, ms=4.5, label="median of a size bin")
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
    figure, axes = new_axes(title, "short side, px", y)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    return figure, axes


PAGE = "audit.html"
"""File name of the page in the output folder."""

SIZE_STEPS: tuple[float, ...] = (8, *SIZE_EDGES)
"""Short sides in pixels that divide the columns of the size table."""

KIND_TITLES: dict[str, str] = {
    "bad-box": "Objects without a usable box",
    "bad-name": "File names that can't be told apart or written down",
    "broken-xml": "Annotation files that can't be read",
    "clipped-box": "Boxes that reach over the border, clipped",
    "decision-in-data": "Decisions with nothing to do: the data are as decided",
    "degenerate-box": "Boxes that are empty, inverted or outside",
    "disputed-decision": "Faces on which reviewers disagree; nothing is applied",
    "missing-photo": "Annotations without a photo",
    "no-split": "Too little to split",
    "photo-without-annotation": "Photos without an annotation",
    "second-annotation": "Photos annotated twice",
    "size-differs": "Annotations that state another photo size",
    "torn-ledger": "Half-written lines of ledgers, skipped",
    "turned-photo": "Photos turned by their EXIF orientation",
    "unfit-decision": "Decisions that don't fit the data; they are not applied",
    "unnamed-object": "Objects without a class name",
    "unreadable-photo": "Photos that can't be read",
}
"""Headings for the kinds of findings; others are shown under their own name."""


@dataclass(frozen=True)
class Table:
    """A table of whole numbers with row and column sums added."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class FindingGroup:
    """All findings of one kind."""

    title: str
    dropped: bool
    messages: tuple[str, ...]


def render_page(
    faces: pd.DataFrame,
    findings: Sequence[Finding],
    summary: Mapping[str, Any],
    sheets: Sheets,
    known_groups: tuple[int, int] | None = None,
) -> str:
    """Render the page: HTML that needs no other file."""
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
        findings=group_findings(findings),
        duplicates=list_duplicates(faces),
        sheets=sheets,
        known_groups=known_groups,
        reasons=REASONS,
    )


def tabulate(labels: pd.Series, keys: pd.Series, columns: list[str]) -> Table:
    """Count faces by class (rows) and key (columns, in their order), with sums."""
    counts = pd.crosstab(labels, keys).reindex(index=list(CLASSES), columns=columns, fill_value=0)
    counts["all"] = counts.sum(axis=1)
    counts.loc["all"] = counts.sum(axis=0)
    rows = tuple(
        (str(label), tuple(int(number) for number in numbers))
        for label, numbers in zip(counts.index, counts.to_numpy(), strict=True)
    )
    return Table((*columns, "all"), rows)


def group_findings(findings: Sequence[Finding]) -> tuple[FindingGroup, ...]:
    """Gather findings by kind, those that left something out first."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.kind, []).append(finding)
    groups = [
        FindingGroup(
            KIND_TITLES.get(kind, kind),
            any(finding.dropped for finding in members),
            tuple(finding.message for finding in members),
        )
        for kind, members in kinds.items()
    ]
    return tuple(sorted(groups, key=lambda group: (not group.dropped, group.title)))


def _tabulate_splits(faces: pd.DataFrame) -> Table:
    kept, dropped, valid = "training, kept", "training, dropped", "validation"
    train = faces["split"] == TRAIN
    keys = np.where(faces["split"] == VALID, valid, np.where(train & faces["kept"], kept, dropped))
    return tabulate(faces["label"], pd.Series(keys, index=faces.index), [kept, dropped, valid])


def _tabulate_sizes(faces: pd.DataFrame) -> Table:
    first, last = f"under {SIZE_STEPS[0]:g} px", f"{SIZE_STEPS[-1]:g} px and more"
    between = [f"{low:g}–{high:g} px" for low, high in itertools.pairwise(SIZE_STEPS)]
    columns = [first, *between, last]
    bins = np.digitize(faces["short_side"].to_numpy(dtype=float), SIZE_STEPS)
    keys = pd.Series(np.asarray(columns, dtype=object)[bins], index=faces.index)
    return tabulate(faces["label"], keys, columns)
