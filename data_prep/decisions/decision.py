"""A reviewer's decision on one face, and how a line of the ledger tells it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from data_prep.base.errors import UserError
from data_prep.base.labels import CLASSES
from data_prep.base.records import Box

Action = Literal["keep", "relabel", "drop", "rebox", "skip", "undo"]
"""What a reviewer can decide on a face."""

ACTIONS: tuple[Action, ...] = get_args(Action)

Key = tuple[str, str, int]
"""Source, image and object of a face, as in `faces.csv`."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)


class LedgerError(UserError, ValueError):
    """A ledger that can't be used; the message names the file, the line and what to do."""


@dataclass(frozen=True)
class Decision:
    """What one reviewer decided on one face.

    Attributes:
        at: When, in UTC, ISO 8601 with a trailing Z; see `utc_now`.
        by: The reviewer.
        source, image, object: Key of the face.
        photo_sha256: Hex SHA-256 of the photo file's bytes.
        box: The box shown, pixels of the photo that the annotations refer to, as in `faces.csv`.
        given: The class shown; `from` in JSON.
        action: `keep`: reviewed, the class is right. `relabel`: it is `to`. `drop`: no face, or
            of no use. `rebox`: the face is in `to_box` and is `to`. `skip`: seen, undecided.
            `undo`: takes back this reviewer's latest standing decision on this face.
        to: The new class (relabel), or the class, new or not (rebox); None otherwise.
        to_box: The new box (rebox); None otherwise.
    """

    at: str
    by: str
    source: str
    image: str
    object: int
    photo_sha256: str
    box: Box
    given: str
    action: Action
    to: str | None = None
    to_box: Box | None = None

    @property
    def key(self) -> Key:
        """Key of the face."""
        return self.source, self.image, self.object

    def to_json(self) -> str:
        """The line of the ledger, without its end."""
        record = {
            "at": self.at,
            "by": self.by,
            "source": self.source,
            "image": self.image,
            "object": self.object,
            "photo_sha256": self.photo_sha256,
            "box": list(self.box),
            "from": self.given,
            "action": self.action,
            "to": self.to,
            "to_box": None if self.to_box is None else list(self.to_box),
        }
        return json.dumps(record, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Decision:
        """Read and check a line.

        Raises:
            LedgerError: It is not JSON, or a key is missing, unknown, or holds what it can't.
        """
        try:
            row = _Row.model_validate_json(line)
        except ValidationError as error:
            raise LedgerError(_explain(error)) from error
        return cls(
            row.at,
            row.by,
            row.source,
            row.image,
            row.object,
            row.photo_sha256,
            Box(*row.box),
            row.given,
            row.action,
            row.to,
            None if row.to_box is None else Box(*row.to_box),
        )


def _check_label(label: str) -> str:
    if label not in CLASSES:
        raise ValueError(f"unknown class {label!r}; known: {', '.join(CLASSES)}")
    return label


def _check_time(at: str) -> str:
    if not _TIME.fullmatch(at):
        raise ValueError("not a UTC time such as 2026-11-20T10:00:00.123Z")
    datetime.fromisoformat(at)
    return at


def _check_box(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    if not (box[0] < box[2] and box[1] < box[3]):
        raise ValueError("not a box [xmin, ymin, xmax, ymax] with xmin < xmax and ymin < ymax")
    return box


_Text = Annotated[str, Field(min_length=1)]
_Label = Annotated[str, AfterValidator(_check_label)]
_Corners = Annotated[tuple[float, float, float, float], AfterValidator(_check_box)]


class _Row(BaseModel):
    """A line as it must be."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    at: Annotated[str, AfterValidator(_check_time)]
    by: _Text
    source: _Text
    image: _Text
    object: Annotated[int, Field(ge=0)]
    photo_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    box: _Corners
    given: Annotated[_Label, Field(alias="from")]
    action: Action
    to: _Label | None
    to_box: _Corners | None

    @model_validator(mode="after")
    def _check_action(self) -> _Row:
        if (self.to is not None) != (self.action in ("relabel", "rebox")):
            rule = "a class" if self.to is None else "null"
            raise ValueError(f"'to' of '{self.action}' must be {rule}")
        if (self.to_box is not None) != (self.action == "rebox"):
            rule = "a box" if self.action == "rebox" else "null"
            raise ValueError(f"'to_box' of '{self.action}' must be {rule}")
        if self.action == "relabel" and self.to == self.given:
            raise ValueError("'to' is the class it was; a class that is right is 'keep'")
        return self


def _explain(error: ValidationError) -> str:
    """The first fault, in words."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return f"not a JSON object ({first['ctx']['error']})"
    if not first["loc"]:
        return first["msg"].removeprefix("Value error, ")
    name = first["loc"][0]
    if first["type"] == "missing":
        return f"key '{name}' is missing"
    if first["type"] == "extra_forbidden":
        return f"unknown key '{name}'"
    return f"'{name}': {first['msg'].removeprefix('Value error, ')}"
