"""Flip some labels on purpose and see which order finds them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import product
from types import ModuleType
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from data_prep.base.files import write_atomically
from data_prep.base.labels import CLASSES, RARE_CLASS
from data_prep.base.tables import markdown_table
from data_prep.grouping.split import TRAIN
from evaluate.measures.bootstrap import describe, measure, share
from pipeline.cleaning.evidence import estimate_wrong_labels, find_duplicate_faces, find_neighbours
from pipeline.cleaning.ranking import gather_evidence
from pipeline.experiments.engine import ExperimentError, run_groups
from pipeline.experiments.tables import plot_figures, show_figure
from pipeline.nets.compute import pick_device
from pipeline.nets.options import Folds, Out, Prepared, ShortOptions
from pipeline.runs.log import Log, report_as
from pipeline.runs.plots import SHORT
from pipeline.runs.recipe import ClassifierRecipe, load_recipe
from pipeline.training.short import (
    Plan,
    join_folds,
    label_codes,
    label_names,
    open_faces,
    plan_folds,
    plan_in_sample,
)

LIKELY = {
    "with_mask": {"without_mask": 0.4, "mask_weared_incorrect": 0.6},
    "without_mask": {"with_mask": 0.7, "mask_weared_incorrect": 0.3},
    "mask_weared_incorrect": {"with_mask": 0.7, "without_mask": 0.3},
}
"""Where a wrong label of each class goes under `likely` noise. Set by hand, not measured: a mask
that is worn is taken for one that hangs low, a bare chin in shadow for a mask."""

UNIFORM = {true: {new: 0.5 for new in CLASSES if new != true} for true in CLASSES}

KINDS = {"uniform": UNIFORM, "likely": LIKELY}
"""Where flipped labels go: from a true class, by kind of noise, shares of the others."""

BASELINE = "cleanlab"
ORDERS = ("in-sample", "out-of-fold", BASELINE, "cleanlab margin", "merged")
"""What is compared: the loss of a net on its own training faces, plain out-of-fold loss, cleanlab's
`find_label_issues`, its normalised margin, and the merged order. All but the first work on the same
out-of-fold probabilities; the merged one asks the network of the first, too."""

LEAD = f"mean minus {BASELINE}"
TABLE, PLOT = "noise.csv", "noise.png"
RESAMPLES = 400

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


@dataclass(frozen=True)
class NoiseOptions(ShortOptions):
    """How labels are flipped, and on what the search for them is tried."""

    prepared: Prepared
    out: Out
    seeds: Annotated[int, typer.Option(min=1, help="How often each kind is tried.")] = 3
    kinds: Annotated[str, typer.Option(help="Of noise, separated by commas.")] = "uniform,likely"
    rate: Annotated[float, typer.Option(min=0.001, max=0.5, help="Share that is flipped.")] = 0.1
    folds: Folds = 5


def parse_kinds(text: str) -> tuple[str, ...]:
    """Kinds of noise separated by commas, each once."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in KINDS:
            raise ExperimentError(f"unknown kind of noise '{name}': use {', '.join(KINDS)}.")
    return names


def flip_labels(labels: np.ndarray, kind: str, *, rate: float, seed: int) -> np.ndarray:
    """Give `round(rate * N)` of N faces, class indices, another class by a kind of `KINDS`.

    Labels go to classes that are there, of which there must be two.
    """
    rng = np.random.default_rng(seed)
    flipped = labels.copy()
    chosen = rng.permutation(len(labels))[: round(rate * len(labels))]
    moves = np.array([[KINDS[kind][true].get(new, 0.0) for new in CLASSES] for true in CLASSES])
    moves *= np.isin(np.arange(len(CLASSES)), labels)
    moves /= moves.sum(axis=1, keepdims=True)
    draws = rng.random((len(chosen), 1))
    flipped[chosen] = (draws >= moves[labels[chosen]].cumsum(axis=1)[:, :-1]).sum(axis=1)
    return flipped


def import_cleanlab() -> tuple[ModuleType, ModuleType]:
    """Its modules `filter` and `rank`, which may not be installed."""
    try:
        return import_module("cleanlab.filter"), import_module("cleanlab.rank")
    except ImportError as error:
        raise ExperimentError(
            "cleanlab isn't installed, and the benchmark compares with it: pip install cleanlab."
        ) from error


