"""The folds of a prepared folder: the same faces, each time with other photos held out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.analysis import BuildOptions
from data_prep.build import build, read_manifest
from data_prep.faces import KEY, read_faces
from pipeline.reporting import Say
from pipeline.runs import PreparedError, identify_data


@dataclass(frozen=True)
class Fold:
    """One of the folds.

    Attributes:
        number: From 0.
        folder: Gets all that is made of it.
    """

    number: int
    folder: Path

    @property
    def prepared(self) -> Path:
        """The prepared folder in which its photos are the validation split."""
        return self.folder / "prepared"

    @property
    def runs(self) -> Path:
        """Holds the run folders."""
        return self.folder / "runs"


def make_folds(prepared: Path, out: Path, say: Say) -> list[Fold]:
    """Build the folds that are not there yet.

    Args:
        prepared: Gives the datasets and how they are read, split and cropped; its own fold is one
            of them.
        out: Gets a folder per fold.
        say: Gets a line per fold that is built.

    Returns:
        The folds. Every photo is held out in one of them.

    Raises:
        PreparedError: It is no prepared folder, reviewers' decisions have changed its labels, or
            its datasets have changed since it was built.
        UserError: As of `data_prep.build.build`.
    """
    _, roots = identify_data(prepared)
    manifest = read_manifest(prepared) or {}
    if manifest.get("decisions"):
        raise PreparedError(
            f"{prepared}: built with decisions, which would measure by other labels than the "
            "annotated ones; build it without."
        )
    options = BuildOptions.from_record(manifest["options"])
    known = _identify_faces(prepared)
    folds = [Fold(number, out / f"fold-{number}") for number in range(options.folds)]
    for fold in folds:
        say(f"fold {fold.number} of {options.folds}: {fold.prepared}", "fold", fold=fold.number)
        build(list(roots.values()), fold.prepared, replace(options, fold=fold.number))
        if _identify_faces(fold.prepared) != known:
            raise PreparedError(
                f"{prepared}: the datasets have changed since it was built; build it again."
            )
    return folds


def _identify_faces(prepared: Path) -> set[tuple[object, ...]]:
    """Which faces there are, with labels and boxes."""
    columns = [*KEY, "label", "xmin", "ymin", "xmax", "ymax"]
    return set(read_faces(prepared)[columns].itertuples(index=False, name=None))
