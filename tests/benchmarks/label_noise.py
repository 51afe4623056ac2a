"""Flip some labels on purpose and see which order finds them.

python -m tests.benchmarks.label_noise PREPARED -o OUT
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from data_prep.base.command import as_command
from data_prep.base.files import write_atomically
from data_prep.base.labels import CLASSES
from data_prep.base.progress import tell
from data_prep.base.tables import markdown_table
from data_prep.grouping.split import TRAIN
from evaluate.measures.bootstrap import compare, find_ends, resample, share
from pipeline.cleaning.evidence import (
    estimate_wrong_labels,
    find_duplicate_faces,
    find_neighbours,
    gather_evidence,
)
from pipeline.experiments.tables import show_figure
from pipeline.nets.compute import pick_device
from pipeline.nets.options import Folds, Out, Prepared
from pipeline.runs.folder import PreparedError
from pipeline.runs.log import Log, report_as
from pipeline.runs.options import ShortOptions
from pipeline.runs.recipe import ClassifierRecipe, load_recipe
from pipeline.training.short import (
    Plan,
    join_folds,
    label_codes,
    label_names,
    open_faces,
    plan_folds,
    plan_in_sample,
    run_tasks,
)
from tests.benchmarks.choices import split_names

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
ORDERS = ("in-sample", "out-of-fold", BASELINE, "merged")
"""What is compared: the loss of a net on its own training faces, plain out-of-fold loss, cleanlab's
`find_label_issues`, and the merged order. All but the first work on the same out-of-fold
probabilities; the merged one asks the network of the first, too."""

TABLE = "noise.csv"
RESAMPLES = 400
ENDS = ("value", "low", "high")

Found = dict[str, np.ndarray]  # "recall", (B,) of B resamples.

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


def score_by_cleanlab(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """How suspect cleanlab finds each label, (N,), higher is more.

    First what `find_label_issues` lists, as it comes, then the others by its default quality.
    """
    issues, rank = import_module("cleanlab.filter"), import_module("cleanlab.rank")
    there, labels = np.unique(labels, return_inverse=True)
    probabilities = probabilities[:, there] / probabilities[:, there].sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = issues.find_label_issues(
            labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
        )
    scores = 1 - rank.get_label_quality_scores(labels, probabilities)
    scores[found] += 1
    return np.asarray(scores)


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

    Writes `noise.csv`, the table of `measure_runs`; what is trained already stays.
    """
    if find_spec("cleanlab") is None:
        raise PreparedError(
            "cleanlab isn't installed, and the benchmark compares with it: pip install cleanlab."
        )
    recipe = load_recipe(options.recipe, ClassifierRecipe, options.overrides)
    kinds = split_names(options.kinds, KINDS, "kind of noise")
    settings = [*product(range(options.seeds), kinds)]
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
    tasks = [task for some in trainings for task in some]
    answers = iter(run_tasks(tasks, device=device, log=log, jobs=options.jobs))
    views = [[next(answers) for _ in some] for some in trainings]
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
            BASELINE: score_by_cleanlab(labels, judged),
            "merged": evidence.score,
        }
        runs.append(NoiseRun(kind, seed, true, labels, scores, expected["all"]))
    log("measuring")
    measured = measure_runs(table, runs)
    write_atomically(options.out / TABLE, measured.to_csv(index=False, float_format="%.5f"))
    return measured, runs


def recall_at_flipped(order: np.ndarray, wrong: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the wrong labels, (N,), among the first k faces, k as many as there are wrong ones.

    `order` is (N,) rows, the most suspect first; `weights` (B, N) how often each face counts in B
    resamples.
    """
    sorted_weights = weights[:, order].astype(float)
    before = sorted_weights.cumsum(axis=1) - sorted_weights
    count = (weights * wrong).sum(axis=1)
    # A face that counts several times may lie in the first k by a part.
    inside = np.clip(count[:, None] - before, 0, sorted_weights)
    return share((inside * wrong[order]).sum(axis=1), count)


def measure_runs(table: pd.DataFrame, runs: Sequence[NoiseRun]) -> pd.DataFrame:
    """Recall at k of every order, the mean of the seeds, and how far it is ahead of `BASELINE`'s.

    Columns kind, order, value, low, high, lead_value, lead_low, lead_high: 95 %, by group.
    """
    codes, groups = pd.factorize(table["group"])
    size = {"photos": len(groups), "resamples": RESAMPLES}
    rows = []
    for kind in dict.fromkeys(run.kind for run in runs):
        some = [run for run in runs if run.kind == kind]

        def find(order: str, weights: np.ndarray, some: Sequence[NoiseRun] = some) -> Found:
            # Equal scores in the order of the rows.
            orders = [np.argsort(-run.scores[order], kind="stable") for run in some]
            shares = [
                recall_at_flipped(ranked, run.wrong, weights[:, codes])
                for ranked, run in zip(orders, some, strict=True)
            ]
            return {"recall": np.mean(shares, axis=0)}

        for order in ORDERS:
            own, baseline = partial(find, order), partial(find, BASELINE)
            lead = compare(own, baseline, axes=None, **size)["recall"]
            ends = find_ends(resample(own, **size))["recall"].tolist()
            rows.append((kind, order, lead["mine"], *ends, lead["difference"], *lead["interval"]))
    return pd.DataFrame(rows, columns=["kind", "order", *ENDS, *(f"lead_{end}" for end in ENDS)])


def describe_runs(measured: pd.DataFrame, runs: Sequence[NoiseRun]) -> str:
    """The means as Markdown, a table per kind of noise."""
    parts = []
    for kind, rows in measured.groupby("kind", sort=False):
        some = [run for run in runs if run.kind == kind]
        expected = ", ".join("{:.0f} ({:.0f} to {:.0f})".format(*run.expected) for run in some)
        parts.append(
            f"**{kind}**: {some[0].wrong.sum()} of {len(some[0].true)} labels flipped, "
            f"{tell(len(some), 'seed')}; estimated to be wrong: {expected}."
        )
        lines = []
        for row in rows.to_dict("records"):
            value, lead = ([row[f"{of}{end}"] for end in ENDS] for of in ("", "lead_"))
            ahead = "–" if row["order"] == BASELINE else show_figure(lead, "+")
            lines.append([row["order"], show_figure(value), ahead])
        heads = ["order", "recall at k", f"recall at k minus {BASELINE}'s"]
        parts.append(markdown_table(heads, lines))
    return "\n\n".join([CAP, *parts])


def noise_benchmark(options: NoiseOptions) -> None:
    """Flip training labels on purpose and see which order finds them, as a Markdown table."""
    with report_as(options.log) as report:
        measured, runs = run_noise_benchmark(options, report.log)
        figures = measured.to_dict("records")
        report.finish("", describe_runs(measured, runs), folder=options.out, figures=figures)


app = typer.Typer(add_completion=False)
app.command()(as_command(noise_benchmark))

if __name__ == "__main__":
    app()
