"""Flip some labels on purpose and see which order finds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from data_prep.files import make_folder
from data_prep.split import TRAIN
from pipeline.cleaning.label_noise import confident_joint
from pipeline.cleaning.neighbours import find_neighbours
from pipeline.cleaning.noise import Kind, flip_labels
from pipeline.cleaning.ranking import gather_evidence, score_labels
from pipeline.cleaning.rivals import import_cleanlab, score_by_issues, score_by_margin
from pipeline.cleaning.twins import find_twins
from pipeline.recipe import ClassifierRecipe
from pipeline.reporting import Say
from pipeline.short_trainings.out_of_fold import FoldViews, join_folds, plan_folds, plan_in_sample
from pipeline.short_trainings.prepared_faces import (
    PreparedFaces,
    label_codes,
    label_names,
    open_faces,
)
from pipeline.short_trainings.tasks import Plan, Task, run_tasks

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
    say: Say,
    jobs: int | None = None,
) -> tuple[pd.DataFrame, list[NoiseRun]]:
    """Flip labels of the training split, train on them, and score every label by every order.

    Args:
        prepared: The prepared folder; only its training split is used.
        out: Gets a file per training; those that are there already are not done again.
        plan: What to do.
        device: Where to train.
        say: Gets a line per epoch.
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
    views = iter(run_tasks(tasks, device=device, say=say, jobs=jobs))
    twins = find_twins(table)
    runs = []
    for setting in settings:
        *folds, in_sample = (next(views) for _ in setting.tasks)
        say(f"{setting.kind} noise, seed {setting.seed}: ranking")
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
