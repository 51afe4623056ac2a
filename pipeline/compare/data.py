"""The data each system wants, from one prepared folder: other crops and labels, the same split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from data_prep.analysis import BuildOptions
from data_prep.build import build, read_manifest
from data_prep.faces import KEY, read_faces
from data_prep.split import VALID, naive_split
from pipeline.compare.systems import System
from pipeline.reporting import Say
from pipeline.runs import PreparedError, identify_data

BY_CROP = "by crop"
"""How the split of data that leaks is called in run folders."""


@dataclass(frozen=True)
class SystemData:
    """What a system is trained on.

    Attributes:
        folder: The prepared folder.
        faces: Its `faces.csv`, for systems with a split by crop with that split.
        data: Identifies it, see `identify_data`.
        roots: Folder of each source.
    """

    folder: Path
    faces: pd.DataFrame
    data: dict[str, Any]
    roots: dict[str, Path]

    @classmethod
    def open(cls, folder: Path) -> SystemData:
        """Read a prepared folder.

        Raises:
            PreparedError: It is none.
            FacesError: Its table can't be read.
        """
        data, roots = identify_data(folder)
        return cls(folder, read_faces(folder), data, roots)

    @property
    def scale(self) -> float:
        """Of the crops, as a multiple of the box."""
        return float(self.data["options"]["scale"])


def open_base(prepared: Path) -> SystemData:
    """The folder whose validation faces and labels all systems are measured by.

    Raises:
        PreparedError: It is no prepared folder, or reviewers' decisions have changed its labels:
            systems that were trained without them would be measured by other labels.
    """
    base = SystemData.open(prepared)
    manifest = read_manifest(prepared) or {}
    if manifest.get("decisions"):
        raise PreparedError(
            f"{prepared}: built with decisions; build it without, and give them to compare with "
            "--decisions: systems that learn from cleaned labels get them."
        )
    return base


def prepare_data(
    system: System, base: SystemData, out: Path, decisions: Sequence[Path], say: Say
) -> SystemData:
    """The data of a system, built if it is not there yet.

    Args:
        system: Says what it wants.
        base: From `open_base`.
        out: Gets a prepared folder for every other scale, blur rule or labels.
        decisions: Ledgers for systems that learn from cleaned labels.
        say: Gets a line when something is built.

    Raises:
        UserError: As of `data_prep.build.build`.
        PreparedError: The datasets have changed since `base` was built.
    """
    options = BuildOptions.from_record((read_manifest(base.folder) or {})["options"])
    wanted = replace(options, scale=system.scale, blur_rule=system.blur or options.blur_rule)
    ledgers = list(decisions) if system.cleaned else []
    if system.cleaned and not decisions:
        say(f"{system.name}: no --decisions, so its labels are as annotated", "note")
    data = base
    if ledgers or wanted != options:
        name = f"{wanted.blur_rule}-{wanted.scale:g}" + ("-cleaned" if ledgers else "")
        say(f"{system.name}: building {out / name}", "build", folder=out / name)
        build(list(base.roots.values()), out / name, wanted, decisions=ledgers)
        data = SystemData.open(out / name)
        _check_split(base, data)
    return _split_by_crop(data, options.seed) if system.by_crop else data


def _check_split(base: SystemData, data: SystemData) -> None:
    both = base.faces.merge(data.faces, on=list(KEY), suffixes=("", "_other"))
    if len(both) < len(data.faces) or (both["split"] != both["split_other"]).any():
        raise PreparedError(
            f"{base.folder}: the datasets have changed since it was built; build it again."
        )


def _split_by_crop(data: SystemData, seed: int) -> SystemData:
    split = naive_split(len(data.faces), seed=seed)
    return replace(data, faces=data.faces.assign(split=split), data={**data.data, "split": BY_CROP})


def valid_faces(data: SystemData, source: str) -> pd.DataFrame:
    """The validation faces of a source."""
    faces = data.faces
    return faces[(faces["split"] == VALID) & (faces["source"] == source)].reset_index(drop=True)
