"""The ledger: reviewers' decisions on labels, one JSON object a line, only ever added to."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from itertools import accumulate, chain
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from filelock import FileLock, lock_descriptor
from pydantic import AfterValidator, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError

from data_prep.base.errors import UserError, plain
from data_prep.base.files import writing
from data_prep.base.labels import CLASSES
from data_prep.base.records import Box

Action = Literal["keep", "relabel", "drop", "rebox", "skip", "undo"]
"""What a reviewer can decide on a face."""

Key = tuple[str, str, int]  # Source, image and object of a face, as in `faces.csv`.

# Ends a line that a crash left half-written: ASCII's CANCEL, which JSON can't hold raw.
TORN = b"\x18"

BOM = b"\xef\xbb\xbf"  # What some editors put in front of UTF-8; it counts as nothing.

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)


class LedgerError(UserError, ValueError):
    """A ledger that can't be used; the message names the file, the line and what to do."""


def _check_time(at: str) -> str:
    if not _TIME.fullmatch(at):
        raise ValueError("not a UTC time such as 2026-11-20T10:00:00.123Z")
    datetime.fromisoformat(at)
    return at


def _read_box(value: Any) -> Box:
    numbers = value if isinstance(value, (list, tuple)) else ()
    if len(numbers) == 4 and {*map(type, numbers)} <= {int, float}:
        box = Box(*numbers)
        # Whole numbers may be too long for floats; NaN is under nothing.
        if box.short_side > 0 and all(abs(number) < 1e300 for number in box):
            return Box(*map(float, box))
    raise ValueError("not a box [xmin, ymin, xmax, ymax] with xmin < xmax and ymin < ymax")


_Text = Annotated[str, Field(min_length=1)]
_Label = Annotated[str, Field(pattern=f"^({'|'.join(CLASSES)})$")]
_Corners = Annotated[Box, PlainValidator(_read_box)]


@dataclass(frozen=True)
class Decision:
    """What one reviewer decided on one face; a line is held to these types when it is read.

    `given` is the class shown (`from` in JSON), `box` the box shown, in pixels of the photo as in
    `faces.csv`; `at` is in UTC, ISO 8601 with a trailing Z. The actions: `keep`: the class is
    right. `relabel`: it is `to`. `drop`: no face, or of no use. `rebox`: the face is in `to_box`
    and is `to`, new or not. `skip`: seen, undecided. `undo`: takes back this reviewer's latest
    standing decision on this face.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

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

    @property
    def key(self) -> Key:
        """Key of the face."""
        return self.source, self.image, self.object

    def to_json(self) -> str:
        """The line of the ledger, without its end."""
        return json.dumps(_LINE.dump_python(self, by_alias=True), ensure_ascii=False)

    @staticmethod
    def from_json(line: str | bytes) -> Decision:
        """Read a line; a `LedgerError` if it is no JSON, or a key is missing, unknown or wrong."""
        try:
            return _LINE.validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = "'" + ".".join(map(str, first["loc"])) + "': " if first["loc"] else ""
            raise LedgerError(where + plain(first["msg"])) from error


def _check_action(decision: Decision) -> Decision:
    action, to = decision.action, decision.to
    for name, value, what, needed in (
        ("to", to, "a class", action in ("relabel", "rebox")),
        ("to_box", decision.to_box, "a box", action == "rebox"),
    ):
        if (value is not None) != needed:
            raise ValueError(f"'{name}' of '{action}' must be {what if needed else 'null'}")
    if action == "relabel" and to == decision.given:
        raise ValueError("'to' is the class it was; a class that is right is 'keep'")
    return decision


_LINE: TypeAdapter[Decision] = TypeAdapter(Annotated[Decision, AfterValidator(_check_action)])


@dataclass(frozen=True)
class Ledger:
    """The decisions of a ledger in the order of its lines, and what was passed over.

    The path and the hex SHA-256 of the file's bytes are empty of what was not read from one.
    """

    decisions: tuple[Decision, ...]
    warnings: tuple[str, ...]
    path: Path = Path()
    sha256: str = ""


def utc_now() -> str:
    """The time, as a ledger tells it: UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def append_decision(path: Path, decision: Decision) -> None:
    """Add a decision to a ledger; it is on the disk when this returns.

    The line goes out in one write under a lock, so that several processes can share a ledger; a
    kill leaves half a last line at worst, which is then marked as torn. The file is made if absent.
    Raises `LedgerError`, and writes nothing: it could not be read again; `OutputError`.
    """
    # What can't be UTF-8 is told by reading it back.
    line = decision.to_json().encode(errors="surrogatepass")
    Decision.from_json(line)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        # Closing the file gives the lock back, and so does a kill.
        with path.open("a+b", buffering=0) as file:
            lock_descriptor(file.fileno(), poll_interval=0.002)
            data = _close_last_line(file) + line + b"\n"
            written = os.write(file.fileno(), data)
            if written != len(data):
                raise OSError(f"only {written} of {len(data)} bytes could be written")
            os.fsync(file.fileno())
        if is_new and os.name != "nt":  # Or its name could be lost in a power cut.
            handle = os.open(path.parent, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)


