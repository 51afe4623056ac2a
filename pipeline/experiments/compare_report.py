"""The comparison as a table, a JSON file, and a plot of accuracy against time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from data_prep.base.files import write_atomically, write_json
from pipeline.experiments.compare import Compared
from pipeline.runs.plots import save_figure

TABLE, TEXT, PLOT = "compare.json", "compare.md", "compare.png"

OWN = {
    "accuracy": "crop accuracy",
    "macro_recall": "macro recall",
    "map50": "mAP@0.5",
    "map50_95": "mAP@[.5:.95]",
    "precision": "P",
    "recall": "R",
}
ALIKE = {"two_map50": "two classes: mAP@0.5", "tnr": "TNR", "fnr": "FNR", "auc": "AUC"}


def write_report(compared: Sequence[Compared], out: Path) -> str:
    """Write table, text and plot.

    Returns:
        The Markdown, as written.

    Raises:
        OutputError: A file can't be written.
    """
    text = describe(compared)
    write_json(out / TABLE, tabulate(compared))
    write_atomically(out / TEXT, text + "\n")
    _plot([one for one in compared if one.seconds is not None], out / PLOT)
    return text


def tabulate(compared: Sequence[Compared]) -> list[dict[str, Any]]:
    """All that was measured, as JSON holds it."""
    return [asdict(one) for one in compared]


def describe(compared: Sequence[Compared]) -> str:
    """A Markdown table of the systems for each source, and what else was measured."""
    whole = [one for one in compared if not one.system.by_crop]
    parts = [_costs(whole)] if whole else []
    for source in whole[0].figures if whole else ():
        about = whole[0].figures[source]
        parts.append(
            f"{source}, {about['photos']} validation photos, {about['faces']} faces:\n\n"
            + _table(whole, source)
        )
    parts += [_tell_drawn(one) for one in whole if one.drawn is not None]
    parts += [_tell_leak(one, compared) for one in compared if one.system.by_crop]
    return "\n\n".join(parts)


def _costs(compared: Sequence[Compared]) -> str:
    base = next((one for one in compared if one.system.name == "default"), compared[0])
    lines = [
        f"| system | classes | claimed | training, minutes of a core | MB | ms per photo | "
        f"against {base.system.name} |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in compared:
        seconds, other = one.seconds or 0.0, base.seconds or 0.0
        cells = [
            f"`{one.system.name}`",
            str(one.classes),
            one.system.claim,
            "–" if one.minutes is None else f"{one.minutes:.1f}",
            f"{one.megabytes:.1f}",
            f"{1000 * seconds:.0f}",
            f"{seconds / other:.2f} ×" if other else "–",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _table(compared: Sequence[Compared], source: str) -> str:
    heads = ["system", *OWN.values(), *ALIKE.values()]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for one in compared:
        figures = one.figures[source]
        cells = [show(figures.get(name)) for name in (*OWN, *ALIKE)]
        lines.append("| " + " | ".join([f"`{one.system.name}`", *cells]) + " |")
    return "\n".join(lines)


def show(figure: list[float] | None) -> str:
    """A figure with its interval."""
    return "–" if figure is None else f"{figure[0]:.3f} ({figure[1]:.3f} to {figure[2]:.3f})"


def _tell_drawn(one: Compared) -> str:
    drawn: dict[str, Any] = one.drawn or {}
    told = ", ".join(
        f"{name.upper() if name != 'accuracy' else name} {show(drawn[name])}"
        for name in ("accuracy", "tnr", "fnr", "auc")
    )
    return (
        f"`{one.system.name}` on {drawn['faces']} bare validation faces with and without a drawn "
        f"mask, the classifier alone: {told}."
    )


def _tell_leak(one: Compared, compared: Sequence[Compared]) -> str:
    """The same recipe on the split by crop, beside that by photo group."""
    name = one.system.recipe
    honest = next((o for o in compared if o.system.name == name and not o.system.by_crop), None)
    told = []
    for source, figures in one.figures.items():
        beside = f", by photo group {show(honest.figures[source]['accuracy'])}" if honest else ""
        told.append(f"{source} ({figures['faces']} faces) {show(figures['accuracy'])}{beside}")
    return f"`{name}`, crop accuracy on a split by crop: {'; '.join(told)}."


def _plot(compared: Sequence[Compared], path: Path) -> None:
    """MAP of the two classes that every system has, with its interval, against time."""
    sources = list(compared[0].figures) if compared else []
    if not sources:
        return
    figure = Figure(figsize=(1 + 5 * len(sources), 4.2), layout="constrained")
    for axes, source in zip(
        figure.subplots(1, len(sources), squeeze=False)[0], sources, strict=True
    ):
        for number, one in enumerate(compared):
            figures = one.figures[source]["two_map50"]
            if figures is None:
                continue
            value, low, high = figures
            axes.errorbar(
                1000 * (one.seconds or 0),
                value,
                yerr=[[value - low], [high - value]],
                fmt="o",
                color=f"C{number}",
                ecolor=f"C{number}",
                elinewidth=1,
                alpha=0.9,
                label=one.system.name,
            )
        axes.set(xlim=(0, None), xlabel="ms per photo, nets alone", title=source)
        axes.grid(alpha=0.3)
    panels = figure.axes
    panels[0].set_ylabel("mAP@0.5, masked and bare faces")
    panels[-1].legend(loc="lower right", fontsize=8)
    save_figure(figure, path)
