"""What `build` and `audit` share: from datasets to the table of faces and its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.base.boxes import clip_faces
from data_prep.base.errors import DatasetError
from data_prep.base.records import CONTRADICTION, DUPLICATE, Box, Dataset, Finding
from data_prep.decisions.ledger import Ledger
from data_prep.decisions.overlay import Overlay
from data_prep.grouping.groups import join_groups, name_groups
from data_prep.grouping.split import TRAIN, SplitError, leaked_share, naive_split, split_by_group
from data_prep.prepare.options import PrepareOptions
from data_prep.prepare.survey import SurveyedFace, SurveyedPhoto, keep_balanced, survey_photos

SPLIT_EDGES: tuple[float, ...] = (10, 16, 32, 64)
"""Short sides in pixels between the size bins that a split spreads evenly."""


@dataclass(frozen=True)
class Analysis:
    """What is found out about datasets.

    `faces` has `split` and `kept`, `short_side` as an extra column, and as `crop` the file name in
    the folder of all crops.
    """

    faces: pd.DataFrame
    findings: tuple[Finding, ...]
    summary: dict[str, Any]


def analyse(
    read: Sequence[Dataset],
    ledgers: Sequence[Ledger],
    overlay: Overlay,
    options: PrepareOptions,
    crops: Path,
    *,
    must_split: bool,
) -> Analysis:
    """Look at all photos, cut the crops, and group, split and balance the faces.

    `read` are datasets as read, `overlay` is what came of the ledgers. `crops` is an existing
    folder that gets all crops side by side. Datasets too small to be split are an error where they
    must be split; else they are all for training, with a finding.
    """
    photos = [photo for dataset in overlay.datasets for photo in dataset.photos]
    surveyed = survey_photos(photos, crops=crops, scale=options.scale, workers=options.workers)
    told = [*(d.findings for d in overlay.datasets), *(p.findings for p in surveyed)]
    findings = tuple(chain(*told, overlay.findings, find_contradictions(surveyed)))
    near = name_groups(photos, [photo.fingerprint for photo in surveyed])
    groups = join_groups(photos, near)
    faces = _tabulate_faces(surveyed, groups)
    require_faces(faces, findings, overlay.record["applied"].get("drop", 0))
    as_read = _tabulate_faces(_restore_faces(surveyed, read), groups) if ledgers else None
    try:
        faces = split_faces(faces, options, as_read)
    except SplitError as error:
        if must_split:
            raise
        faces = faces.assign(split=TRAIN, kept=True)
        findings += (Finding("", "no-split", str(error), dropped=False),)
    decisions = overlay.record if ledgers else None
    summary = summarise(overlay.datasets, faces, findings, options, decisions)
    return Analysis(faces, findings, summary)


def _tabulate_faces(surveyed: Sequence[SurveyedPhoto], groups: Sequence[str]) -> pd.DataFrame:
    """One row per face with its near-duplicate group; `short_side` is an extra column."""
    rows = [
        {
            "image": photo.photo.image,
            "width": photo.width,
            "height": photo.height,
            "object": item.face.object,
            "label": item.face.label,
            **item.face.box._asdict(),
            "difficult": item.face.difficult,
            "source": photo.photo.source,
            "group": group,
            "blur": item.blur,
            "crop": item.crop,
            "short_side": item.face.box.short_side,
        }
        for photo, group in zip(surveyed, groups, strict=True)
        for item in photo.faces
    ]
    return pd.DataFrame(rows)


def find_contradictions(surveyed: Sequence[SurveyedPhoto]) -> list[Finding]:
    """Notes of boxes annotated twice, as one class or two, and equal photos with other labels."""
    findings: list[Finding] = []
    twins: dict[bytes, SurveyedPhoto] = {}
    for photo in surveyed:
        labels: dict[Box, list[str]] = {}
        for item in photo.faces:
            labels.setdefault(item.face.box, []).append(item.face.label)
        name = photo.photo.name
        for box, given in labels.items():
            if len(given) > 1:
                kind = DUPLICATE if len(set(given)) == 1 else CONTRADICTION
                shown = ", ".join(f"{side:g}" for side in box)
                message = f"{name}: the box ({shown}) is there as {' and '.join(given)}; keep one."
                findings.append(Finding(name, kind, message, dropped=False))
        if photo.fingerprint is None:
            continue
        look = (photo.fingerprint.thumbnail, photo.fingerprint.colour, photo.fingerprint.packed)
        twin = twins.setdefault(b"".join(part.tobytes() for part in look), photo)
        first, second = (sorted(item.face.label for item in p.faces) for p in (twin, photo))
        if first != second:
            message = f"{name}: looks just like {twin.photo.name}, but has other labels; keep one."
            findings.append(Finding(name, CONTRADICTION, message, dropped=False))
    return findings


def _restore_faces(
    surveyed: Sequence[SurveyedPhoto], datasets: Sequence[Dataset]
) -> list[SurveyedPhoto]:
    """The photos with the faces they had before decisions, without blur scores and crops."""
    photos = [photo for dataset in datasets for photo in dataset.photos]
    restored = []
    for record, photo in zip(surveyed, photos, strict=True):
        found, _ = clip_faces(photo, record.width, record.height)  # None where it can't be read.
        faces = tuple(SurveyedFace(face, 0.0, "") for face in found)
        restored.append(replace(record, faces=faces))
    return restored


def require_faces(faces: pd.DataFrame, findings: Sequence[Finding], dropped: int = 0) -> None:
    """Refuse to go on with nothing, telling what was left out and why."""
    if faces.empty:
        reasons = [finding.message for finding in findings if finding.dropped]
        more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
        raise DatasetError(
            " ".join(["no usable face in any dataset.", *reasons[:3]]) + more
            if reasons
            else f"no face is left: decisions drop all {dropped}; check the ledger."
            if dropped
            else "no face is annotated in any dataset."
        )


def split_faces(
    faces: pd.DataFrame, options: PrepareOptions, as_read: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Add the columns `split` and `kept`.

    Where decisions were applied, the table `as_read` alone decides the split: corrections must not
    move photos between training and validation.
    """
    basis = faces if as_read is None else as_read
    groups, strata = basis["group"].to_list(), _name_strata(basis, options.folds)
    how = {name: getattr(options, name) for name in ("folds", "fold", "seed")}
    splits = split_by_group(groups, strata, **how)
    split = faces["group"].map(dict(zip(groups, splits, strict=True)))
    train = (split == TRAIN).to_numpy()
    kept = np.ones(len(faces), dtype=bool)
    kept[train] = keep_balanced(
        faces.loc[train].reset_index(drop=True), rule=options.blur_rule, ratio=options.ratio
    )
    return faces.assign(split=split, kept=kept)


