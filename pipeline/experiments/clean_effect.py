"""What cleaned labels change: the same short training before and after, measured the same."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from data_prep.base.files import refuse_other_files, write_json
from data_prep.base.labels import CLASSES
from data_prep.base.progress import tell
from data_prep.base.tables import KEY, markdown_table
from data_prep.grouping.split import TRAIN, VALID
from pipeline.experiments.tables import compare_sides, name_photos, pick_difference, show_figure
from pipeline.nets.compute import pick_device
from pipeline.runs.folder import PreparedError
from pipeline.runs.log import Log, report_as
from pipeline.runs.options import CleanEffectOptions
from pipeline.runs.recipe import ClassifierRecipe, load_recipe
from pipeline.training.short import Plan, PreparedFaces, label_codes, open_faces, run_tasks

RESULT = "clean-effect.json"


@dataclass(frozen=True)
class Sides:
    """What is trained on before and after, and what both are measured on."""

    before: pd.DataFrame  # training faces as annotated
    after: pd.DataFrame  # the same photos' faces after cleaning
    valid: pd.DataFrame  # validation faces as annotated

    def count_changes(self) -> dict[str, int]:
        """How many training labels and boxes changed, faces went, and faces came."""
        both = self.before.merge(self.after, on=list(KEY), suffixes=("", "_after"))
        corners = ["xmin", "ymin", "xmax", "ymax"]
        moved = both[corners].to_numpy() != both[[f"{one}_after" for one in corners]].to_numpy()
        return {
            "faces": len(self.before),
            "relabelled": int((both["label"] != both["label_after"]).sum()),
            "reboxed": int(moved.any(axis=1).sum()),
            "dropped": len(self.before) - len(both),
            "added": len(self.after) - len(both),
        }


def pair_sides(before: PreparedFaces, after: PreparedFaces) -> Sides:
    """Put both sides on one split: that of the folder before cleaning.

    `data_prep` may split anew when labels change: faces of the cleaned folder are trained on where
    their photo is a training photo of the other. Raises `PreparedError`: it holds photos that the
    other does not know, or none of its training photos, or crops at another scale.
    """
    photos, cleaned = (name_photos(side.table) for side in (before, after))
    strange = cleaned[~cleaned.isin(photos)]
    if len(strange):
        raise PreparedError(
            f"{after.folder}: photo {strange.iloc[0]} is not in train or valid of "
            f"{before.folder}, so nothing tells which side of the split it is on: build both "
            "folders from the same datasets with the same --folds, --fold and --seed."
        )
    if before.scale != after.scale:
        raise PreparedError(
            f"{after.folder}: crops at {after.scale} times the box, those of {before.folder} at "
            f"{before.scale} times: build both with the same --scale."
        )
    split, table = before.table["split"], before.table
    chosen = cleaned.isin(photos[split == TRAIN])
    if not chosen.any():
        raise PreparedError(f"{after.folder}: none of the training photos of {before.folder}.")
    parts = (table[split == TRAIN], after.table[chosen], table[split == VALID])
    if parts[2].empty:
        raise PreparedError(f"{before.folder}: no validation face to measure on.")
    return Sides(*(part.reset_index(drop=True) for part in parts))


def measure_clean_effect(options: CleanEffectOptions, log: Log) -> dict[str, Any]:
    """Train on the labels before and after cleaning and compare on the untouched ones.

    Gives what `clean-effect.json` holds, `figures` as of `compare_sides`. Raises as `pair_sides`.
    """
    recipe, out = load_recipe(options.recipe, ClassifierRecipe, options.overrides), options.out
    before, after = (open_faces(one, recipe, out) for one in (options.prepared, options.cleaned))
    refuse_other_files(out, RESULT, mark="changes", parts="*.npz", beside=True)
    sides = pair_sides(before, after)
    changes = sides.count_changes()
    log(", ".join(f"{name} {count}" for name, count in changes.items()), "data", **changes)
    if not any(count for name, count in changes.items() if name != "faces"):
        raise PreparedError(f"{after.folder}: learns from the same faces and labels as before.")
    tasks = []
    for seed in range(options.seeds):
        own = recipe.model_copy(update={"seed": recipe.seed + seed})
        plan = Plan(sides.valid, own, out, before.scale, f"seed {seed}")
        tasks += [
            plan.make_task("before", f"before-{seed}", sides.before, sides.valid),
            plan.make_task("after", f"after-{seed}", sides.after, sides.valid),
        ]
    views = run_tasks(tasks, device=pick_device(options.device), log=log, jobs=options.jobs)
    truth = label_codes(sides.valid)
    right = np.stack([view.probabilities.argmax(axis=1) == truth for view in views])
    figures = compare_sides(right[0::2], right[1::2], truth, name_photos(sides.valid))
    result = {"changes": changes, "faces": len(truth), "seeds": options.seeds, "figures": figures}
    result["of_class"] = {name: int((truth == i).sum()) for i, name in enumerate(CLASSES)}
    write_json(out / RESULT, result)
    return result


def describe_effect(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    rows = []
    for name, row in result["figures"].items():
        cells = ["–"] * 4
        if row["difference"] is not None:
            cells = [
                f"{row['before']:.3f}",
                f"{row['after']:.3f}",
                show_figure(pick_difference(row), "+"),
                ", ".join(f"{value:+.3f}" for value in row["by_seed"]),
            ]
        words = name.replace("_", " ")
        if name in CLASSES:
            words = f"recall, {name}, of {tell(result['of_class'][name], 'face')}"
        rows.append([words, *cells])
    return (
        f"Validation faces: {result['faces']}, labels as annotated; "
        f"{tell(result['seeds'], 'training')} a side; intervals: 95 %, paired, by photo.\n\n"
        + markdown_table(["", "before", "after", "difference", "by seed"], rows)
    )


def clean_effect(options: CleanEffectOptions) -> None:
    """Train on the labels before and after cleaning, measure on untouched validation labels."""
    with report_as(options.log) as report:
        result = measure_clean_effect(options, report.log)
        report.finish("", describe_effect(result), folder=options.out, **result)
