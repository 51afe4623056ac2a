"""What `build` and `audit` share: from surveyed photos to the table of faces and its numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.base.crop import CROP_SCALE
from data_prep.base.errors import DatasetError, UserError
from data_prep.base.files import OutputError
from data_prep.base.labels import ALIASES
from data_prep.base.records import Dataset, Finding, SurveyedPhoto
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.photo_match import find_folder
from data_prep.grouping.duplicates import group_near_duplicates
from data_prep.grouping.groups import join_groups
from data_prep.grouping.split import TRAIN, check_no_leak, leaked_share, naive_split, split_by_group
from data_prep.prepare.blur import MAJORITY_RATIO, BlurRule, keep_balanced

SPLIT_EDGES: tuple[float, ...] = (10, 16, 32, 64)
"""Short sides in pixels between the size bins that a split spreads evenly."""


class OptionError(UserError, ValueError):
    """An option whose value makes no sense; the message names it."""


@dataclass(frozen=True)
class BuildOptions:
    """Everything a build depends on besides the data.

    Attributes:
        scale: Crop side as a multiple of the longer box side, 1 to 10.
        folds, fold: The validation split is part `fold` of `folds`.
        seed: Of the split, 0 to 2³² − 1.
        blur_rule: How the majority class is thinned out; see `keep_balanced`.
        ratio: The majority keeps at most this multiple of the second class.
        aliases: Other names of classes.
        format, names, columns, crop_scale: How datasets are read; see `ReadOptions`.

    Raises:
        OptionError: A number is out of its range.
    """

    scale: float = CROP_SCALE
    folds: int = 5
    fold: int = 0
    seed: int = 0
    blur_rule: BlurRule = "binned"
    ratio: float = MAJORITY_RATIO
    aliases: Mapping[str, str] = field(default_factory=lambda: dict(ALIASES))
    format: Format | None = None
    names: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    crop_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.scale <= 10:
            raise OptionError(f"--scale {self.scale:g}: use a number from 1 to 10.")
        if self.folds < 2:
            raise OptionError(f"--folds {self.folds}: a split needs 2 or more.")
        if not 0 <= self.fold < self.folds:
            raise OptionError(f"--fold {self.fold}: use 0 to {self.folds - 1}.")
        if not 0 <= self.seed < 2**32:
            raise OptionError(f"--seed {self.seed}: use a whole number from 0 to 4294967295.")
        if not (self.ratio > 0 and math.isfinite(self.ratio)):
            raise OptionError(f"--ratio {self.ratio:g}: use a number above 0.")
        if not 1 <= self.crop_scale <= 10:
            raise OptionError(f"--crop-scale {self.crop_scale:g}: use a number from 1 to 10.")

    @property
    def reading(self) -> ReadOptions:
        """The part that readers of datasets need."""
        return ReadOptions(
            aliases=self.aliases,
            format=self.format,
            names=self.names,
            columns=self.columns,
            crop_scale=self.crop_scale,
        )

    def to_record(self) -> dict[str, Any]:
        """All options, as JSON can hold them."""
        return {**asdict(self), "names": None if self.names is None else str(self.names)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> BuildOptions:
        """The options of a manifest; those it does not know are as they are by default.

        Raises:
            OptionError: A number is out of its range.
        """
        known = {key.name: record[key.name] for key in fields(cls) if key.name in record}
        names = known.get("names")
        return cls(**{**known, "names": None if names is None else Path(names)})


def check_output_folder(out: Path, roots: Sequence[Path]) -> None:
    """Refuse to write into a dataset: results would be read as photos the next time.

    Raises:
        OutputError: The folder is a dataset or lies below one.
    """
    for root in roots:
        if out.resolve().is_relative_to(find_folder(root).resolve()):
            raise OutputError(
                f"{out}: lies in the dataset {root}, where nothing is ever written; "
                "choose another folder with -o."
            )


def group_photos(surveyed: Sequence[SurveyedPhoto]) -> list[str]:
    """The group of each photo, called after its first; "" of unreadable ones.

    A group holds near-duplicates, and what datasets say belongs together (see `known_groups`).

    Raises:
        DatasetError: A `groups.csv` can't be used.
    """
    readable = [photo for photo in surveyed if photo.fingerprint is not None]
    found = group_near_duplicates([p.fingerprint for p in readable if p.fingerprint is not None])
    names = (f"{readable[i].photo.source}/{readable[i].photo.image}" for i in found)
    groups = [next(names) if photo.fingerprint is not None else "" for photo in surveyed]
    return join_groups([photo.photo for photo in surveyed], groups)


def tabulate_faces(
    surveyed: Sequence[SurveyedPhoto], groups: Sequence[str] | None = None
) -> pd.DataFrame:
    """One row per face with its near-duplicate group; `short_side` is an extra column.

    Args:
        surveyed: The photos.
        groups: What `group_photos` gave for them; looked for when None.
    """
    rows = []
    for photo, group in zip(
        surveyed, group_photos(surveyed) if groups is None else groups, strict=True
    ):
        for item in photo.faces:
            rows.append(
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
            )
    return pd.DataFrame(rows)


def require_faces(faces: pd.DataFrame, findings: Sequence[Finding], dropped: int = 0) -> None:
    """Refuse to go on with nothing.

    Args:
        faces: The table.
        findings: All of them.
        dropped: Faces that decisions dropped.

    Raises:
        DatasetError: There is no face; the message tells what was left out and why.
    """
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
    faces: pd.DataFrame, options: BuildOptions, as_read: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Add the columns `split` and `kept`.

    Args:
        faces: The table.
        options: Numbers of the build.
        as_read: The table before decisions were applied, when some were. It alone decides the
            split: corrections must not move photos between training and validation.

    Raises:
        SplitError: The photos can't be split so.
    """
    faces = faces.copy()
    basis = faces if as_read is None else as_read
    groups = basis["group"].to_list()
    splits = split_by_group(
        groups,
        _name_strata(basis, options.folds),
        folds=options.folds,
        fold=options.fold,
        seed=options.seed,
    )
    faces["split"] = faces["group"].map(dict(zip(groups, splits, strict=True)))
    check_no_leak(groups, list(splits))
    train = (faces["split"] == TRAIN).to_numpy()
    kept = np.ones(len(faces), dtype=bool)
    kept[train] = keep_balanced(
        faces.loc[train].reset_index(drop=True), rule=options.blur_rule, ratio=options.ratio
    )
    faces["kept"] = kept
    return faces


