"""The suspects folder: which faces to look at, in which order, and where their photos lie."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.base.errors import UserError
from data_prep.base.labels import CLASSES
from data_prep.base.records import Box
from data_prep.decisions.decision import Key

TABLE, ABOUT, LEDGER = "suspects.csv", "suspects.json", "decisions.jsonl"
FORMAT = 1

_TEXT = ("source", "image", "label", "split", "suggested", "reasons", "similar", "crop")
_WHOLE = ("rank", "object", "width", "height")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_SHARES = ("score", *(f"p_{label}" for label in CLASSES))
_COLUMNS = (*_TEXT, *_WHOLE, *_CORNERS, *_SHARES)


class SuspectsError(UserError, ValueError):
    """A suspects folder that can't be used; the message names the file and what to do."""


@dataclass(frozen=True)
class Suspect:
    """One face to look at.

    Attributes:
        key: Source, image and object.
        label: The class it was given.
        split: `train` or `valid`.
        suggested: The class the model thinks it is; empty when it has none.
        score: 0 to 1, higher is more suspect; None when there is none.
        probabilities: The model's opinion by class, in the order of `CLASSES`; None when there is
            none.
        reasons: Why it is suspected, for people.
        similar: Rows of similar faces, the most similar first.
        box: As in `faces.csv`.
        size: Width and height of the photo, which the box refers to.
        crop: File of the crop, relative to the prepared folder.
    """

    key: Key
    label: str
    split: str
    suggested: str
    score: float | None
    probabilities: Mapping[str, float] | None
    reasons: str
    similar: tuple[int, ...]
    box: Box
    size: tuple[int, int]
    crop: str


@dataclass(frozen=True)
class Suspects:
    """All faces of a suspects folder, the most suspect first.

    Attributes:
        folder: The folder.
        columns: Columns of `suspects.csv` by name, each with N values.
        roots: Dataset folder of each source.
        prepared: The prepared folder the crops lie in; None when it isn't told.
        expected_wrong: By class, how many labels are thought to be wrong, and the lower and upper
            end of that.
        digest: Tells this table from any other.
    """

    folder: Path
    columns: Mapping[str, np.ndarray]
    roots: Mapping[str, Path]
    prepared: Path | None
    expected_wrong: Mapping[str, tuple[float, float, float]]
    digest: str

    def __len__(self) -> int:
        return len(self.columns["rank"])

    @cached_property
    def rows(self) -> dict[Key, int]:
        """Row of each face by its key."""
        parts = (self.columns[name].tolist() for name in ("source", "image", "object"))
        return {key: row for row, key in enumerate(zip(*parts, strict=True))}

    def key(self, row: int) -> Key:
        """Key of the face in a row, counted from 0."""
        source, image, index = (self.columns[name][row] for name in ("source", "image", "object"))
        return str(source), str(image), int(index)

    def face(self, row: int) -> Suspect:
        """The face in a row, counted from 0."""

        def text(name: str) -> str:
            return str(self.columns[name][row])

        def number(name: str) -> float | None:
            value = float(self.columns[name][row])
            return value if np.isfinite(value) else None

        opinion = {label: number(f"p_{label}") for label in CLASSES}
        told = {label: share for label, share in opinion.items() if share is not None}
        ranks = (int(rank) for rank in text("similar").split() if rank.isdecimal())
        return Suspect(
            key=self.key(row),
            label=text("label"),
            split=text("split"),
            suggested=text("suggested"),
            score=number("score"),
            probabilities=told if len(told) == len(CLASSES) else None,
            reasons=text("reasons"),
            similar=tuple(rank - 1 for rank in ranks if 1 <= rank <= len(self)),
            box=Box(*(float(self.columns[name][row]) for name in _CORNERS)),
            size=(int(self.columns["width"][row]), int(self.columns["height"][row])),
            crop=text("crop"),
        )


def open_suspects(folder: Path) -> Suspects:
    """Open what `python -m pipeline suspects` wrote.

    Raises:
        SuspectsError: A file is missing, or holds what it can't.
    """
    about = _read_about(folder / ABOUT)
    data, table = _read_table(folder / TABLE)
    roots = {str(name): Path(root) for name, root in about["roots"].items()}
    strangers = sorted(set(table["source"].unique()) - set(roots))
    if strangers:
        raise SuspectsError(
            f"{folder / ABOUT}: no dataset folder for the source '{strangers[0]}' of {TABLE}; "
            "find the suspects again."
        )
    prepared = about.get("prepared")
    return Suspects(
        folder=folder,
        columns={name: table[name].to_numpy() for name in _COLUMNS},
        roots=roots,
        prepared=Path(prepared) if isinstance(prepared, str) else None,
        expected_wrong=_read_expected(about.get("expected_wrong")),
        digest=hashlib.sha256(data).hexdigest(),
    )


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SuspectsError(
            f"{path}: can't be read ({error}); make it with: python -m pipeline suspects."
        ) from error
    if not isinstance(about, dict) or not isinstance(about.get("roots"), dict):
        raise SuspectsError(f"{path}: doesn't name the dataset folders; find the suspects again.")
    if about.get("format") != FORMAT:
        raise SuspectsError(
            f"{path}: format {about.get('format')} is not {FORMAT}; find the suspects again."
        )
    return about


def _read_table(path: Path) -> tuple[bytes, pd.DataFrame]:
    types = {**dict.fromkeys(_TEXT, str), **dict.fromkeys(_WHOLE, int)}
    types |= dict.fromkeys((*_CORNERS, *_SHARES), float)
    try:
        data = path.read_bytes()
        # A photo may be called "NA": only empty fields are missing, and only of numbers.
        table = pd.read_csv(
            io.BytesIO(data),
            keep_default_na=False,
            na_values={number: [""] for number in (*_CORNERS, *_SHARES)},
            dtype=types,
            usecols=list(_COLUMNS),
        )
    except OSError as error:
        raise SuspectsError(
            f"{path}: can't be read ({error.strerror or error}); "
            "make it with: python -m pipeline suspects."
        ) from error
    except ValueError as error:  # Of parsing, decoding, a missing column, text for a number.
        raise SuspectsError(f"{path}: not a readable table ({error}).") from error
    if table.empty:
        raise SuspectsError(f"{path}: no faces in there; there is nothing to review.")
    wrong = [
        (table["rank"] != np.arange(1, len(table) + 1), "the ranks don't count up from 1"),
        (~table["label"].isin(CLASSES), f"the label is none of {', '.join(CLASSES)}"),
        (table.duplicated(["source", "image", "object"]), "the face stands there twice"),
    ]
    for rows, fault in wrong:
        if rows.any():
            raise SuspectsError(f"{path}:{int(rows.to_numpy().argmax()) + 2}: {fault}.")
    return data, table


def _read_expected(value: Any) -> dict[str, tuple[float, float, float]]:
    """The estimates that are there and whole; the page does without the others."""
    if not isinstance(value, dict):
        return {}
    whole = {
        label: tuple(float(number) for number in numbers)
        for label, numbers in value.items()
        if isinstance(numbers, list)
        and len(numbers) == 3
        and all(isinstance(n, int | float) and np.isfinite(n) for n in numbers)
    }
    return {label: (v[0], v[1], v[2]) for label, v in whole.items()}