def score_by_cleanlab(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """How suspect cleanlab finds each label, higher is more, under the names of `ORDERS`.

    `cleanlab` is `find_label_issues` as it comes, then the other faces by its default quality.
    """
    issues, rank = import_cleanlab()
    there, labels = np.unique(labels, return_inverse=True)
    probabilities = probabilities[:, there] / probabilities[:, there].sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = issues.find_label_issues(
            labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
        )
    scores = 1 - rank.get_label_quality_scores(labels, probabilities)
    scores[found] += 1
    margin = rank.get_label_quality_scores(labels, probabilities, method="normalized_margin")
    return {BASELINE: scores, "cleanlab margin": 1 - margin}


@dataclass(frozen=True)
class NoiseRun:
    """One kind of noise under one seed, of flips, folds and trainings."""

    kind: str
    seed: int
    true: np.ndarray  # (N,) class index as annotated
    given: np.ndarray  # (N,) after the flips
    scores: dict[str, np.ndarray]  # by order, (N,) higher is more suspect
    expected: list[float]  # labels thought to be wrong, as of `estimate_wrong_labels`

    @property
    def wrong(self) -> np.ndarray:
        """(N,) whether the label was flipped."""
        return self.true != self.given


def run_noise_benchmark(options: NoiseOptions, log: Log) -> tuple[pd.DataFrame, list[NoiseRun]]:
    """Flip labels of the training split, train on them, and score every label by every order.

    Writes `noise.csv`, the table of `measure_runs`, and `noise.png`; trainings that are there
    already are not done again.

    Raises:
        ExperimentError: There is no such kind of noise, or no cleanlab.
        UserError: Something can't be read, trained on or written.
    """
    import_cleanlab()  # Better to fail now than after all trainings.
    recipe = load_recipe(options.recipe, ClassifierRecipe, options.overrides)
    settings = [*product(range(options.seeds), parse_kinds(options.kinds))]
    faces = open_faces(options.prepared, recipe, options.out)
    table = faces.table[faces.table["split"] == TRAIN].reset_index(drop=True)
    true = label_codes(table)
    given, folds, trainings, groups = [], [], [], table["group"].tolist()
    for seed, kind in settings:
        given.append(flip_labels(true, kind, rate=options.rate, seed=seed))
        noisy = table.assign(label=label_names(given[-1]))
        own = recipe.model_copy(update={"seed": recipe.seed + seed})
        what, folder = f"{kind} noise, seed {seed}", options.out / f"{kind}-{seed}"
        plan = Plan(noisy, own, folder, faces.scale, what)
        fold, tasks = plan_folds(plan, options.folds)
        folds.append(fold)
        trainings.append([*tasks, *plan_in_sample(plan)[1]])
    device = pick_device(options.device)
    views = run_groups(trainings, device=device, log=log, jobs=options.jobs)
    duplicates = find_duplicate_faces(table)
    runs = []
    for (seed, kind), labels, fold, own_views in zip(settings, given, folds, views, strict=True):
        log(f"{kind} noise, seed {seed}: ranking")
        *of_folds, in_sample = own_views
        judged, learnt = join_folds(fold, of_folds), in_sample.probabilities
        neighbours = find_neighbours([v.features for v in of_folds], fold, groups)
        evidence = gather_evidence(labels, judged, neighbours, duplicates, learnt)
        rows, expected = np.arange(len(labels)), estimate_wrong_labels(labels, judged, groups)
        scores = {
            "in-sample": 1 - learnt[rows, labels],
            "out-of-fold": 1 - judged[rows, labels],
            **score_by_cleanlab(labels, judged),
            "merged": evidence.score,
        }
        runs.append(NoiseRun(kind, seed, true, labels, scores, expected["all"]))
    log("measuring")
    measured = measure_runs(table, runs)
    write_atomically(options.out / TABLE, measured.to_csv(index=False, float_format="%.5f"))
    names, figures = [*product(measured["kind"].unique(), ORDERS)], _index(measured)
    panels = {
        FIGURES[figure]: [figures[(*name, figure, "mean")] for name in names]
        for figure in ("recall_at_k", "average_precision")
    }
    lines = [f"{kind} noise: {order}" for kind, order in names]
    plot_figures(panels, lines, "Flipped labels found, with 95 % intervals", options.out / PLOT)
    return measured, runs


def recall_at_flipped(
    order: np.ndarray, wrong: np.ndarray, weights: np.ndarray, *, among: np.ndarray | None = None
) -> np.ndarray:
    """Share of the wrong labels, (N,), among the first k faces, k as many as there are wrong ones.

    `order` is (N,) rows, the most suspect first; `weights` (B, N) how often each face counts in B
    resamples. Of the wrong labels only those `among` are asked for; k stays the number of all.
    """
    sorted_weights = weights[:, order]
    before = sorted_weights.cumsum(axis=1) - sorted_weights
    count = (weights * wrong).sum(axis=1, keepdims=True)
    # A face that counts several times may lie in the first k by a part.
    inside = np.clip(count - before, 0, sorted_weights)
    asked = wrong if among is None else wrong & among
    return share((inside * asked[order]).sum(axis=1), (weights * asked).sum(axis=1))


def average_precision(order: np.ndarray, wrong: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under precision–recall, (B,): the sum of precision over steps of recall.

    As scikit-learn's `average_precision_score`.
    """
    sorted_weights = weights[:, order]
    hits = sorted_weights * wrong[order]
    found = hits.cumsum(axis=1)
    precision = found / np.maximum(sorted_weights.cumsum(axis=1), 1e-12)
    return share((hits * precision).sum(axis=1), found[:, -1])


def measure_runs(table: pd.DataFrame, runs: Sequence[NoiseRun]) -> pd.DataFrame:
    """Every figure of every order, per seed and as a mean with an interval.

    Columns kind, order, figure, seed (a number, or "mean" or "mean minus cleanlab"), value, low,
    high; the last two only for means.
    """
    codes, groups = pd.factorize(table["group"])
    once, axes = np.ones((1, len(table))), (ORDERS, tuple(FIGURES))
    rows = []
    for kind in dict.fromkeys(run.kind for run in runs):
        some = [run for run in runs if run.kind == kind]

        def compute(weights: np.ndarray, some: Sequence[NoiseRun] = some) -> dict[str, np.ndarray]:
            """(B, O, F) of the seeds' mean, from weights (B, P) of the groups."""
            mean = np.add.reduce([_measure(run, weights[:, codes]) / len(some) for run in some])
            return {"mean": mean, LEAD: mean - mean[:, [ORDERS.index(BASELINE)]]}

        means, ends = measure(
            compute,
            photos=len(groups),
            resamples=RESAMPLES,
            rows=4 * len(table),
            axes={"mean": axes, LEAD: axes},
        )
        assert ends is not None
        figures = {str(run.seed): describe(_measure(run, once)[0], axes) for run in some} | means
        for seed, order, figure in product(figures, ORDERS, FIGURES):
            interval = ends[seed][order][figure] if seed in ends else None
            value = figures[seed][order][figure]
            rows.append((kind, order, figure, seed, value, *(interval or (None, None))))
    names = ["kind", "order", "figure", "seed", "value", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def _measure(run: NoiseRun, weights: np.ndarray) -> np.ndarray:
    """(B, O, F): `FIGURES` of each of `ORDERS`, from weights (B, N) of the faces."""
    rare = CLASSES.index(RARE_CLASS)
    figures = []
    for name in ORDERS:
        # Equal scores in the order of the rows.
        order = np.argsort(-run.scores[name], kind="stable")
        recall = partial(recall_at_flipped, order, run.wrong, weights)
        area = average_precision(order, run.wrong, weights)
        from_rare, into_rare = recall(among=run.true == rare), recall(among=run.given == rare)
        figures.append(np.stack([recall(), area, from_rare, into_rare], axis=1))
    return np.stack(figures, axis=1)


def describe_runs(measured: pd.DataFrame, runs: Sequence[NoiseRun]) -> str:
    """The means as Markdown, a table per kind of noise."""
    parts, figures = [], _index(measured)
    heads = ["order", *FIGURES.values(), f"recall at k minus {BASELINE}'s"]
    for kind in dict.fromkeys(run.kind for run in runs):
        some = [run for run in runs if run.kind == kind]
        expected = ", ".join("{:.0f} ({:.0f} to {:.0f})".format(*run.expected) for run in some)
        parts.append(
            f"**{kind}**: {some[0].wrong.sum()} of {len(some[0].true)} labels flipped, {len(some)} "
            f"seeds; estimated to be wrong: {expected}."
        )
        rows = []
        for order in ORDERS:
            cells = [show_figure(figures[kind, order, name, "mean"]) for name in FIGURES]
            lead = show_figure(figures[kind, order, "recall_at_k", LEAD], "+")
            rows.append([order, *cells, "–" if order == BASELINE else lead])
        parts.append(markdown_table(heads, rows))
    return "\n\n".join([*parts, CAP])


def _index(measured: pd.DataFrame) -> dict[tuple[str, ...], list[float]]:
    """Value, low and high by kind, order, figure and seed."""
    return {tuple(row[:4]): row[4:] for row in measured.to_numpy().tolist()}


def noise_benchmark(options: NoiseOptions) -> None:
    """Flip training labels on purpose and see which order finds them, as a Markdown table."""
    with report_as(options.log) as report:
        measured, runs = run_noise_benchmark(options, report.log)
        figures = measured[measured["seed"] == "mean"].to_dict("records")
        report.finish("", describe_runs(measured, runs), folder=options.out, figures=figures)
