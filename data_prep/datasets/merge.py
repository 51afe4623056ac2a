"""Several datasets as one, classes recoded, near-duplicates across them grouped."""

from __future__ import annotations

import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_prep.base import files
from data_prep.base.errors import DatasetError, plain, suggest
from data_prep.base.labels import ALIASES, CLASSES, UnknownLabelError, canonical_label
from data_prep.base.records import AnnotatedPhoto, Dataset, Finding
from data_prep.datasets.convert import describe_findings
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.csv import TABLE, tabulate
from data_prep.formats.exif_frame import FramedPhoto, frame_photos
from data_prep.formats.photo_match import find_folder
from data_prep.formats.registry import read_dataset
from data_prep.grouping.groups import GROUPS, look_at_photos, read_groups, write_groups

RECORD = "merge.json"
PHOTOS = "photos"
VERSION = 2
"""Raised when the same input would give other output, so that old folders are written again."""

SHOWN_GROUPS = 5


@dataclass(frozen=True)
class MergeOptions:
    """The options of `merge`."""

    recode: Annotated[Path, typer.Argument(metavar="RECODE.toml")]
    """Sources and what their classes become."""
    out: Annotated[Path, typer.Option("--out", "-o")]
    """Folder to write: new, empty, or of an earlier merge."""
    photos: files.PhotoMode = files.PhotoMode.COPY
    """Photos: copied, linked (hard links), or left out."""
    workers: Annotated[int | None, typer.Option(min=1)] = None
    """Threads; one per core if not given."""


def merge_datasets(options: MergeOptions) -> files.Outcome:
    """Write several datasets as one CSV dataset: `annotations.csv` and `photos/<source>/…`.

    Raises `UserError`: the table or a dataset can't be used, a class name is neither in the table
    nor known, or the folder can't be written, meets a dataset, or holds other files.
    """
    recode, out = options.recode, options.out
    table, roots = read_recode(recode)
    folders = [find_folder(root) for root in roots.values()]
    files.refuse_dataset_folders([out], folders)
    files.refuse_other_files(out, RECORD)
    folder = files.OutputFolder(out, RECORD)
    photos: list[AnnotatedPhoto] = []
    told: dict[str, dict[str, Any]] = {}
    findings: list[Finding] = []
    for name, root in roots.items():
        own = table.sources[name]
        how = own.model_dump(include={"format", "columns", "crop_scale"})
        own_names = recode.parent / own.names if own.names else None
        dataset = read_dataset(root, ReadOptions(classes=None, names=own_names, **how))
        findings += dataset.findings
        recoded, told[name] = recode_dataset(dataset, name, own, table.classes)
        photos += recoded
        for label in sorted(own.recode.keys() - (there := told[name]["before"]).keys()):
            said = f"{recode}: sources.{name}: recode: no face is called '{label}' there; "
            findings.append(Finding(name, "ignored-class", said + suggest(label, there)))
    known = {name: sorted(read_groups(find_folder(root)).items()) for name, root in roots.items()}
    described = table.model_dump(mode="json")
    inputs = files.hash_photos(photos, [VERSION, described, options.photos, findings, known])
    whole = folder.find_whole(inputs)
    if whole is not None:
        return files.Outcome(whole, (), up_to_date=True)
    framed, faults = frame_photos(photos)
    findings += faults
    framed = [replace(p, image=f"{PHOTOS}/{p.photo.source}/{p.photo.image}") for p in framed]
    files.refuse_dataset_folders([(out / photo.image).parent for photo in framed], folders)
    hashes, groups = look_at_photos(framed, options.workers)
    if not any(photo.faces for photo in framed):
        raise DatasetError(f"{recode}: no face is left of any source; check the recode tables.")
    with folder.stage() as staging:
        columns = [
            {"source": name, "group": group, "origin": own.origin, "licence": own.licence}
            for photo, group in zip(framed, groups, strict=True)
            for name in [photo.photo.source]
            for own in [table.sources[name]]
        ]
        files.write_atomically(staging / TABLE, tabulate(framed, columns))
        made = [TABLE]
        if any(known.values()):
            images = [photo.image for photo in framed]
            write_groups(staging / GROUPS, dict(zip(images, groups, strict=True)))
            made.append(GROUPS)
        paths = {photo.image: photo.photo.path for photo in framed}
        record = {
            "inputs": inputs,
            "table": described,
            "recode_sha256": files.sha256_of(recode),
            "sources": {
                name: _describe_source(name, root, told[name], framed)
                for name, root in roots.items()
            },
            "duplicates": _describe_duplicates(framed, groups),
            **describe_findings(findings),
            "files": {name: files.sha256_of(staging / name) for name in made},
            "photos": files.place_photos(paths, staging, options.photos),
            "photos_sha256": dict(zip(paths, hashes, strict=True)),
        }
        folder.swap_in(staging, record)
    return files.Outcome(record, tuple(findings), up_to_date=False)