def _name_strata(faces: pd.DataFrame, folds: int) -> list[str]:
    """Source, class and size of each face; without the size where that leaves too few of each."""
    classes = faces["source"] + "/" + faces["label"]
    bins = np.digitize(faces["short_side"], SPLIT_EDGES)
    sized = classes + "/" + pd.Series(bins.astype(str), index=faces.index)
    return (sized if sized.value_counts().max() >= folds else classes).to_list()


def collect_findings(
    datasets: Sequence[Dataset], surveyed: Sequence[SurveyedPhoto]
) -> tuple[Finding, ...]:
    """All findings, those of the files first."""
    from_files = [finding for dataset in datasets for finding in dataset.findings]
    from_photos = [finding for photo in surveyed for finding in photo.findings]
    return tuple(from_files + from_photos)


def list_duplicates(faces: pd.DataFrame) -> dict[str, list[str]]:
    """Photos of each near-duplicate group of two or more, as `source/image`, largest first."""
    photos = faces.drop_duplicates(["source", "image"])
    shared = photos[photos.duplicated("group", keep=False)]
    groups: dict[str, list[str]] = {}
    for source, image, group in zip(
        shared["source"], shared["image"], shared["group"], strict=True
    ):
        groups.setdefault(group, []).append(f"{source}/{image}")
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def count_leaks(faces: pd.DataFrame, options: BuildOptions) -> dict[str, float]:
    """Leaked share of validation faces under a naive split by crop, and under ours."""
    groups = faces["group"].to_list()
    naive = naive_split(len(faces), folds=options.folds, seed=options.seed)
    return {
        "naive": leaked_share(groups, naive.tolist()),
        "ours": leaked_share(groups, faces["split"].to_list()),
    }


def summarise(
    datasets: Sequence[Dataset],
    faces: pd.DataFrame,
    findings: Sequence[Finding],
    options: BuildOptions,
    decisions: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The numbers that the manifest, the audit page and the command line tell.

    Args:
        datasets: What was read.
        faces: The table after `split_faces`.
        findings: All of them.
        options: Numbers of the build.
        decisions: The record of the decisions applied, when ledgers were given.

    Returns:
        A record that JSON can hold; `counts` is keyed by `source/split/label`, `left_out` counts
        the files and faces that a fault kept out; `decisions` is there when ledgers were given.
    """
    keys = faces["source"] + "/" + faces["split"] + "/" + faces["label"]
    kept = faces[faces["kept"] & (faces["split"] == TRAIN)]
    duplicates = list_duplicates(faces)
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
        "leaked_share": count_leaks(faces, options),
        "findings": dict(sorted(Counter(finding.kind for finding in findings).items())),
        "left_out": sum(finding.dropped for finding in findings),
        **({} if decisions is None else {"decisions": decisions}),
    }
