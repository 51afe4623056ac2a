"""Trials: trainings that are done once and gone on with if stopped, several at a time.

A training by a run folder is found again by its recipe, data and start; a short one by the
fingerprint of its answers' file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.base.files import make_folder
from data_prep.base.progress import show_progress
from data_prep.base.tables import KEY, read_faces
from data_prep.grouping.split import TRAIN, VALID
from data_prep.prepare.build import build, read_manifest
from data_prep.prepare.options import BuildOptions
from pipeline.experiments.plans import ExperimentError
from pipeline.inference.sources import PhotoSet
from pipeline.nets.learnt import KnownPhotos
from pipeline.runs.folder import (
    PreparedError,
    Recipe,
    Run,
    find_run,
    identify_data,
    is_finished,
    start_run,
)
from pipeline.runs.log import Log
from pipeline.training.short import PreparedFaces


@dataclass(frozen=True)
class PreparedData(PreparedFaces):
    """All faces of a prepared folder, their crops relative to it."""

    @classmethod
    def open(cls, folder: Path, *outs: Path, annotated: bool = False) -> PreparedData:
        """Read a prepared folder, refusing changed labels when `annotated`.

        Raises `PreparedError`: it is none, or reviewers' decisions have changed its labels: what
        learnt from others would be measured by them; `TableError`: its table can't be read.
        """
        data, roots = identify_data(folder, *outs)
        if annotated and (read_manifest(folder) or {}).get("decisions"):
            raise PreparedError(
                f"{folder}: built with decisions, which would measure by other labels than the "
                "annotated ones; build it without."
            )
        return cls(folder, read_faces(folder), float(data["options"]["scale"]), data, roots)

    @property
    def built(self) -> BuildOptions:
        """How it was built."""
        record = (read_manifest(self.folder) or {})["options"]
        return BuildOptions.from_record(record, roots=list(self.roots.values()))

    def rebuild(
        self, folder: Path, same: Sequence[str], *, fewer: bool = False, **changes: Any
    ) -> PreparedData:
        """Its datasets in another folder, some options changed; built if they aren't there yet.

        Every face must have its columns `same` in both; there may be `fewer` faces. Raises
        `PreparedError`: the datasets have changed since this was built.
        """
        build(replace(self.built, out=folder, **changes))
        data = PreparedData.open(folder)
        own, known = (
            set(one.table[[*KEY, *same]].itertuples(index=False, name=None)) for one in (data, self)
        )
        if own - known or (known - own and not fewer):
            raise PreparedError(
                f"{self.folder}: the datasets have changed since it was built; build it again."
            )
        return data

    @property
    def valid(self) -> dict[str, pd.DataFrame]:
        """The validation faces of each source that has any, sorted by their keys."""
        faces = self.table[self.table["split"] == VALID].sort_values(list(KEY))
        return {str(name): rows.reset_index(drop=True) for name, rows in faces.groupby("source")}

    def hold_out(self, known: KnownPhotos) -> PreparedData:
        """The same with the photos that nets did not learn from as its validation split."""
        images = self.table.groupby("source")["image"].unique()
        photos = (PhotoSet(self.roots[str(name)], tuple(some)) for name, some in images.items())
        seen = [
            (source, frame.name)
            for source, frames in zip(images.index, photos, strict=True)
            for frame in show_progress(frames, len(frames), f"{source}: photos looked up")
            if known.tell(frame.fingerprint)
        ]
        is_seen = pd.MultiIndex.from_frame(self.table[["source", "image"]]).isin(seen)
        return replace(self, table=self.table.assign(split=np.where(is_seen, TRAIN, VALID)))

    def list_valid(self, source: str) -> PhotoSet:
        """The validation photos of a source."""
        return PhotoSet(self.roots[source], tuple(sorted(set(self.valid[source]["image"]))))


def name_photos(faces: pd.DataFrame) -> pd.Series:
    """(N,) source/image of each face."""
    return faces["source"] + "/" + faces["image"]


def check_scales(before: PreparedFaces, after: PreparedFaces) -> None:
    """Refuse, by `ExperimentError`, crops of one that aren't cut like those of the other."""
    if before.scale != after.scale:
        raise ExperimentError(
            f"{after.folder}: crops at {after.scale} times the box, those of {before.folder} at "
            f"{before.scale} times: build both with the same --scale."
        )


def train_once(
    runs: Path,
    recipe: Recipe,
    data: dict[str, Any],
    train: Callable[[Run], object],
    *,
    start: Path | None = None,
    log: Log,
) -> Run:
    """The run folder of a recipe on some data, where `train` does what is left of the training.

    A detector's begins with the weights `start`.
    """
    make_folder(runs)
    run = find_run(runs, recipe, data, start=start) or start_run(runs, recipe, data, start=start)
    done = is_finished(run.folder)
    log(f"{'trained before' if done else 'run folder'}: {run.folder}", "run", folder=run.folder)
    if not done:
        train(run)
    return run