def _close_last_line(file: FileIO) -> bytes:
    """What must come before a new line: nothing, a missing line end, or the mark of a torn line."""
    file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
    if file.read(1) in (b"", b"\n"):
        return b""
    file.seek(0)
    tail = file.readall().removeprefix(BOM).rpartition(b"\n")[2]
    try:
        Decision.from_json(tail)
    except LedgerError:
        return TORN + b"\n"
    return b"\n"


def hold_ledger(path: Path) -> AbstractContextManager[Any]:
    """Keep other reviews of a ledger out, of other processes too; a kill gives it back."""
    lock = FileLock(path.with_name(f".{path.name}.lock"), poll_interval=0.002)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        return lock.acquire()


class Place(NamedTuple):
    """How far a ledger was read."""

    bytes: int = 0
    lines: int = 0


def read_ledger(path: Path) -> Ledger:
    """Read all decisions of a ledger.

    Half-written lines, as a kill leaves them, are passed over with a warning. Empty lines don't
    count. Raises `LedgerError`: the file can't be read, or another line is not a decision.
    """
    return read_added(path, Place())[0]


def read_added(path: Path, place: Place) -> tuple[Ledger, Place]:
    """Read what was added to a ledger since it was read up to a place; how far that goes.

    Half a last line is read again the next time: it is whole then, or torn. For the rest see
    `read_ledger`; `LedgerError` also when the file has become shorter.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(place.bytes)
            data = file.read()
    except OSError as error:
        reason = error.strerror or error
        raise LedgerError(f"{path}: not a ledger that can be read ({reason}).") from error
    if size < place.bytes:
        why = "so it is no longer the same ledger; start the review again."
        raise LedgerError(f"{path}: has become shorter while it was in use, {why}")
    decisions: list[Decision] = []
    warnings: list[str] = []
    *lines, tail = (data if place.lines else data.removeprefix(BOM)).split(b"\n")
    whole = place.bytes + len(data)
    for number, line in enumerate(lines, start=place.lines + 1):
        if line.endswith(TORN):
            warnings.append(f"{path}:{number}: half a line, as a crash leaves it; it is skipped.")
        elif line.strip():
            try:
                decisions.append(Decision.from_json(line))
            except LedgerError as error:
                hint = "mend or remove the line in a copy of the ledger."
                raise LedgerError(f"{path}:{number}: {error}; {hint}") from error
    if tail.strip():
        # A last line without an end is whole when written by hand, or when only its end is lost.
        try:
            decisions.append(Decision.from_json(tail))
        except LedgerError:
            number = place.lines + len(lines) + 1
            warnings.append(f"{path}:{number}: the last line is cut short; it is skipped.")
            whole -= len(tail)
    found = Ledger(tuple(decisions), tuple(warnings), path, hashlib.sha256(data).hexdigest())
    return found, Place(whole, place.lines + len(lines))


def settle(decisions: Iterable[Decision], by: str | None = None) -> dict[Key, Decision]:
    """The latest standing decision on each face, by `by` or by anybody; see `list_standing`.

    None is an undo or a skip. They are in the order they were made.
    """
    latest: dict[Key, Decision] = {}
    for decision in reversed(list_standing(decisions, by)):
        latest.setdefault(decision.key, decision)
    return dict(reversed(latest.items()))


def list_standing(decisions: Iterable[Decision], by: str | None = None) -> list[Decision]:
    """All decisions that stand, in the order they were made; no undo and no skip is among them.

    Of a reviewer whose latest on a face is a skip, nothing stands there; see `work_in_undos`.
    """
    made = work_in_undos(decisions, by)
    latest = {(decision.key, decision.by): decision.action for decision in made}
    return [d for d in made if "skip" not in (d.action, latest[d.key, d.by])]


def work_in_undos(decisions: Iterable[Decision], by: str | None = None) -> list[Decision]:
    """What is not taken back, skips included, in the order it was made.

    An undo takes back the same reviewer's latest decision on the face that still stands, a skip
    included, so that the one before it stands again; with nothing to take back it does nothing.
    `by` counts one reviewer's decisions only.
    """
    made = [decision for decision in decisions if by in (None, decision.by)]
    stacks: dict[tuple[Key, str], list[int]] = defaultdict(list)
    for index, decision in enumerate(made):
        stack = stacks[decision.key, decision.by]
        if decision.action != "undo":
            stack.append(index)
        elif stack:
            stack.pop()
    return [made[index] for index in sorted(chain.from_iterable(stacks.values()))]


def merge_ledgers(ledgers: Sequence[Ledger]) -> list[Decision]:
    """All decisions that stand after all ledgers together, in the order they were made.

    Lines are put in order of time; those of one ledger stay in the order they have there, even if
    a clock went back. A decision that several ledgers hold, as a ledger and its longer copy do,
    counts once, so that an undo in one takes it back in all. See `list_standing` for the rest.
    """
    timed: dict[tuple[Decision, int], datetime] = {}
    for ledger in ledgers:
        times = accumulate((datetime.fromisoformat(made.at) for made in ledger.decisions), max)
        seen: Counter[Decision] = Counter()
        for decision, time in zip(ledger.decisions, times, strict=True):
            # Hand-written ledgers may say the same twice, an undo between: that is no copy.
            seen[decision] += 1
            timed.setdefault((decision, seen[decision]), time)
    return list_standing(decision for decision, _ in sorted(timed, key=lambda item: timed[item]))
