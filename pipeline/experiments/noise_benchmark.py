"""Flip some labels on purpose and see which order finds them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import pandas as pd
import torch

from data_prep.base.errors import UserError
from data_prep.base.files import make_folder
from data_prep.base.labels import CLASSES
from data_prep.grouping.split import TRAIN
from pipeline.cleaning.evidence import confident_joint, find_neighbours, find_twins
from pipeline.cleaning.ranking import gather_evidence, score_labels
from pipeline.runs.log import Log
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training.short import PreparedFaces, label_codes, label_names, open_faces
from pipeline.training.tasks import (
    FoldViews,
    Plan,
    Task,
    join_folds,
    plan_folds,
    plan_in_sample,
    run_tasks,
)

Kind = Literal["uniform", "likely"]
KINDS: tuple[Kind, ...] = ("uniform", "likely")

LIKELY = {
    "with_mask": {"without_mask": 0.4, "mask_weared_incorrect": 0.6},
    "without_mask": {"with_mask": 0.7, "mask_weared_incorrect": 0.3},
    "mask_weared_incorrect": {"with_mask": 0.7, "without_mask": 0.3},
}
"""Where a wrong label of each class goes under `likely` noise. Set by hand, not measured: a mask
that is worn is taken for one that hangs low, a bare chin in shadow for a mask."""


class NoiseError(UserError, ValueError):
    """A kind of noise that is not known."""


def parse_kinds(text: str) -> tuple[Kind, ...]:
    """Kinds of noise separated by commas, each once.

    Raises:
        NoiseError: One is not known.

    >>> parse_kinds("likely, uniform")
    ('likely', 'uniform')
    """
    names = dict.fromkeys(name.strip() for name in text.split(","))
    known: dict[str, Kind] = {kind: kind for kind in KINDS}
    for name in names:
        if name not in known:
            raise NoiseError(f"unknown kind of noise '{name}': use {', '.join(KINDS)}.")
    return tuple(known[name] for name in names)


def flip_labels(labels: np.ndarray, kind: Kind, *, rate: float, seed: int) -> np.ndarray:
    """Give a share of the faces another class.

    Args:
        labels: (N,) class index of each face.
        kind: `uniform`: either other class is as likely. `likely`: by `LIKELY`.
        rate: Share of the faces, 0 to 1; exact but for rounding to whole faces.
        seed: Of the choice of faces and classes.

    Returns:
        (N,) class index of each face, `round(rate * N)` of them changed.
    """
    rng = np.random.default_rng(seed)
    flipped = labels.copy()
    chosen = rng.permutation(len(labels))[: round(rate * len(labels))]
    shares = flip_shares(kind)[labels[chosen]]
    draws = rng.random((len(chosen), 1))
    flipped[chosen] = (draws >= shares.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return flipped


def flip_shares(kind: Kind) -> np.ndarray:
    """(3, 3) where flipped labels go: true class in rows, new class in columns, rows sum to 1."""
    if kind == "uniform":
        return (1 - np.eye(len(CLASSES))) / (len(CLASSES) - 1)
    return np.array([[LIKELY[true].get(new, 0.0) for new in CLASSES] for true in CLASSES])


class MissingRivalError(UserError, ImportError):
    """The library to compare with is not installed."""


def import_cleanlab() -> tuple[ModuleType, ModuleType]:
    """Its modules `filter` and `rank`.

    Raises:
        MissingRivalError: It isn't installed.
    """
    try:
        from cleanlab import filter as issues
        from cleanlab import rank
    except ImportError as error:
        raise MissingRivalError(
            "cleanlab isn't installed, and the benchmark compares with it: pip install cleanlab."
        ) from error
    return issues, rank


def score_by_issues(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Cleanlab's `find_label_issues` as it comes, then the other faces by its default quality.

    Args:
        labels: (N,) given class index of each face.
        probabilities: (N, C) out-of-fold.

    Returns:
        (N,) higher is more suspect.
    """
    issues, rank = import_cleanlab()
    quality = rank.get_label_quality_scores(labels, probabilities)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = issues.find_label_issues(
            labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
        )
    scores = 1 - quality
    scores[found] += 1
    return scores