def _describe_duplicates(photos: Sequence[FramedPhoto], groups: Sequence[str]) -> dict[str, Any]:
    """Near-duplicate groups that span sources, and the first few."""
    members: dict[str, list[AnnotatedPhoto]] = defaultdict(list)
    for photo, group in zip(photos, groups, strict=True):
        members[group].append(photo.photo)
    shared = (own for own in members.values() if len({photo.source for photo in own}) > 1)
    across = [[photo.name for photo in own] for own in shared]
    counts = {"groups_across_sources": len(across), "photos_in_them": sum(map(len, across))}
    return {**counts, "first_groups": across[:SHOWN_GROUPS]}


def _describe_source(
    name: str, root: Path, told: Mapping[str, Any], photos: Sequence[FramedPhoto]
) -> dict[str, Any]:
    own = [photo for photo in photos if photo.photo.source == name]
    after = Counter(face.label for photo in own for face in photo.faces)
    about = {"root": str(root.resolve()), "photos": len(own), "before": told["before"]}
    return {**about, "after": dict(sorted(after.items())), **told}


EXCLUDE_FACE, EXCLUDE_PHOTO = "exclude-face", "exclude-photo"


class SourceTable(BaseModel):
    """One dataset of a merge: a folder, or one table or JSON file, relative to the TOML file.

    `recode` gives a class, `exclude-face` or `exclude-photo` for a name as written. The rest is how
    it is read; see `ReadOptions`.
    """

    model_config = ConfigDict(extra="forbid")
    path: str
    licence: str = ""
    origin: str = ""
    recode: dict[str, str] = Field(default_factory=dict)
    format: Format | None = None
    names: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    crop_scale: float = Field(default=1.0, ge=1, le=10)


class RecodeTable(BaseModel):
    """A merge: datasets by the names they get, and the classes there are afterwards."""

    model_config = ConfigDict(extra="forbid")
    sources: dict[str, SourceTable] = Field(min_length=1)
    classes: list[str] = Field(default=list(CLASSES), min_length=1)


def read_recode(path: Path) -> tuple[RecodeTable, dict[str, Path]]:
    """Read a table, check every key, and find the folder or file of each source.

    Raises `DatasetError`: the file is not TOML, a key is unknown (the nearest known one is told), a
    value is not possible, or sources share a folder or have none.
    """
    try:
        table = RecodeTable.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except ValidationError as error:
        raise DatasetError(f"{path}: {_explain(error)}") from error
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        form = 'Such a table has, for each dataset, the lines [sources.NAME] and path = "FOLDER".'
        raise DatasetError(f"{path}: can't be read as TOML ({reason}). {form}") from error
    folders: dict[str, Path] = {}
    for name, source in table.sources.items():
        _check_source(source, name, table.classes, path)
        folders[name] = _find_source(source, name, folders, path)
    return table, folders


