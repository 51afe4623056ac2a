"""Datasets in, a report out: what is in them and what is wrong with them."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path, PurePosixPath

import pandas as pd

from data_prep.base.errors import DatasetError
from data_prep.base.files import Outcome, refuse_dataset_folders, write_atomically, write_json
from data_prep.decisions.ledger import read_ledger
from data_prep.decisions.overlay import apply_ledgers
from data_prep.formats.photo_match import find_folder
from data_prep.formats.registry import read_datasets
from data_prep.grouping.duplicates import count_found_groups
from data_prep.prepare.analysis import analyse, list_duplicates
from data_prep.prepare.options import AuditOptions
from data_prep.prepare.page import PAGE, render_page

RECORD = "audit.json"


def audit(options: AuditOptions) -> Outcome:
    """Look at datasets as a build would, and write `audit.html` and `audit.json`, no crops.

    Datasets too small to be split are audited all the same.
    """
    out = options.out
    refuse_dataset_folders([out], map(find_folder, options.roots), around=True)
    ledgers = [read_ledger(path) for path in options.decisions]
    read = read_datasets(options.roots, options.reading)
    overlay = apply_ledgers(read, ledgers)
    with tempfile.TemporaryDirectory(prefix="audit-") as crops:
        found = analyse(read, ledgers, overlay, options, Path(crops), must_split=False)
    known = None
    if options.known_groups is not None:
        known = _compare_groups(found.faces, options.known_groups)
    page = render_page(found.faces, found.findings, found.summary, found.sheets, known)
    write_atomically(out / PAGE, page)
    record = {
        **found.summary,
        "known_groups": known and {"found": known[0], "total": known[1]},
        "duplicates": list(list_duplicates(found.faces).values()),
        "all_findings": [asdict(finding) for finding in found.findings],
    }
    write_json(out / RECORD, record)
    return Outcome(record, found.findings, up_to_date=False)


def _compare_groups(faces: pd.DataFrame, known: Path) -> tuple[int, int]:
    codes = pd.factorize(faces["group"])[0]
    stems = (PurePosixPath(image).stem for image in faces["image"])
    try:
        return count_found_groups(dict(zip(stems, codes.tolist(), strict=True)), known)
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{known}: not a readable list of groups ({error}).") from error
