"""The audit page: one self-contained HTML file about what is in the datasets."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from data_prep.analysis import list_duplicates
from data_prep.colours import COLOURS
from data_prep.labels import CLASSES
from data_prep.overlay import REASONS
from data_prep.plots import plot_blur, plot_sizes, rank_correlation
from data_prep.records import Finding
from data_prep.render import render_html
from data_prep.sheets import Sheets
from data_prep.split import TRAIN, VALID

PAGE = "audit.html"
"""File name of the page in the output folder."""

SIZE_STEPS: tuple[float, ...] = (8, 16, 32, 64)
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
    """Render the page.

    Args:
        faces: Columns of `faces.csv` and `short_side`.
        findings: All findings.
        summary: What `analysis.summarise` gave.
        sheets: What `sheets.draw_sheets` gave.
        known_groups: Known near-duplicate groups found whole, and how many there are.

    Returns:
        HTML that needs no other file.
    """
    return render_html(
        "data_prep",
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
    """Count faces by class (rows) and key (columns), with sums.

    Args:
        labels: Class of each face.
        keys: Column of each face; those not in `columns` are left out.
        columns: Order of the columns.
    """
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