def _name_strata(faces: pd.DataFrame, folds: int) -> list[str]:
    """Source, class and size of each face; without the size where that leaves too few of each."""
    classes = faces["source"] + "/" + faces["label"]
    bins = np.digitize(faces["short_side"], SPLIT_EDGES)
    sized = classes + "/" + pd.Series(bins.astype(str), index=faces.index)
    return (sized if sized.value_counts().max() >= folds else classes).to_list()


def list_duplicates(faces: pd.DataFrame) -> dict[str, list[str]]:
    """Photos of each near-duplicate group of two or more, as `source/image`, largest first."""
    photos = faces.drop_duplicates(["source", "image"])
    names = photos["source"] + "/" + photos["image"]
    groups = names.groupby(photos["group"], sort=False).agg(list)
    several = {str(group): members for group, members in groups.items() if len(members) > 1}
    return dict(sorted(several.items(), key=lambda item: -len(item[1])))


def summarise(
    datasets: Sequence[Dataset],
    faces: pd.DataFrame,
    findings: Sequence[Finding],
    options: PrepareOptions,
    decisions: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The numbers of the manifest, the audit page and the command line, as JSON can hold them.

    `counts` is keyed by `source/split/label`, `left_out` counts the files and faces that a fault
    kept out; `decisions` is there when ledgers were given.
    """
    keys = faces["source"] + "/" + faces["split"] + "/" + faces["label"]
    kept = faces[faces["kept"] & (faces["split"] == TRAIN)]
    duplicates, groups = list_duplicates(faces), faces["group"].to_list()
    naive = naive_split(len(faces), folds=options.folds, seed=options.seed)
    return {
        "options": options.to_record(),
        "datasets": [
            {"source": d.source, "root": str(d.root.resolve()), "photos": len(d.photos)}
            for d in datasets
        ],
        "photos": len(faces.drop_duplicates(["source", "image"])),
        "faces": len(faces),
        "counts": {str(key): int(n) for key, n in keys.value_counts(sort=False).items()},
        "kept_in_training": len(kept),
        "kept_per_class": {str(k): int(n) for k, n in kept["label"].value_counts().items()},
        "duplicate_groups": len(duplicates),
        "photos_in_duplicate_groups": sum(map(len, duplicates.values())),
        "leaked_share": {
            "naive": leaked_share(groups, list(naive)),
            "ours": leaked_share(groups, faces["split"].to_list()),
        },
        "findings": dict(sorted(Counter(finding.kind for finding in findings).items())),
        "left_out": sum(finding.dropped for finding in findings),
        **({} if decisions is None else {"decisions": decisions}),
    }
