"""What cleaned labels change: the same short training before and after, measured the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from data_prep.base.errors import UserError
from data_prep.base.files import make_folder, write_json
from data_prep.base.labels import CLASSES
from data_prep.base.tables import KEY
from data_prep.grouping.split import TRAIN, VALID
from evaluate.measures.bootstrap import bootstrap_intervals
from pipeline.runs.log import Log
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training.short import PreparedFaces, label_codes, open_faces
from pipeline.training.tasks import Plan, run_tasks

RESULT = "clean-effect.json"
RESAMPLES = 2000
FIGURES = ("accuracy", "macro_recall", *CLASSES)


class EffectError(UserError, ValueError):
    """Two prepared folders that can't be compared; the message says what to do."""


@dataclass(frozen=True)
class Sides:
    """What is trained on before and after, and what both are measured on.

    Attributes:
        before: Training faces as annotated.
        after: The same photos' faces after cleaning.
        valid: Validation faces as annotated; cleaning leaves them untouched.
        scale: Of the crops.
    """

    before: pd.DataFrame
    after: pd.DataFrame
    valid: pd.DataFrame
    scale: float

    def count_changes(self) -> dict[str, int]:
        """How many training labels and boxes changed, faces went, and faces came."""
        keys = list(KEY)
        both = self.before.merge(self.after, on=keys, suffixes=("", "_after"))
        moved = np.zeros(len(both), bool)
        for corner in ("xmin", "ymin", "xmax", "ymax"):
            moved |= (both[corner] != both[f"{corner}_after"]).to_numpy()
        return {
            "faces": len(self.before),
            "relabelled": int((both["label"] != both["label_after"]).sum()),
            "reboxed": int(moved.sum()),
            "dropped": len(self.before) - len(both),
            "added": len(self.after) - len(both),
        }


def pair_sides(before: PreparedFaces, after: PreparedFaces) -> Sides:
    """Put both sides on one split: that of the folder before cleaning.

    `data_prep` may split anew when labels change, so the split of the cleaned folder is not used:
    its faces are trained on when their photo is a training photo of the other.

    Args:
        before: Built without decisions.
        after: Built from the same datasets, with decisions.

    Raises:
        EffectError: The cleaned folder holds photos that the other does not know, holds none of
            its training photos, or its crops are cut at another scale.
    """
    photos, cleaned = (_photos(side.table) for side in (before, after))
    strange = ~cleaned.isin(photos)
    if strange.any():
        row = after.table.loc[strange].iloc[0]
        raise EffectError(
            f"{after.folder}: photo {row['source']}/{row['image']} is not in train or valid of "
            f"{before.folder}, so nothing tells which side of the split it is on: build both "
            "folders from the same datasets with the same --folds, --fold and --seed."
        )
    if before.scale != after.scale:
        raise EffectError(
            f"{after.folder}: crops at {after.scale} times the box, those of {before.folder} at "
            f"{before.scale} times: build both with the same --scale."
        )
    is_train = before.table["split"] == TRAIN
    chosen = cleaned.isin(photos[is_train]).to_numpy()
    if not chosen.any():
        raise EffectError(f"{after.folder}: none of the training photos of {before.folder}.")
    valid = before.table[before.table["split"] == VALID]
    if valid.empty:
        raise EffectError(f"{before.folder}: no validation face to measure on.")
    return Sides(
        before.table[is_train].reset_index(drop=True),
        after.table[chosen].reset_index(drop=True),
        valid.reset_index(drop=True),
        before.scale,
    )