def recode_label(name: str, source: SourceTable, classes: Sequence[str]) -> str:
    """What a class name as written becomes: a class, `EXCLUDE_FACE` or `EXCLUDE_PHOTO`."""
    label = source.recode.get(name)
    if label is None:
        aliases = {alias: label for alias, label in ALIASES.items() if label in classes}
        try:
            label = canonical_label(name, aliases, classes)
        except UnknownLabelError as error:
            hint = suggest(name, [*source.recode, *classes, *aliases])
            why = f"{hint} Say what becomes of it in the source's table recode."
            raise UnknownLabelError(f"unknown class '{name}': {why}") from error
    return label


def _explain(error: ValidationError) -> str:
    """The first fault, unknown keys before others: they may be the cause."""
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    *place, key = map(str, faults[0]["loc"])
    if faults[0]["type"] != "extra_forbidden":
        return f"{'.'.join([*place, key])}: {plain(faults[0]['msg'])}."
    known = SourceTable.model_fields if place else RecodeTable.model_fields
    where = f"{'.'.join(place)}: " if place else ""
    return f"{where}unknown key '{key}': {suggest(key, known)}"


def _check_source(source: SourceTable, name: str, classes: Sequence[str], path: Path) -> None:
    where = f"{path}: sources.{name}"
    if not re.fullmatch(r"\w[\w.-]*", name):
        hint = "use letters, digits, '-', '_', '.'."
        raise DatasetError(f"{path}: source '{name}': becomes a folder; {hint}")
    known = [*classes, EXCLUDE_FACE, EXCLUDE_PHOTO]
    for written, label in source.recode.items():
        if label not in known:
            raise DatasetError(
                f"{where}.recode: '{written}' = '{label}': no such class; "
                f"{suggest(label, known, 'use {}.')} Other classes are declared with "
                "classes = [...] at the top."
            )


def _find_source(source: SourceTable, name: str, others: Mapping[str, Path], path: Path) -> Path:
    root = path.parent / source.path
    try:
        there = root.exists()
    except OSError:  # A name longer than there can be.
        there = False
    if not there:
        raise DatasetError(f"{path}: sources.{name}.path: {root}: no such folder.")
    one = find_folder(root).resolve()
    for other, known in others.items():
        two = find_folder(known).resolve()
        if one.is_relative_to(two) or two.is_relative_to(one):
            raise DatasetError(
                f"{path}: sources {other} and {name} are the same folder or lie in one another "
                f"({two}, {one}): each face would count twice."
            )
    return root


def recode_dataset(
    dataset: Dataset, name: str, source: SourceTable, classes: Sequence[str]
) -> tuple[list[AnnotatedPhoto], dict[str, Any]]:
    """Recode a dataset that was read with its names as written: photos that stay, and a record.

    `emptied_photos` stay without any of their faces: to a detector these would be background.
    """
    resolved: dict[str, str] = {}
    photos: list[AnnotatedPhoto] = []
    excluded_faces = excluded_photos = emptied = 0
    for photo in dataset.photos:
        for face in photo.faces:
            if face.label not in resolved:
                try:
                    resolved[face.label] = recode_label(face.label, source, classes)
                except UnknownLabelError as error:
                    why = f"{photo.root / photo.annotation}: object {face.object}: {error}"
                    raise UnknownLabelError(f"sources.{name}: {why}") from error
        labels = [resolved[face.label] for face in photo.faces]
        if EXCLUDE_PHOTO in labels:
            excluded_photos += 1
            excluded_faces += len(labels)
            continue
        pairs = zip(photo.faces, labels, strict=True)
        faces = tuple(replace(f, label=label) for f, label in pairs if label != EXCLUDE_FACE)
        excluded_faces += len(labels) - len(faces)
        emptied += bool(labels) and not faces
        photos.append(replace(photo, source=name, faces=faces))
    before = Counter(face.label for photo in dataset.photos for face in photo.faces)
    return photos, {
        "before": dict(sorted(before.items())),
        "recoded": dict(sorted(resolved.items())),
        "excluded_faces": excluded_faces,
        "excluded_photos": excluded_photos,
        "emptied_photos": emptied,
    }
