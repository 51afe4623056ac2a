"""Several datasets as one, classes recoded, near-duplicates across them grouped."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from data_prep.base.errors import DatasetError
from data_prep.base.files import (
    Outcome,
    OutputFolder,
    PhotoMode,
    hash_photos,
    place_photos,
    refuse_dataset_folders,
    refuse_other_files,
    sha256_of,
    write_atomically,
)
from data_prep.base.records import AnnotatedPhoto, Finding
from data_prep.datasets.convert import describe_findings
from data_prep.datasets.recode import RecodeTable, read_recode, recode_dataset
from data_prep.formats.csv import TABLE, tabulate
from data_prep.formats.exif_frame import FramedPhoto, frame_photos
from data_prep.formats.photo_match import find_folder
from data_prep.formats.registry import read_dataset
from data_prep.grouping.groups import (
    GROUPS,
    group_photos,
    look_at_photos,
    read_groups,
    write_groups,
)

RECORD = "merge.json"
PHOTOS = "photos"
VERSION = 1
"""Raised when the same input would give other output, so that old folders are written again."""

SHOWN_GROUPS = 5


@dataclass(frozen=True)
class MergeOptions:
    """The options of `merge`."""

    recode: Annotated[
        Path, typer.Argument(metavar="RECODE.toml", help="Sources and what their classes become.")
    ]
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder to write: new, empty, or of an earlier merge."),
    ]
    photos: Annotated[
        PhotoMode, typer.Option(help="Photos: copied, linked (hard links), or left out.")
    ] = PhotoMode.COPY
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads; one per core if not given.")
    ] = None


def merge_datasets(options: MergeOptions) -> Outcome:
    """Write several datasets as one CSV dataset: `annotations.csv` and `photos/<source>/…`.

    Raises:
        UserError: The table or a dataset can't be used, a class name is neither in the table nor
            known, or the folder can't be written, meets a dataset, or holds other files.
    """
    recode, out = options.recode, options.out
    table, roots = read_recode(recode)
    folders = [find_folder(root) for root in roots.values()]
    refuse_dataset_folders([out], folders)
    refuse_other_files(out, RECORD)
    folder = OutputFolder(out, RECORD)
    photos: list[AnnotatedPhoto] = []
    told: dict[str, dict[str, Any]] = {}
    findings: list[Finding] = []
    for name, root in roots.items():
        dataset = read_dataset(root, table.sources[name].make_options(recode.parent))
        findings += dataset.findings
        recoded, told[name] = recode_dataset(dataset, name, table.sources[name], table.classes)
        photos += recoded
    known = {name: sorted(read_groups(find_folder(root)).items()) for name, root in roots.items()}
    described = table.model_dump(mode="json")
    inputs = hash_photos(photos, [VERSION, described, options.photos, findings, known])
    whole = folder.find_whole(inputs)
    if whole is not None:
        return Outcome(whole, (), up_to_date=True)
    framed, faults = frame_photos(photos)
    findings += faults
    framed = [
        replace(photo, image=f"{PHOTOS}/{photo.photo.source}/{photo.photo.image}")
        for photo in framed
    ]
    refuse_dataset_folders([(out / photo.image).parent for photo in framed], folders)
    hashes, fingerprints = look_at_photos(framed, options.workers)
    groups = group_photos([photo.photo for photo in framed], fingerprints, hashes)
    kept = _choose(framed, hashes, table)
    merged = [framed[index] for index in kept]
    if not any(photo.faces for photo in merged):
        raise DatasetError(f"{recode}: no face is left of any source; check the recode tables.")
    with folder.stage() as staging:
        columns = [
            {"source": name, "group": groups[index], "origin": own.origin, "licence": own.licence}
            for index in kept
            for name in [framed[index].photo.source]
            for own in [table.sources[name]]
        ]
        write_atomically(staging / TABLE, tabulate(merged, columns))
        files = [TABLE]
        if any(known.values()):
            write_groups(staging / GROUPS, {framed[index].image: groups[index] for index in kept})
            files.append(GROUPS)
        paths = {photo.image: photo.photo.path for photo in merged}
        record = {
            "inputs": inputs,
            "table": described,
            "recode_sha256": sha256_of(recode),
            "sources": {
                name: _describe_source(name, root, told[name], framed, merged)
                for name, root in roots.items()
            },
            "duplicates": _describe_duplicates(framed, hashes, groups),
            **describe_findings(findings),
            "files": {name: sha256_of(staging / name) for name in files},
            "photos": place_photos(paths, staging, options.photos),
            "photos_sha256": {framed[index].image: hashes[index] for index in kept},
        }
        folder.swap_in(staging, record)
    return Outcome(record, tuple(findings), up_to_date=False)


def _choose(photos: Sequence[FramedPhoto], hashes: Sequence[str], table: RecodeTable) -> list[int]:
    """Indices of photos to keep: all, or not what an earlier source holds byte for byte."""
    if table.exact_duplicates == "keep":
        return list(range(len(photos)))
    owners: dict[str, str] = {}
    return [
        index
        for index, (photo, sha) in enumerate(zip(photos, hashes, strict=True))
        if not sha or owners.setdefault(sha, photo.photo.source) == photo.photo.source
    ]


def _describe_duplicates(
    photos: Sequence[FramedPhoto], hashes: Sequence[str], groups: Sequence[str]
) -> dict[str, Any]:
    """Groups that span sources and identical files in several sources, and the first few."""

    def span(keys: Sequence[str]) -> list[list[str]]:
        members: dict[str, list[str]] = {}
        for photo, key in zip(photos, keys, strict=True):
            if key:
                members.setdefault(key, []).append(photo.photo.name)
        return [m for m in members.values() if len({name.split("/")[0] for name in m}) > 1]

    across, identical = span(groups), span(hashes)
    return {
        "groups_across_sources": len(across),
        "photos_in_them": sum(map(len, across)),
        "first_groups": across[:SHOWN_GROUPS],
        "identical_across_sources": len(identical),
        "first_identical": identical[:SHOWN_GROUPS],
    }


def _describe_source(
    name: str,
    root: Path,
    told: Mapping[str, Any],
    there: Sequence[FramedPhoto],
    kept: Sequence[FramedPhoto],
) -> dict[str, Any]:
    own = [photo for photo in kept if photo.photo.source == name]
    after = Counter(face.label for photo in own for face in photo.faces)
    return {
        "root": str(root.resolve()),
        "photos": len(own),
        "before": told["before"],
        "after": dict(sorted(after.items())),
        **told,
        "identical_photos_left_out": sum(p.photo.source == name for p in there) - len(own),
    }
