"""The table of a merge: which datasets, and what their classes become."""

import re
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_prep.base.errors import UserError, suggest
from data_prep.base.labels import ALIASES, CLASSES, RARE_CLASS, UnknownLabelError, canonical_label
from data_prep.base.records import AnnotatedPhoto, Dataset
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.photo_match import find_folder

EXCLUDE_FACE, EXCLUDE_PHOTO = "exclude-face", "exclude-photo"


class RecodeError(UserError, ValueError):
    """A table that can't be used; the message names the file, the key and what would do."""


class SourceTable(BaseModel):
    """One dataset of a merge: a folder, or one table or JSON file, relative to the TOML file.

    `incorrect` tells what becomes of masks worn wrongly: a class of their own, `without_mask` as
    systems of two classes have it, or left out as faces. `recode` gives a class, `exclude-face` or
    `exclude-photo` for a name as written. The rest is how it is read; see `ReadOptions`.
    """

    model_config = ConfigDict(extra="forbid")
    path: str
    licence: str = ""
    origin: str = ""
    incorrect: Literal["own", "without_mask", "exclude"] = "own"
    recode: dict[str, str] = Field(default_factory=dict)
    format: Format | None = None
    names: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    crop_scale: float = Field(default=1.0, ge=1, le=10)

    def make_options(self, folder: Path) -> ReadOptions:
        """How it is read, its classes as written."""
        return ReadOptions(
            classes=None,
            format=self.format,
            names=folder / self.names if self.names else None,
            columns=self.columns,
            crop_scale=self.crop_scale,
        )


class RecodeTable(BaseModel):
    """A merge: datasets by the names they get, and the classes there are afterwards.

    A photo that several sources hold stays in all of them, or in the first.
    """

    model_config = ConfigDict(extra="forbid")
    sources: dict[str, SourceTable] = Field(min_length=1)
    classes: list[str] = Field(default=list(CLASSES), min_length=1)
    exact_duplicates: Literal["keep", "first"] = "keep"


def read_recode(path: Path) -> tuple[RecodeTable, dict[str, Path]]:
    """Read a table, check every key, and find the folder or file of each source.

    Raises:
        RecodeError: The file is not TOML, a key is unknown (the nearest known one is named), a
            value is not possible, or sources share a folder or have none.
    """
    try:
        table = RecodeTable.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise RecodeError(f"{path}: {_explain(error)}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RecodeError(f"{path}: can't be read as TOML ({error}).") from error
    folders: dict[str, Path] = {}
    for name, source in table.sources.items():
        _check_source(source, name, table.classes, path)
        folders[name] = _find_source(source, name, folders, path)
    return table, folders


def recode_label(name: str, source: SourceTable, classes: Collection[str]) -> str:
    """What a class name as written becomes: a class, `EXCLUDE_FACE` or `EXCLUDE_PHOTO`."""
    label = source.recode.get(name)
    if label is None:
        known = _allow(source, classes)
        aliases = {alias: label for alias, label in ALIASES.items() if label in known}
        try:
            label = canonical_label(name, aliases, known)
        except UnknownLabelError as error:
            hint = suggest(name, [*source.recode, *known, *aliases])
            raise UnknownLabelError(
                f"unknown class '{name}': {hint} Say what becomes of it in the source's table "
                "recode."
            ) from error
    if label != RARE_CLASS or source.incorrect == "own":
        return label
    return EXCLUDE_FACE if source.incorrect == "exclude" else source.incorrect


def _allow(source: SourceTable, classes: Iterable[str]) -> list[str]:
    """Classes that names may become; the policy for the rare one comes after."""
    return list(dict.fromkeys([*classes, *[RARE_CLASS] * (source.incorrect != "own")]))


def _explain(error: ValidationError) -> str:
    """The first fault, unknown keys before others: they may be the cause."""
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    *place, key = map(str, faults[0]["loc"])
    if faults[0]["type"] != "extra_forbidden":
        return f"{'.'.join([*place, key])}: {faults[0]['msg']}."
    known = SourceTable.model_fields if place else RecodeTable.model_fields
    where = f"{'.'.join(place)}: " if place else ""
    return f"{where}unknown key '{key}': {suggest(key, known)}"


def _check_source(source: SourceTable, name: str, classes: Collection[str], path: Path) -> None:
    where = f"{path}: sources.{name}"
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise RecodeError(
            f"{path}: source '{name}': becomes a folder; use letters, digits, '-', '_', '.'."
        )
    known = [*_allow(source, classes), EXCLUDE_FACE, EXCLUDE_PHOTO]
    for written, label in source.recode.items():
        if label not in known:
            raise RecodeError(
                f"{where}.recode: '{written}' = '{label}': no such class; "
                f"{suggest(label, known, 'use {}.')} Other classes are declared with "
                "classes = [...] at the top."
            )
    if source.incorrect == "without_mask" and "without_mask" not in classes:
        raise RecodeError(f"{where}.incorrect: 'without_mask' is not one of classes.")


def _find_source(source: SourceTable, name: str, others: Mapping[str, Path], path: Path) -> Path:
    root = path.parent / source.path
    if not root.exists():
        raise RecodeError(f"{path}: sources.{name}.path: {root}: no such folder.")
    one = find_folder(root).resolve()
    for other, known in others.items():
        two = find_folder(known).resolve()
        if one.is_relative_to(two) or two.is_relative_to(one):
            raise RecodeError(
                f"{path}: sources {other} and {name} are the same folder or lie in one another "
                f"({two}, {one}): each face would count twice."
            )
    return root


def recode_dataset(
    dataset: Dataset, name: str, source: SourceTable, classes: Collection[str]
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
                    raise UnknownLabelError(
                        f"sources.{name}: {photo.root / photo.annotation}: object {face.object}: "
                        f"{error}"
                    ) from error
        labels = [resolved[face.label] for face in photo.faces]
        if EXCLUDE_PHOTO in labels:
            excluded_photos += 1
            excluded_faces += len(labels)
            continue
        faces = tuple(
            replace(face, label=label)
            for face, label in zip(photo.faces, labels, strict=True)
            if label != EXCLUDE_FACE
        )
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
