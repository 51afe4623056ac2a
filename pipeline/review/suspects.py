"""The suspects folder: which faces to look at, in which order, and where their photos lie."""

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ValidationError

from data_prep.base.command import spell
from data_prep.base.errors import UserError
from data_prep.base.labels import CLASSES
from data_prep.base.progress import tell
from data_prep.base.records import Box
from data_prep.base.tables import KEY
from data_prep.decisions.ledger import Key

TABLE, ABOUT, LEDGER = "suspects.csv", "suspects.json", "decisions.jsonl"
FORMAT = 1
LEAST = 10  # Faces that a review begins with at least, however few labels are thought to be wrong.

_TEXT = ("source", "image", "label", "split", "suggested", "reasons", "similar", "crop")
_WHOLE = ("rank", "object", "width", "height")
_REAL = (*Box._fields, "score", *(f"p_{label}" for label in CLASSES))


class SuspectsError(UserError, ValueError):
    """A suspects folder that can't be used; the message names the file and what to do."""


@dataclass(frozen=True)
class Suspect:
    """One face to look at."""

    key: Key
    label: str  # The class it was given.
    split: str
    suggested: str  # The class the model thinks it is; empty when it has none.
    score: float | None  # 0 to 1, higher is more suspect.
    probabilities: Mapping[str, float] | None  # The model's opinion by class.
    reasons: str
    similar: tuple[int, ...]  # Rows of similar faces, the most similar first.
    box: Box  # As in `faces.csv`.
    size: tuple[int, int]  # Width and height of the photo, which the box refers to.
    crop: str  # Relative to the prepared folder.


class About(BaseModel):
    """What `suspects.json` holds, as far as a review needs it."""

    format: Literal[1]
    roots: dict[str, Path]  # Dataset folder of each source.
    prepared: Path | None = None
    expected_wrong: dict[str, tuple[float, float, float]] = {}
    """By class, how many labels are thought to be wrong, and the lower and upper end of that."""
    likely_errors: tuple[float, float, float] | None = None  # The same of all.


def tell_likely(errors: Sequence[float]) -> str:
    """How many labels are thought to be wrong, as of `estimate_wrong_labels`, in words.

    >>> tell_likely([39.7, 24.2, 60.0])
    'about 40 likely errors (24 to 60)'
    """
    about, low, high = (f"{number:.0f}" for number in errors)
    return f"about {tell(int(about), 'likely error')} ({low} to {high})"


class Suspects:
    """All faces of a suspects folder, the most suspect first."""

    def __init__(self, table: pd.DataFrame, about: About, digest: str) -> None:
        self.table = table
        self.about = about
        self.digest = digest  # Tells this table from any other.
        self.keys: list[Key] = list(table[[*KEY]].itertuples(index=False, name=None))
        self.rows = {key: row for row, key in enumerate(self.keys)}
        self._records = list(table.itertuples(index=False))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def likely(self) -> int:
        """How many of the most suspect faces to begin with: as many as may be wrong, or all."""
        ends = self.about.likely_errors
        return len(self) if ends is None else min(len(self), max(LEAST, math.ceil(ends[2])))

    def face(self, row: int) -> Suspect:
        """The face in a row, counted from 0."""
        record: Any = self._records[row]
        opinion = {label: getattr(record, f"p_{label}") for label in CLASSES}
        ranks = (int(rank) for rank in record.similar.split() if rank.isdecimal())
        return Suspect(
            key=self.keys[row],
            label=record.label,
            split=record.split,
            suggested=record.suggested,
            score=record.score if math.isfinite(record.score) else None,
            probabilities=opinion if all(map(math.isfinite, opinion.values())) else None,
            reasons=record.reasons,
            similar=tuple(rank - 1 for rank in ranks if 1 <= rank <= len(self)),
            box=Box(record.xmin, record.ymin, record.xmax, record.ymax),
            size=(record.width, record.height),
            crop=record.crop,
        )


def open_suspects(folder: Path) -> Suspects:
    """Open what `python -m pipeline suspects` wrote.

    Raises:
        SuspectsError: A file is missing, or holds what it can't.
    """
    try:
        about = About.model_validate_json((folder / ABOUT).read_bytes())
        data = (folder / TABLE).read_bytes()
    except OSError as error:
        raise SuspectsError(
            f"{error.filename}: can't be read ({error.strerror or error}); "
            f"make it with: {spell('suspects')}."
        ) from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = "".join(f" '{part}'" for part in fault["loc"])
        raise SuspectsError(
            f"{folder / ABOUT}:{where} {fault['msg']}; find the suspects again."
        ) from error
    table = _read_table(folder / TABLE, data)
    strangers = sorted(set(table["source"]) - set(about.roots))
    if strangers:
        raise SuspectsError(
            f"{folder / ABOUT}: no dataset folder for the source '{strangers[0]}' of {TABLE}; "
            "find the suspects again."
        )
    return Suspects(table, about, hashlib.sha256(data).hexdigest())


def _read_table(path: Path, data: bytes) -> pd.DataFrame:
    types = dict.fromkeys(_TEXT, str) | dict.fromkeys(_WHOLE, int) | dict.fromkeys(_REAL, float)
    try:
        # A photo may be called "NA": only empty fields are missing, and only of numbers.
        table = pd.read_csv(
            io.BytesIO(data),
            keep_default_na=False,
            na_values={name: [""] for name in _REAL},
            dtype=types,
            usecols=list(types),
        )
    except ValueError as error:  # Of parsing, decoding, a missing column, text for a number.
        raise SuspectsError(f"{path}: not a readable table ({error}).") from error
    if table.empty:
        raise SuspectsError(f"{path}: no faces in there; there is nothing to review.")
    wrong = [
        (table["rank"] != np.arange(1, len(table) + 1), "the ranks don't count up from 1"),
        (~table["label"].isin(CLASSES), f"the label is none of {', '.join(CLASSES)}"),
        (table.duplicated([*KEY]), "the face stands there twice"),
    ]
    for rows, fault in wrong:
        if rows.any():
            raise SuspectsError(f"{path}:{int(rows.to_numpy().argmax()) + 2}: {fault}.")
    return table
