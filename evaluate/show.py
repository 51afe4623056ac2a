"""The headline numbers on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from evaluate.measures.metrics import PER_CLASS
from evaluate.record import Record
from evaluate.report.words import HEADLINES


def show_record(record: Record) -> None:
    """Print the headline numbers with their intervals; classes without a face are left out."""
    counts = record["counts"]
    definitions = record["definitions"]
    console = Console()
    table = Table(
        title=f"{counts['photos']} photos, {sum(counts['faces'].values())} faces, "
        f"{counts['predictions']} predictions ({definitions['interpolation']} AP)",
        title_justify="left",
    )
    table.add_column("")
    table.add_column("%", justify="right")
    table.add_column("95 % interval", justify="right")
    intervals = record["intervals"] or {}
    for name, words in HEADLINES.items():
        value, interval = record[name], intervals.get(name)
        if name not in PER_CLASS:
            table.add_row(words, _percent(value), _range(interval))
            continue
        for label in (label for label, number in value.items() if number is not None):
            ends = interval[label] if interval else None
            table.add_row(f"  {words}: {label}", _percent(value[label]), _range(ends))
    for row in record["at_iou"]:
        table.add_row(f"mAP at IoU {row['iou']:.2f}", _percent(row["map"], 2), "")
    console.print(table)


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{100 * value:.{digits}f}"


def _range(ends: Any) -> str:
    return "–" if ends is None else f"{100 * ends[0]:.1f} – {100 * ends[1]:.1f}"
