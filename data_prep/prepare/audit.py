"""Datasets in, a report out: what is in them and what is wrong with them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from data_prep.base.errors import DatasetError
from data_prep.base.files import write_atomically, write_json
from data_prep.base.records import Finding
from data_prep.decisions.ledger import read_ledgers
from data_prep.decisions.overlay import apply_ledgers, restore_faces
from data_prep.formats.registry import read_datasets
from data_prep.grouping.duplicates import count_found_groups
from data_prep.grouping.split import TRAIN, SplitError
from data_prep.prepare.analysis import (
    BuildOptions,
    check_output_folder,
    collect_findings,
    group_photos,
    list_duplicates,
    require_faces,
    split_faces,
    summarise,
    tabulate_faces,
)
from data_prep.prepare.page import PAGE, render_page
from data_prep.prepare.sheets import draw_sheets
from data_prep.prepare.survey import survey_photos

RECORD = "audit.json"


@dataclass(frozen=True)
class AuditResult:
    """What an audit found.

    Attributes:
        summary: What `analysis.summarise` gives.
        findings: All findings.
        known_groups: Known near-duplicate groups found whole, and how many there are; None when
            none were given.
    """

    summary: dict[str, Any]
    findings: tuple[Finding, ...]
    known_groups: tuple[int, int] | None


def audit(
    roots: Sequence[Path],
    out: Path,
    options: BuildOptions,
    *,
    decisions: Sequence[Path] = (),
    known_groups: Path | None = None,
    workers: int | None = None,
) -> AuditResult:
    """Look at datasets as a build would, and write `audit.html` and `audit.json`, no crops.

    Datasets too small to be split are audited all the same.

    Args:
        roots: Dataset folders; their names become the sources.
        out: Folder of the two files.
        options: Numbers of the build that the audit looks ahead to.
        decisions: Ledgers whose decisions are applied, as a build would.
        known_groups: Text file, a known near-duplicate group per line: photo stems.
        workers: Threads; one per core when None.

    Raises:
        DatasetError: A dataset or the file of known groups can't be used, or no face is left.
        UnknownLabelError: A class name is not known.
        LedgerError: A ledger can't be read.
        OutputError: The folder can't be written, or lies in a dataset.
    """
    check_output_folder(out, roots)
    ledgers = read_ledgers(decisions)
    read = read_datasets(roots, options.reading)
    overlay = apply_ledgers(read, ledgers)
    datasets = overlay.datasets
    photos = [photo for dataset in datasets for photo in dataset.photos]
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        crops = Path(folder)
        surveyed = survey_photos(photos, crops=crops, scale=options.scale, workers=workers)
        findings = (*collect_findings(datasets, surveyed), *overlay.findings)
        groups = group_photos(surveyed)
        faces = tabulate_faces(surveyed, groups)
        require_faces(faces, findings, overlay.record["applied"].get("drop", 0))
        try:
            as_read = tabulate_faces(restore_faces(surveyed, read), groups) if ledgers else None
            faces = split_faces(faces, options, as_read)
        except SplitError as error:
            faces = faces.assign(split=TRAIN, kept=True)
            findings = (*findings, Finding("", "no-split", str(error), dropped=False))
        sheets = draw_sheets(faces, crops)
    told = overlay.record if ledgers else None
    summary = summarise(datasets, faces, findings, options, told)
    known = None if known_groups is None else _compare_groups(faces, known_groups)
    write_atomically(out / PAGE, render_page(faces, findings, summary, sheets, known))
    record = {
        **summary,
        "known_groups": known and {"found": known[0], "total": known[1]},
        "duplicates": list(list_duplicates(faces).values()),
        "all_findings": [asdict(finding) for finding in findings],
    }
    write_json(out / RECORD, record)
    return AuditResult(summary, findings, known)


def _compare_groups(faces: pd.DataFrame, known: Path) -> tuple[int, int]:
    codes = pd.factorize(faces["group"])[0]
    stems = (PurePosixPath(image).stem for image in faces["image"])
    try:
        return count_found_groups(dict(zip(stems, codes.tolist(), strict=True)), known)
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{known}: not a readable list of groups ({error}).") from error
