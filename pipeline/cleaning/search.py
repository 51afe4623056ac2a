"""The suspects folder: every face of train and valid, the most doubtful label first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from data_prep.base.files import make_folder, write_atomically, write_json
from data_prep.base.labels import CLASSES
from data_prep.base.tables import KEY
from pipeline.cleaning.evidence import (
    SIMILAR,
    Neighbours,
    estimate_wrong_labels,
    find_neighbours,
    find_twins,
)
from pipeline.cleaning.ranking import Evidence, Order, gather_evidence, merge_opinions, score_labels
from pipeline.review.suspects import ABOUT, FORMAT, TABLE
from pipeline.runs.log import Log
from pipeline.runs.plots import SHORT, TILE, plot_faces
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training.short import PreparedFaces, label_codes, label_names, load_crops, open_faces
from pipeline.training.tasks import Plan, join_folds, plan_folds, plan_in_sample, run_tasks

FROM_LOOKALIKES = 0.5
"""Share of the neighbours with another label from which they are a reason."""


def give_reasons(
    faces: pd.DataFrame, evidence: Evidence, twins: Sequence[Sequence[int]]
) -> list[str]:
    """What speaks against each label, the strongest first, parted by semicolons.

    Args:
        faces: N rows of `faces.csv`.
        evidence: Of each face.
        twins: Rows of each face's near-duplicates.

    Returns:
        N texts; empty where nothing speaks against the label.
    """
    images = faces["image"].tolist()
    labels = evidence.labels
    model = evidence.probabilities.argmax(axis=1)
    crowd = evidence.votes.argmax(axis=1)
    reasons = []
    for row in range(len(faces)):
        found = []
        other = [twin for twin in twins[row] if labels[twin] != labels[row]]
        if other:
            found.append(f"duplicate: {_short(labels[other[0]])}, in {images[other[0]]}")
        if model[row] != labels[row]:
            share = evidence.probabilities[row, model[row]]
            found.append(f"model: {_short(model[row])} {share:.0%}")
        if evidence.disagreement[row] >= FROM_LOOKALIKES and crowd[row] != labels[row]:
            share = evidence.votes[row, crowd[row]]
            found.append(f"look-alikes: {share:.0%} {_short(crowd[row])}")
        reasons.append("; ".join(found))
    return reasons


def _short(label: np.integer) -> str:
    return SHORT[CLASSES[int(label)]]


SHEET = "suspects.png"
ON_SHEET = 60
TITLE = 26
"""Letters that a line over a face of the sheet has room for."""

COLUMNS = (
    "rank",
    *KEY,
    "label",
    "split",
    "suggested",
    "score",
    *(f"p_{name}" for name in CLASSES),
    "loss",
    "margin",
    "neighbours",
    "twin",
    "reasons",
    "similar",
    *("xmin", "ymin", "xmax", "ymax", "width", "height", "crop"),
)


@dataclass(frozen=True)
class Search:
    """How to look for suspects.

    Attributes:
        order: What the order goes by.
        folds: Number of folds; of no meaning for the order `in-sample`.
        recipe: Of the short trainings.
    """

    order: Order
    folds: int
    recipe: ClassifierRecipe


def find_suspects(
    prepared: Path,
    out: Path,
    search: Search,
    *,
    device: torch.device,
    log: Log,
    jobs: int | None = None,
) -> pd.DataFrame:
    """Judge the label of every face of train and valid, and write the suspects folder.

    Args:
        prepared: The prepared folder.
        out: The suspects folder; trainings that were finished there before are used again.
        search: How to look.
        device: Where to train.
        log: Gets a line per epoch.
        jobs: Trainings at a time; one per core when None.

    Returns:
        What `suspects.csv` holds.

    Raises:
        PreparedError: Not a prepared folder, or no face in train and valid.
        SplitError: The photos can't be put into so many folds.
        OutputError: The folder can't be written.
    """
    faces = open_faces(prepared, search.recipe)
    make_folder(out)
    plan = Plan(faces.table, search.recipe, out, faces.scale)
    in_sample = search.order == "in-sample"
    fold, tasks = plan_in_sample(plan) if in_sample else plan_folds(plan, search.folds)
    judges = len(tasks)
    if search.order == "merged":
        tasks += plan_in_sample(plan)[1]
    done = run_tasks(tasks, device=device, log=log, jobs=jobs)
    views = join_folds(fold, done[:judges])
    learnt = done[judges].probabilities if search.order == "merged" else None
    log("looking up neighbours and near-duplicates")
    groups = faces.table["group"].tolist()
    neighbours = find_neighbours(views.features, views.fold, groups)
    twins = find_twins(faces.table)
    labels = label_codes(faces.table)
    evidence = gather_evidence(labels, views.probabilities, neighbours, twins, learnt)
    table = tabulate(faces.table, evidence, neighbours, twins, search.order)
    # A network that has learnt the labels doubts none: it can't tell how many are wrong.
    wrong = {} if in_sample else estimate_wrong_labels(labels, views.probabilities, groups)
    plot_suspects(table.head(ON_SHEET), out / SHEET)
    table["crop"] = [Path(crop).relative_to(prepared).as_posix() for crop in table["crop"]]
    write_atomically(out / TABLE, table.to_csv(index=False, float_format="%.6g"))
    write_json(out / ABOUT, describe_search(faces, search, wrong))
    return table


def tabulate(
    faces: pd.DataFrame,
    evidence: Evidence,
    neighbours: Neighbours,
    twins: list[list[int]],
    order: Order,
) -> pd.DataFrame:
    """The rows of `suspects.csv`, the most suspect first.

    Args:
        faces: N rows of `faces.csv`.
        evidence: Of each face.
        neighbours: Of each face.
        twins: Rows of each face's near-duplicates.
        order: What the order goes by.
    """
    opinions = merge_opinions(evidence) if order == "merged" else evidence.probabilities
    score = score_labels(evidence) if order == "merged" else -np.expm1(-evidence.loss)
    table = faces.assign(
        suggested=label_names(opinions.argmax(axis=1)),
        score=score,
        loss=evidence.loss,
        margin=evidence.margin,
        neighbours=evidence.disagreement,
        twin=evidence.twin.astype(int),
        reasons=give_reasons(faces, evidence, twins),
    )
    for index, name in enumerate(CLASSES):
        table[f"p_{name}"] = evidence.probabilities[:, index]
    # Equal scores in the order of the keys: the same input always gives the same table.
    best = np.lexsort((np.arange(len(faces)), -evidence.loss, -score))
    rank = np.empty(len(faces), dtype=int)
    rank[best] = np.arange(1, len(faces) + 1)
    table["rank"] = rank
    table["similar"] = [
        " ".join(str(rank[other]) for other in others[:SIMILAR] if other >= 0)
        for others in neighbours.index
    ]
    return table.iloc[best].reset_index(drop=True)[list(COLUMNS)]


def describe_search(
    faces: PreparedFaces, search: Search, wrong: dict[str, list[float]]
) -> dict[str, Any]:
    """What `suspects.json` holds."""
    return {
        "format": FORMAT,
        "prepared": str(faces.folder.resolve()),
        "faces_sha256": faces.data["faces_sha256"],
        "roots": {source: str(root) for source, root in faces.roots.items()},
        "order": search.order,
        "folds": 0 if search.order == "in-sample" else search.folds,
        "recipe": search.recipe.model_dump(mode="json"),
        "expected_wrong": wrong,
    }


def plot_suspects(table: pd.DataFrame, path: Path) -> None:
    """Draw the contact sheet: rank, given class → suggested class, and the first reason.

    Args:
        table: Rows to show, `crop` a path that can be opened.
        path: The PNG.
    """
    crops = load_crops(table["crop"], TILE)
    titles = [
        f"{row.rank}  {SHORT[str(row.label)]} → {SHORT[str(row.suggested)]}\n"
        + _cut(str(row.reasons).split("; ")[0])
        for row in table.itertuples()
    ]
    plot_faces([crops[crop] for crop in table["crop"]], titles, path)


def _cut(text: str) -> str:
    """As much as fits over a face."""
    return text if len(text) <= TITLE else text[: TITLE - 1] + "…"
