"""Datasets in, a prepared folder or an audit out: `faces.csv`, crops, audit page, manifest."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from data_prep.base import files
from data_prep.base.records import Dataset
from data_prep.base.tables import write_faces
from data_prep.decisions.ledger import Ledger, read_ledger
from data_prep.formats.photo_match import find_folder
from data_prep.formats.registry import read_datasets
from data_prep.grouping.groups import read_groups
from data_prep.grouping.split import find_all_parts
from data_prep.prepare.analysis import analyse, list_duplicates
from data_prep.prepare.options import AuditOptions, BuildOptions
from data_prep.prepare.page import PAGE, render_page

FACES = "faces.csv"
AUDIT = "audit.json"
MANIFEST = "manifest.json"
WRITTEN = ("crops", FACES, PAGE, MANIFEST)
"""What a build puts into its folder, in that order; the manifest marks the whole."""

FORMAT = 3
"""Raised when the same input would give other output, so that old folders are built again."""


def build(options: BuildOptions) -> files.Outcome:
    """Prepare datasets for training.

    The prepared folder appears whole or not at all. With unchanged data and options nothing is
    done; after a kill or Ctrl-C photos are read on from where it was. Raises `UserError`: a dataset
    or a ledger can't be used, no face is left, the photos can't be split, or a folder can't be
    written, lies in a dataset, or holds other files.
    """
    out = options.out
    files.refuse_dataset_folders([out], map(find_folder, options.roots), around=True)
    files.refuse_other_files(out, MANIFEST, beside=True)
    ledgers = [read_ledger(path) for path in options.decisions]
    read = read_datasets(options.roots, options.reading)
    inputs = fingerprint_inputs(read, options, ledgers)
    old = read_manifest(out)
    if old is not None and old.get("inputs") == inputs and _is_whole(out, old):
        return files.Outcome(old, (), up_to_date=True)
    with files.OutputFolder(out, MANIFEST).stage(keep="flat") as staging:
        (staging / "flat").mkdir(exist_ok=True)
        found = analyse(read, ledgers, options, staging / "flat", key=inputs)
        faces = _sort_crops(found.faces, staging)
        page = render_page(faces, found.findings, found.summary, staging)
        manifest = {"format": FORMAT, "inputs": inputs, **found.summary}
        _swap_in(staging, out, faces, page, manifest)
    return files.Outcome(manifest, found.findings, up_to_date=False)


def fingerprint_inputs(
    datasets: Sequence[Dataset], options: BuildOptions, ledgers: Sequence[Ledger] = ()
) -> str:
    """Hash of everything the output depends on: annotations, photos, options, ledgers, format."""
    about = [(d.root.resolve(), d.findings, sorted(read_groups(d.root).items())) for d in datasets]
    hashes = [ledger.sha256 for ledger in ledgers]
    photos = (photo for dataset in datasets for photo in dataset.photos)
    kept = [find_all_parts(datasets)] if options.keep_split else []
    return files.hash_photos(photos, [FORMAT, options.to_record(), about, hashes, *kept])


def read_manifest(out: Path) -> dict[str, Any] | None:
    """The manifest of a prepared folder, or None when there is none that can be read."""
    manifest = files.read_object(out / MANIFEST)
    return manifest if manifest is not None and "inputs" in manifest else None


def _sort_crops(faces: pd.DataFrame, staging: Path) -> pd.DataFrame:
    """Move crops to `crops/<split>/<class>/`, those the blur rule drops beside the split."""
    split = faces["split"].where(faces["kept"], faces["split"] + "-dropped")
    paths = "crops/" + split + "/" + faces["label"] + "/" + faces["crop"]
    for name, path in zip(faces["crop"], paths, strict=True):
        (staging / path).parent.mkdir(parents=True, exist_ok=True)
        (staging / "flat" / name).replace(staging / path)
    return faces.assign(crop=paths)


def _swap_in(
    staging: Path, out: Path, faces: pd.DataFrame, page: str, manifest: dict[str, Any]
) -> None:
    """Write all beside the old results, then rename; the manifest last, as mark of wholeness."""
    write_faces(staging / FACES, faces)
    files.write_atomically(staging / PAGE, page)
    manifest["faces_sha256"] = files.sha256_of(staging / FACES)
    files.write_json(staging / MANIFEST, manifest)
    # Should we be killed from here on, this says that the folder is ours and not whole.
    files.write_json(out / MANIFEST, {"format": FORMAT, "inputs": None})
    if (out / "crops").exists():
        (out / "crops").replace(staging / "old")
    for name in WRITTEN:
        (staging / name).replace(out / name)


def _is_whole(out: Path, manifest: Mapping[str, Any]) -> bool:
    table = out / FACES
    if not table.is_file() or manifest.get("faces_sha256") != files.sha256_of(table):
        return False
    crops = pd.read_csv(table, usecols=["crop"], keep_default_na=False)["crop"]
    return (out / PAGE).is_file() and all((out / crop).is_file() for crop in crops)


def audit(options: AuditOptions) -> files.Outcome:
    """Look at datasets as a build would, and write `audit.html` and `audit.json`, no crops.

    Datasets too small to be split are audited all the same.
    """
    out = options.out
    files.refuse_dataset_folders([out], map(find_folder, options.roots), around=True)
    files.refuse_other_files(out, AUDIT, mark="all_findings", beside=True)
    ledgers = [read_ledger(path) for path in options.decisions]
    read = read_datasets(options.roots, options.reading)
    with files.hold_folder(out), tempfile.TemporaryDirectory(files.PART, ".crops", out) as crops:
        found = analyse(read, ledgers, options, Path(crops))
        page = render_page(found.faces, found.findings, found.summary, Path(crops))
        record = {
            **found.summary,
            "duplicates": list(list_duplicates(found.faces).values()),
            "all_findings": [asdict(finding) for finding in found.findings],
        }
        files.write_json(out / AUDIT, record)
        files.write_atomically(out / PAGE, page)
    return files.Outcome(record, found.findings, up_to_date=False)
