"""The suspects folder: every face of train and valid, the most doubtful label first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.base import files
from data_prep.base.command import spell
from data_prep.base.labels import CLASSES, SHORT
from data_prep.base.progress import tell
from data_prep.base.records import Box
from data_prep.base.tables import KEY
from pipeline.cleaning.evidence import (
    Evidence,
    Neighbours,
    estimate_wrong_labels,
    find_duplicate_faces,
    find_neighbours,
    gather_evidence,
)
from pipeline.nets.compute import pick_device
from pipeline.review.suspects import ABOUT, FORMAT, TABLE, open_suspects, tell_likely
from pipeline.runs.folder import flatten
from pipeline.runs.log import Log, report_as
from pipeline.runs.options import SuspectsOptions
from pipeline.runs.plots import TILE, plot_faces
from pipeline.runs.recipe import ClassifierRecipe, load_recipe
from pipeline.training import short
from pipeline.training.data import read_crops

SHEET, ON_SHEET = "suspects.png", 60
SIMILAR = 8  # Look-alikes that a row names.
FEW = 1000  # Faces under which the nets' own mistakes count among the likely errors.

FROM_LOOKALIKES = 0.5  # Share of the neighbours with another label from which they are a reason.

COLUMNS = (
    *("rank", *KEY, "label", "split", "suggested", "score", *(f"p_{name}" for name in CLASSES)),
    *("loss", "margin", "neighbours", "twin", "reasons", "similar"),
    *(*Box._fields, "width", "height", "crop"),
)
"""Of `suspects.csv`; `twin` is 1 where a duplicate of the face has another label."""


def find_suspects(options: SuspectsOptions, log: Log) -> tuple[pd.DataFrame, list[float] | None]:
    """Judge the label of every face of train and valid, and write the suspects folder.

    Trainings that were finished there before are used again. Gives what `suspects.csv` holds, and
    `estimate_wrong_labels` of all; None for "in-sample", whose network has learnt the labels.
    """
    order, prepared, out = options.order, options.prepared, options.out
    overrides = [*(options.overrides or []), f"seed={options.seed}"]
    recipe = load_recipe(options.recipe, ClassifierRecipe, overrides)
    faces = short.open_faces(prepared, recipe, out)
    files.refuse_other_files(out, ABOUT, mark="order", parts="*.npz")
    in_sample = order == "in-sample"
    search = {
        "faces_sha256": faces.data["faces_sha256"],
        "order": order,
        "folds": 0 if in_sample else options.folds,
        "recipe": recipe.model_dump(mode="json"),
    }
    warn_of_others(out, search, log)
    plan = short.Plan(faces.table, recipe, out, faces.scale)
    fold, tasks = short.plan_in_sample(plan)
    if order != "in-sample":
        fold, of_folds = short.plan_folds(plan, options.folds)
        tasks = [*of_folds, *tasks] if order == "merged" else of_folds
    with files.hold_folder(out):
        done = short.run_tasks(
            tasks, device=pick_device(options.device), log=log, jobs=options.jobs
        )
        learnt = done.pop().probabilities if order == "merged" else None
        probabilities = short.join_folds(fold, done)
        log("looking up neighbours and duplicate faces")
        groups = faces.table["group"].tolist()
        neighbours = find_neighbours([view.features for view in done], fold, groups)
        duplicates = find_duplicate_faces(faces.table)
        labels = short.label_codes(faces.table)
        evidence = gather_evidence(labels, probabilities, neighbours, duplicates, learnt)
        table = tabulate(faces.table, evidence, neighbours, duplicates, merged=order == "merged")
        _plot(table, out / SHEET)
        table["crop"] = [Path(crop).relative_to(prepared).as_posix() for crop in table["crop"]]
        with files.open_atomically(out / TABLE) as file:
            table.to_csv(file, index=False, float_format="%.6g")
        wrong = {} if in_sample else estimate_wrong_labels(labels, probabilities, groups)
        likely = wrong.pop("all", None)
        agreed, commonest = compare_with_guessing(labels, probabilities)
        if likely and agreed <= commonest:
            log(
                f"note: the nets agree with {agreed:.0%} of the labels, one class alone would "
                f"with {commonest:.0%}: too little learnt to tell how many are wrong, or the order"
            )
            likely, wrong = None, {}
        elif likely and len(table) < FEW:
            log("note: nets of so few faces err themselves: trust the interval, no number")
        about = {
            "format": FORMAT,
            "prepared": str(prepared.resolve()),
            "faces_sha256": faces.data["faces_sha256"],
            "roots": {source: str(root) for source, root in faces.roots.items()},
            **search,
            "likely_errors": likely,
            "expected_wrong": wrong,
        }
        files.write_json(out / ABOUT, about)
        open_suspects(out)  # A large table is indexed now, not when somebody waits for the page.
    return table, likely


def warn_of_others(out: Path, search: Mapping[str, Any], log: Log) -> None:
    """Say, before anything is trained, that suspects found otherwise will be replaced, and how."""
    known = files.read_object(out / ABOUT) if (out / TABLE).is_file() else None
    before, after = flatten(dict(known or search)), flatten(dict(search))
    told = [
        "other faces, labels or boxes"
        if key == "faces_sha256"
        else f"{key.removeprefix('recipe.')} {before.get(key)} → {value}"
        for key, value in after.items()
        if before.get(key) != value and key != "recipe.name"
    ]
    if told:
        log(
            f"note: {out} holds the suspects of another search, which will be replaced: "
            f"{'; '.join(told)}. To keep them, stop this with Ctrl-C and give another -o.",
            "replaced",
            changes=told,
        )


def tabulate(
    faces: pd.DataFrame,
    evidence: Evidence,
    neighbours: Neighbours,
    duplicates: Sequence[Sequence[int]],
    *,
    merged: bool,
) -> pd.DataFrame:
    """The rows of `suspects.csv`, the most suspect first."""
    opinions = evidence.opinions if merged else evidence.probabilities
    score = evidence.score if merged else -np.expm1(-evidence.loss)
    # Equal scores in the order of the keys: the same input always gives the same table.
    best = np.lexsort((np.arange(len(faces)), -evidence.loss, -score))
    rank = np.empty(len(faces), dtype=int)
    rank[best] = np.arange(1, len(faces) + 1)
    table = faces.assign(
        rank=rank,
        suggested=short.label_names(opinions.argmax(axis=1)),
        score=score,
        loss=evidence.loss,
        margin=evidence.margin,
        neighbours=evidence.disagreement,
        twin=evidence.contradicted.astype(int),
        reasons=give_reasons(faces, evidence, duplicates),
        similar=[
            " ".join(str(rank[other]) for other in others[:SIMILAR] if other >= 0)
            for others in neighbours.index
        ],
        **{f"p_{name}": evidence.probabilities[:, i] for i, name in enumerate(CLASSES)},
    )
    return table.iloc[best].reset_index(drop=True)[list(COLUMNS)]


def give_reasons(
    faces: pd.DataFrame, evidence: Evidence, duplicates: Sequence[Sequence[int]]
) -> list[str]:
    """What speaks against each of N labels, the strongest first, parted by semicolons."""
    images, labels, short = faces["image"].tolist(), evidence.labels, list(SHORT.values())
    model, crowd = evidence.probabilities.argmax(axis=1), evidence.votes.argmax(axis=1)
    is_apart = evidence.disagreement >= FROM_LOOKALIKES
    reasons = []
    for row, label in enumerate(labels):
        found = []
        other = [duplicate for duplicate in duplicates[row] if labels[duplicate] != label]
        if other:
            found.append(f"duplicate: {short[labels[other[0]]]}, in {images[other[0]]}")
        if model[row] != label:
            share = evidence.probabilities[row, model[row]]
            found.append(f"model: {short[model[row]]} {share:.0%}")
        if is_apart[row] and crowd[row] != label:
            found.append(f"look-alikes: {evidence.votes[row, crowd[row]]:.0%} {short[crowd[row]]}")
        reasons.append("; ".join(found))
    return reasons


def _plot(table: pd.DataFrame, path: Path) -> None:
    """The contact sheet: rank, given class → suggested one if another, and the first reason."""
    titles, shown = [], table.head(ON_SHEET)
    for row in shown.itertuples():
        reason = str(row.reasons).split("; ")[0]
        cut = reason if len(reason) <= 26 else reason[:25] + "…"
        names = [SHORT[name] for name in dict.fromkeys((str(row.label), str(row.suggested)))]
        titles.append(f"{row.rank}  {' → '.join(names)}\n{cut}")
    heading = f"The {len(shown)} most suspect of {tell(len(table), 'label')}; {TABLE} has all"
    plot_faces(list(map(read_crops(side=TILE), shown["crop"])), titles, path, heading)


def compare_with_guessing(labels: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """Shares of the labels that the out-of-fold nets, and the commonest class alone, agree with."""
    agreed = probabilities.argmax(axis=1) == labels
    return float(agreed.mean()), float(np.bincount(labels).max() / len(labels))


def suspects(options: SuspectsOptions) -> None:
    """Find labels that may be wrong, the most suspect first; goes on where it was stopped."""
    with report_as(options.log) as report:
        (table, likely), out = find_suspects(options, report.log), options.out
        about = f"{tell_likely(likely)} in " if likely else ""
        report.finish(
            f"{about}{tell(len(table), 'face')}, the most suspect first: {out}; look at "
            f"{out / SHEET}, then: {spell('review', out)}",
            folder=out,
            table=out / TABLE,
            sheet=out / SHEET,
            faces=len(table),
            likely_errors=likely,
        )
