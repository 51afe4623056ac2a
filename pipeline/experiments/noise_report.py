"""What the noise benchmark found, as a table, a CSV and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from data_prep.base.files import write_atomically
from data_prep.base.labels import CLASSES, RARE_CLASS
from evaluate.measures.bootstrap import bootstrap_intervals
from pipeline.experiments.noise_benchmark import ORDERS, NoiseRun
from pipeline.runs.plots import SHORT, save_figure


def order_faces(scores: np.ndarray) -> np.ndarray:
    """Rows from the most suspect to the least; equal scores in the order of the rows."""
    return np.argsort(-scores, kind="stable")


def recall_at_flipped(
    order: np.ndarray, wrong: np.ndarray, weights: np.ndarray, *, among: np.ndarray | None = None
) -> np.ndarray:
    """Share of the wrong labels among the first k faces, k as many as there are wrong ones.

    Precision at that k is the same number.

    Args:
        order: (N,) rows, the most suspect first.
        wrong: (N,) whether a face's label is wrong.
        weights: (B, N) how often each face counts in each of B resamples.
        among: (N,) which of the wrong ones are asked for; k stays the number of all.

    Returns:
        (B,) recall; NaN where nothing is asked for.

    >>> order, wrong = np.array([2, 0, 1, 3]), np.array([True, False, True, False])
    >>> recall_at_flipped(order, wrong, np.ones((1, 4))).tolist()
    [1.0]
    """
    sorted_weights = weights[:, order]
    before = sorted_weights.cumsum(axis=1) - sorted_weights
    count = (weights * wrong).sum(axis=1, keepdims=True)
    # A face that counts several times may lie in the first k by a part.
    inside = np.clip(count - before, 0, sorted_weights)
    asked = wrong if among is None else wrong & among
    total = (weights * asked).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return (inside * asked[order]).sum(axis=1) / np.where(total > 0, total, np.nan)


def average_precision(order: np.ndarray, wrong: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under precision–recall: the sum of precision over steps of recall.

    Args:
        order: (N,) rows, the most suspect first.
        wrong: (N,) whether a face's label is wrong.
        weights: (B, N) how often each face counts in each of B resamples.

    Returns:
        (B,) area, NaN where no label is wrong; as scikit-learn's `average_precision_score`.
    """
    sorted_weights = weights[:, order]
    hits = sorted_weights * wrong[order]
    found = hits.cumsum(axis=1)
    seen = sorted_weights.cumsum(axis=1)
    total = found[:, -1]
    precision = found / np.maximum(seen, 1e-12)
    with np.errstate(invalid="ignore"):
        return (hits * precision).sum(axis=1) / np.where(total > 0, total, np.nan)