def measure_clean_effect(
    prepared: Path,
    cleaned: Path,
    out: Path,
    recipe: ClassifierRecipe,
    *,
    seeds: int,
    device: torch.device,
    log: Log,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Train on the labels before and after cleaning and compare on the untouched ones.

    Args:
        prepared: Built without decisions; its validation faces are measured on.
        cleaned: Built from the same datasets with `--decisions`.
        out: Gets a file per training and `clean-effect.json`.
        recipe: Of the trainings.
        seeds: Trainings per side, seeded alike on both.
        device: Where to train.
        log: Gets a line per epoch.
        jobs: Trainings at a time; one per core when None.

    Returns:
        `changes` of the training faces, `faces` measured on, and under `figures`, for accuracy,
        macro recall and the recall of each class, `before` and `after` (means over seeds),
        `difference`, its paired 95 % `interval` by photo, and `by_seed`.

    Raises:
        EffectError: The folders can't be compared.
        PreparedError: One is not a prepared folder.
        OutputError: The folder can't be written.
    """
    sides = pair_sides(open_faces(prepared, recipe), open_faces(cleaned, recipe))
    changes = sides.count_changes()
    log(", ".join(f"{name} {count}" for name, count in changes.items()), "data", **changes)
    make_folder(out)
    tasks = []
    for seed in range(seeds):
        own = recipe.model_copy(update={"seed": recipe.seed + seed})
        plan = Plan(sides.valid, own, out, sides.scale, f"seed {seed}")
        tasks += [
            plan.make_task("before", f"before-{seed}", sides.before, sides.valid),
            plan.make_task("after", f"after-{seed}", sides.after, sides.valid),
        ]
    views = run_tasks(tasks, device=device, log=log, jobs=jobs)
    truth = label_codes(sides.valid)
    right = np.stack([view.probabilities.argmax(axis=1) == truth for view in views])
    figures = compare_sides(right[0::2], right[1::2], truth, _photos(sides.valid))
    result = {"changes": changes, "faces": len(truth), "seeds": seeds, "figures": figures}
    write_json(out / RESULT, result)
    return result


def compare_sides(
    before: np.ndarray, after: np.ndarray, truth: np.ndarray, photos: pd.Series
) -> dict[str, dict[str, Any]]:
    """Differences with intervals; the same resampled photos weigh both sides.

    Args:
        before: (S, N) whether each of S trainings told each face right.
        after: (S, N) likewise.
        truth: (N,) class index of each face.
        photos: (N,) photo of each face.
    """
    codes, names = pd.factorize(photos)
    once = np.ones((1, len(truth)))
    # The mean over seeds of a share is the share of the mean.
    sides = [right.mean(axis=0) for right in (before, after)]

    def difference(weights: np.ndarray) -> dict[str, np.ndarray]:
        first, second = (_measure(side, truth, weights[:, codes]) for side in sides)
        return {name: second[name] - first[name] for name in FIGURES}

    ends = bootstrap_intervals(
        difference, photos=len(names), resamples=RESAMPLES, rows=4 * len(truth)
    )
    first, second = (_measure(side, truth, once) for side in sides)
    by_seed = [
        {name: values - _measure(one, truth, once)[name] for name, values in two.items()}
        for one, two in zip(before, (_measure(right, truth, once) for right in after), strict=True)
    ]
    return {
        name: {
            "before": _number(first[name][0]),
            "after": _number(second[name][0]),
            "difference": _number(second[name][0] - first[name][0]),
            "interval": [_number(end) for end in ends[name]],
            "by_seed": [_number(seed[name][0]) for seed in by_seed],
        }
        for name in FIGURES
    }


def measure_side(
    right: np.ndarray, truth: np.ndarray, photos: pd.Series
) -> dict[str, tuple[float, float, float]]:
    """Figures of one side with their 95 % intervals.

    Args:
        right: (N,) whether each face was told right.
        truth: (N,) class index of each face.
        photos: (N,) photo, or group of photos, of each face.

    Returns:
        Value, low and high by figure.
    """
    codes, names = pd.factorize(photos)
    ends = bootstrap_intervals(
        lambda weights: _measure(right, truth, weights[:, codes]),
        photos=len(names),
        resamples=RESAMPLES,
        rows=4 * len(truth),
    )
    values = _measure(right, truth, np.ones((1, len(truth))))
    return {
        name: (float(values[name][0]), float(ends[name][0]), float(ends[name][1]))
        for name in FIGURES
    }


def describe_effect(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    lines = [
        f"Validation faces: {result['faces']}, labels as annotated; {result['seeds']} trainings a "
        "side; intervals: 95 %, paired, by photo.",
        "",
        "| | before | after | difference | by seed |",
        "|---|---|---|---|---|",
    ]
    for name, row in result["figures"].items():
        title = f"recall, {name}" if name in CLASSES else name.replace("_", " ")
        if row["difference"] is None:
            lines.append(f"| {title} | – | – | – | – |")
            continue
        seeds = ", ".join(f"{value:+.3f}" for value in row["by_seed"])
        low, high = row["interval"]
        lines.append(
            f"| {title} | {row['before']:.3f} | {row['after']:.3f} | {row['difference']:+.3f} "
            f"({low:+.3f} to {high:+.3f}) | {seeds} |"
        )
    return "\n".join(lines)


def _measure(right: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Figures by name, (B,) each, from shares of right answers (N,) and weights (B, N)."""
    recalls = {}
    for index, name in enumerate(CLASSES):
        own = weights * (truth == index)
        total = own.sum(axis=1)
        with np.errstate(invalid="ignore"):
            recalls[name] = own @ right.astype(float) / np.where(total > 0, total, np.nan)
    known = np.stack([recalls[name] for name in CLASSES if (truth == CLASSES.index(name)).any()])
    accuracy = weights @ right.astype(float) / weights.sum(axis=1)
    return {"accuracy": accuracy, "macro_recall": known.mean(axis=0), **recalls}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 5)


def _photos(table: pd.DataFrame) -> pd.Series:
    return table["source"] + "/" + table["image"]
