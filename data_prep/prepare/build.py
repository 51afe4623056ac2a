"""Datasets in, a prepared folder out: `faces.csv`, crops, audit page, manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from data_prep.base.files import (
    OutputError,
    output_error,
    read_object,
    sha256_of,
    write_atomically,
    write_json,
)
from data_prep.base.records import Dataset, Finding
from data_prep.base.tables import write_faces
from data_prep.decisions.ledger import LedgerFile, read_ledgers
from data_prep.decisions.overlay import apply_ledgers, restore_faces
from data_prep.decisions.write_voc import check_voc_folder, write_voc
from data_prep.formats.registry import read_datasets
from data_prep.grouping.groups import read_groups
from data_prep.prepare.analysis import (
    BuildOptions,
    check_output_folder,
    collect_findings,
    group_photos,
    require_faces,
    split_faces,
    summarise,
    tabulate_faces,
)
from data_prep.prepare.page import PAGE, render_page
from data_prep.prepare.sheets import draw_sheets
from data_prep.prepare.survey import survey_photos

FACES = "faces.csv"
MANIFEST = "manifest.json"
FORMAT = 3
"""Raised when the same input would give other output, so that old folders are built again."""


@dataclass(frozen=True)
class BuildResult:
    """What a build did.

    Attributes:
        manifest: What `manifest.json` holds.
        findings: All findings; empty when nothing was done.
        up_to_date: True when data and options were those of the last build: nothing was done.
        corrected: Annotation files, as `source/path`, that a written copy corrects; None when no
            copy was asked for.
    """

    manifest: dict[str, Any]
    findings: tuple[Finding, ...]
    up_to_date: bool
    corrected: tuple[str, ...] | None = None


def build(
    roots: Sequence[Path],
    out: Path,
    options: BuildOptions,
    *,
    decisions: Sequence[Path] = (),
    voc: Path | None = None,
    workers: int | None = None,
) -> BuildResult:
    """Prepare datasets for training.

    The prepared folder appears whole or not at all: crops are staged beside the old ones and
    swapped in at the end. With unchanged data and options nothing is done.

    Args:
        roots: Dataset folders; their names become the sources.
        out: The prepared folder.
        options: Numbers of the build.
        decisions: Ledgers whose decisions are applied; see `apply_ledgers`.
        voc: Folder that gets the annotation files with the decisions worked in; see `write_voc`.
        workers: Threads; one per core when None.

    Raises:
        DatasetError: A dataset can't be used, no face is left, or `voc` is asked for and a dataset
            has no VOC files.
        UnknownLabelError: A class name is not known.
        LedgerError: A ledger can't be read.
        SplitError: The photos can't be split so.
        OutputError: A folder can't be written, lies in a dataset, or holds files that build did
            not write.
    """
    check_output_folder(out, roots)
    ledgers = read_ledgers(decisions)
    read = read_datasets(roots, options.reading)
    inputs = fingerprint_inputs(read, options, ledgers)
    old = read_manifest(out)
    up_to_date = old is not None and old.get("inputs") == inputs and _is_whole(out, old)
    if voc is not None:
        check_voc_folder(voc, read)
    if old is not None and up_to_date and voc is None:
        return BuildResult(old, (), up_to_date=True)
    overlay = apply_ledgers(read, ledgers)
    corrected = None
    if voc is not None:
        corrected = tuple(write_voc(read, overlay.datasets, voc, aliases=options.aliases))
    if old is not None and up_to_date:
        return BuildResult(old, (), up_to_date=True, corrected=corrected)
    datasets = overlay.datasets
    if old is None:
        for name in ("crops", FACES, PAGE, MANIFEST):
            if (out / name).exists():
                raise OutputError(f"{out / name} was not written by build; choose another folder.")
    is_new = not out.exists()
    staging = out / ".staging"
    try:
        shutil.rmtree(staging, ignore_errors=True)
        (staging / "flat").mkdir(parents=True)
        photos = [photo for dataset in datasets for photo in dataset.photos]
        surveyed = survey_photos(
            photos, crops=staging / "flat", scale=options.scale, workers=workers
        )
        findings = (*collect_findings(datasets, surveyed), *overlay.findings)
        groups = group_photos(surveyed)
        faces = tabulate_faces(surveyed, groups)
        require_faces(faces, findings, overlay.record["applied"].get("drop", 0))
        as_read = tabulate_faces(restore_faces(surveyed, read), groups) if ledgers else None
        faces = split_faces(faces, options, as_read)
        sheets = draw_sheets(faces, staging / "flat")
        _sort_crops(faces, staging)
        told = overlay.record if ledgers else None
        summary = summarise(datasets, faces, findings, options, told)
        page = render_page(faces, findings, summary, sheets)
        manifest = {"format": FORMAT, "inputs": inputs, **summary}
        _swap_in(staging, out, faces, page, manifest)
    except OutputError:
        raise
    except OSError as error:
        raise output_error(out, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if is_new:
            with suppress(OSError):  # Only an empty folder goes: one that a failed build made.
                out.rmdir()
    return BuildResult(manifest, findings, up_to_date=False, corrected=corrected)


def fingerprint_inputs(
    datasets: Sequence[Dataset], options: BuildOptions, ledgers: Sequence[LedgerFile] = ()
) -> str:
    """Hash of everything the output depends on: annotations, photos, options, ledgers, format.

    Photos count by name, size and time of change: reading them all would be the work to avoid.
    """
    digest = hashlib.sha256(json.dumps([FORMAT, options.to_record()], sort_keys=True).encode())
    for dataset in datasets:
        digest.update(str(dataset.root.resolve()).encode())
        for photo in dataset.photos:
            stat = photo.path.stat()
            digest.update(f"{photo.image}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
            # What was read, not the files: one may annotate all photos, and class names add to it.
            read = (photo.annotation, photo.width, photo.height, photo.faces)
            digest.update(repr(read).encode())
        digest.update(repr(dataset.findings).encode())
        digest.update(repr(sorted(read_groups(dataset.root).items())).encode())
    for ledger in ledgers:
        digest.update(f"ledger {ledger.sha256}\n".encode())
    return digest.hexdigest()


def read_manifest(out: Path) -> dict[str, Any] | None:
    """The manifest of a prepared folder, or None when there is none that can be read."""
    manifest = read_object(out / MANIFEST)
    return manifest if manifest is not None and "inputs" in manifest else None


def _sort_crops(faces: pd.DataFrame, staging: Path) -> None:
    """Move crops to `crops/<split>/<class>/`, those the blur rule drops beside the split."""
    folders = []
    for row in faces.itertuples():
        split = row.split if row.kept else f"{row.split}-dropped"
        folders.append(PurePosixPath("crops") / str(split) / str(row.label))
    for folder in sorted(set(folders)):
        (staging / folder).mkdir(parents=True, exist_ok=True)
    paths = []
    for folder, name in zip(folders, faces["crop"], strict=True):
        (staging / "flat" / name).replace(staging / folder / name)
        paths.append(str(folder / name))
    faces["crop"] = paths


def _swap_in(
    staging: Path, out: Path, faces: pd.DataFrame, page: str, manifest: dict[str, Any]
) -> None:
    """Write everything beside the old results, then put it in their place by renaming alone.

    The manifest comes last, as the mark of wholeness.
    """
    write_faces(staging / FACES, faces)
    write_atomically(staging / PAGE, page)
    manifest["faces_sha256"] = sha256_of(staging / FACES)
    write_json(staging / MANIFEST, manifest)
    # Should we be killed from here on, this says that the folder is ours and not whole.
    write_json(out / MANIFEST, {"format": FORMAT, "inputs": None})
    if (out / "crops").exists():
        (out / "crops").replace(staging / "old")
    for name in ("crops", FACES, PAGE, MANIFEST):
        (staging / name).replace(out / name)


def _is_whole(out: Path, manifest: Mapping[str, Any]) -> bool:
    table = out / FACES
    if not table.is_file() or manifest.get("faces_sha256") != sha256_of(table):
        return False
    crops = pd.read_csv(table, usecols=["crop"], keep_default_na=False)["crop"]
    return (out / PAGE).is_file() and all((out / crop).is_file() for crop in crops)