def precision_recall_curve(order: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall after each face of the order, (N,) each."""
    found = wrong[order].cumsum()
    return found / np.arange(1, len(order) + 1), found / max(found[-1], 1)


TABLE, PLOT = "noise.csv", "noise.png"
RESAMPLES = 400
RIVAL = "cleanlab"

FIGURES = {
    "recall_at_k": "recall at k",
    "average_precision": "area under precision–recall",
    "from_rare": f"recall, flipped from {SHORT[RARE_CLASS]}",
    "into_rare": f"recall, flipped into {SHORT[RARE_CLASS]}",
}

CAP = (
    "k is the number of flipped labels, so precision at k is the same number as recall at k. "
    "Labels that were wrong before any flip stand high, too, and count as mistakes of every order "
    "here: no order can reach 1. Intervals: 95 %, bootstrap by photo group over the mean of all "
    "seeds."
)


def measure_runs(table: pd.DataFrame, runs: Sequence[NoiseRun]) -> pd.DataFrame:
    """Every figure of every order, per seed and as a mean with an interval.

    Args:
        table: The N faces.
        runs: Of each kind and seed.

    Returns:
        Columns kind, order, figure, seed (a number, or "mean" or "mean minus cleanlab"), value,
        low, high; the last two only for means.
    """
    codes, groups = pd.factorize(table["group"])
    rows = []
    for kind in dict.fromkeys(run.kind for run in runs):
        some = [run for run in runs if run.kind == kind]

        def compute(weights: np.ndarray, some: Sequence[NoiseRun] = some) -> dict[str, np.ndarray]:
            return _average(some, weights[:, codes])

        once = np.ones((1, len(table)))
        for run in some:
            for key, values in _average([run], once).items():
                if not key.startswith("-"):
                    rows.append((kind, *key.split("/"), str(run.seed), values[0], None, None))
        ends = bootstrap_intervals(
            compute, photos=len(groups), resamples=RESAMPLES, rows=4 * len(table)
        )
        for key, values in _average(some, once).items():
            seed = f"mean minus {RIVAL}" if key.startswith("-") else "mean"
            low, high = ends[key]
            rows.append((kind, *key.lstrip("-").split("/"), seed, values[0], low, high))
    names = ["kind", "order", "figure", "seed", "value", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def _average(runs: Sequence[NoiseRun], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Means over runs by "order/figure", and with a minus before it the lead over the rival."""
    sums: dict[str, np.ndarray] = {}
    for run in runs:
        for order in ORDERS:
            for figure, values in _measure(run, order, weights).items():
                key = f"{order}/{figure}"
                sums[key] = sums.get(key, 0) + values / len(runs)
    leads = {
        f"-{key}": values - sums[f"{RIVAL}/{key.split('/')[1]}"] for key, values in sums.items()
    }
    return sums | leads


def _measure(run: NoiseRun, name: str, weights: np.ndarray) -> dict[str, np.ndarray]:
    order, rare = order_faces(run.scores[name]), CLASSES.index(RARE_CLASS)
    return {
        "recall_at_k": recall_at_flipped(order, run.wrong, weights),
        "average_precision": average_precision(order, run.wrong, weights),
        "from_rare": recall_at_flipped(order, run.wrong, weights, among=run.true == rare),
        "into_rare": recall_at_flipped(order, run.wrong, weights, among=run.given == rare),
    }


def describe_runs(measured: pd.DataFrame, runs: Sequence[NoiseRun]) -> str:
    """The means as Markdown, a table per kind of noise.

    Args:
        measured: From `measure_runs`.
        runs: The same.
    """
    lines = []
    for kind in dict.fromkeys(run.kind for run in runs):
        some = [run for run in runs if run.kind == kind]
        flipped, faces = int(some[0].wrong.sum()), len(some[0].true)
        expected = ", ".join(f"{run.expected:.0f}" for run in some)
        lines += [
            f"**{kind}**: {flipped} of {faces} labels flipped, {len(some)} seeds; the confident "
            f"joint takes {expected} for wrong.",
            "",
            "| order | " + " | ".join(FIGURES.values()) + f" | recall at k minus {RIVAL}'s |",
            "|---" * (len(FIGURES) + 2) + "|",
        ]
        means, leads = (
            measured[(measured["kind"] == kind) & (measured["seed"] == seed)]
            for seed in ("mean", f"mean minus {RIVAL}")
        )
        for order in ORDERS:
            cells = [_show(means, order, figure) for figure in FIGURES]
            cells.append("–" if order == RIVAL else _show(leads, order, "recall_at_k", sign="+"))
            lines.append(f"| {order} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join([*lines, CAP])


def _show(measured: pd.DataFrame, order: str, figure: str, sign: str = "") -> str:
    row = measured[(measured["order"] == order) & (measured["figure"] == figure)].iloc[0]
    value, low, high = (f"{row[name]:{sign}.3f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def write_report(measured: pd.DataFrame, runs: Sequence[NoiseRun], out: Path) -> None:
    """Write `noise.csv` and `noise.png`.

    Raises:
        OutputError: One can't be written.
    """
    write_atomically(out / TABLE, measured.to_csv(index=False, float_format="%.5f"))
    kinds = list(dict.fromkeys(run.kind for run in runs))
    figure = Figure(figsize=(5 * len(kinds), 4.2), layout="constrained")
    recalls = np.linspace(0, 1, 201)
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        for order in ORDERS:
            curves = []
            for run in (run for run in runs if run.kind == kind):
                precision, recall = precision_recall_curve(
                    order_faces(run.scores[order]), run.wrong
                )
                curves.append(np.interp(recalls, recall, precision))
            width = 2.2 if order == "merged" else 1.2
            axes.plot(recalls, np.mean(curves, axis=0), label=order, linewidth=width)
        axes.set(xlabel="share of flipped labels found", title=f"{kind} noise")
        axes.set(ylabel="share of flipped labels among those shown", ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    save_figure(figure, out / PLOT)