def score_by_margin(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Cleanlab's normalised margin, likewise."""
    _, rank = import_cleanlab()
    return 1 - rank.get_label_quality_scores(labels, probabilities, method="normalized_margin")


ORDERS = ("in-sample", "out-of-fold", "cleanlab", "cleanlab margin", "merged")
"""What is compared: the seed's way, plain loss, cleanlab's `find_label_issues`, its normalised
margin, and the merged order. All but the first work on the same out-of-fold probabilities; the
merged one asks the network of the first, too."""


@dataclass(frozen=True)
class NoisePlan:
    """What the benchmark does.

    Attributes:
        kinds: Of noise.
        seeds: Number of seeds, from 0; each flips other labels and trains anew.
        rate: Share of the training labels that is flipped.
        folds: Number of folds.
        recipe: Of the short trainings.
    """

    kinds: tuple[Kind, ...]
    seeds: int
    rate: float
    folds: int
    recipe: ClassifierRecipe


@dataclass(frozen=True)
class NoiseRun:
    """One kind of noise under one seed.

    Attributes:
        kind: Of noise.
        seed: Of flips, folds and trainings.
        true: (N,) class index before the flips, as annotated.
        given: (N,) after the flips.
        scores: By name of the order, (N,) higher is more suspect.
        expected: How many labels the confident joint takes for wrong.
    """

    kind: Kind
    seed: int
    true: np.ndarray
    given: np.ndarray
    scores: dict[str, np.ndarray]
    expected: float

    @property
    def wrong(self) -> np.ndarray:
        """(N,) whether the label was flipped."""
        return self.true != self.given


@dataclass(frozen=True)
class _Setting:
    kind: Kind
    seed: int
    table: pd.DataFrame
    fold: np.ndarray
    tasks: list[Task]


def run_noise_benchmark(
    prepared: Path,
    out: Path,
    plan: NoisePlan,
    *,
    device: torch.device,
    log: Log,
    jobs: int | None = None,
) -> tuple[pd.DataFrame, list[NoiseRun]]:
    """Flip labels of the training split, train on them, and score every label by every order.

    Args:
        prepared: The prepared folder; only its training split is used.
        out: Gets a file per training; those that are there already are not done again.
        plan: What to do.
        device: Where to train.
        log: Gets a line per epoch.
        jobs: Trainings at a time; one per core when None.

    Returns:
        The N faces, and a run for each kind and seed.

    Raises:
        PreparedError: Not a prepared folder, or no face to train on.
        MissingRivalError: cleanlab isn't installed.
        OutputError: The folder can't be written.
    """
    import_cleanlab()  # Better to fail now than after all trainings.
    faces = open_faces(prepared, plan.recipe)
    table = faces.table[faces.table["split"] == TRAIN].reset_index(drop=True)
    make_folder(out)
    settings = [
        _prepare(faces, table, plan, kind, seed, out)
        for seed in range(plan.seeds)
        for kind in plan.kinds
    ]
    tasks = [task for setting in settings for task in setting.tasks]
    views = iter(run_tasks(tasks, device=device, log=log, jobs=jobs))
    twins = find_twins(table)
    runs = []
    for setting in settings:
        *folds, in_sample = (next(views) for _ in setting.tasks)
        log(f"{setting.kind} noise, seed {setting.seed}: ranking")
        judged = join_folds(setting.fold, folds)
        runs.append(_rank(setting, label_codes(table), judged, in_sample.probabilities, twins))
    return table, runs


def _prepare(
    faces: PreparedFaces, table: pd.DataFrame, plan: NoisePlan, kind: Kind, seed: int, out: Path
) -> _Setting:
    flipped = flip_labels(label_codes(table), kind, rate=plan.rate, seed=seed)
    noisy = table.assign(label=label_names(flipped))
    recipe = plan.recipe.model_copy(update={"seed": plan.recipe.seed + seed})
    what, folder = f"{kind} noise, seed {seed}", out / f"{kind}-{seed}"
    tasks = Plan(noisy, recipe, folder, faces.scale, what)
    fold, of_folds = plan_folds(tasks, plan.folds)
    return _Setting(kind, seed, noisy, fold, [*of_folds, *plan_in_sample(tasks)[1]])


def _rank(
    setting: _Setting,
    true: np.ndarray,
    judged: FoldViews,
    in_sample: np.ndarray,
    twins: list[list[int]],
) -> NoiseRun:
    given = label_codes(setting.table)
    rows = np.arange(len(given))
    neighbours = find_neighbours(judged.features, judged.fold, setting.table["group"].tolist())
    evidence = gather_evidence(given, judged.probabilities, neighbours, twins, in_sample)
    scores = {
        "in-sample": 1 - in_sample[rows, given],
        "out-of-fold": 1 - judged.probabilities[rows, given],
        "cleanlab": score_by_issues(given, judged.probabilities),
        "cleanlab margin": score_by_margin(given, judged.probabilities),
        "merged": score_labels(evidence),
    }
    joint = confident_joint(given, judged.probabilities)
    expected = float(joint.sum() - np.trace(joint))
    return NoiseRun(setting.kind, setting.seed, true, given, scores, expected)
