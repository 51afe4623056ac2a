"""The ledger: a reviewer's decisions on labels, one JSON object a line, only ever added to."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

from data_prep.base.files import output_error
from data_prep.decisions.decision import ACTIONS, Action, Decision, Key, LedgerError

__all__ = [
    "ACTIONS",
    "BOM",
    "TORN",
    "Action",
    "Decision",
    "Key",
    "Ledger",
    "LedgerError",
    "append_decision",
    "list_standing",
    "read_ledger",
    "settle",
    "utc_now",
]

TORN = b"\x18"
"""Ends a line that a crash left half-written: ASCII's CANCEL, "disregard what came before". JSON
can't hold it raw, so no whole line ever looks torn."""

BOM = b"\xef\xbb\xbf"
"""What some editors put in front of UTF-8; it counts as nothing."""


@dataclass(frozen=True)
class Ledger:
    """The decisions of a ledger in the order of its lines, and what was passed over."""

    decisions: tuple[Decision, ...]
    warnings: tuple[str, ...]


def utc_now() -> str:
    """The time, as a ledger tells it: UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def append_decision(path: Path, decision: Decision) -> None:
    """Add a decision to a ledger; it is on the disk when this returns.

    The line goes out in one write under a lock, so that several processes can share a ledger; a
    kill leaves half a last line at worst, which is then marked as torn. The file is made if absent.

    Raises:
        LedgerError: The decision is not one that could be read again; nothing is written.
        OutputError: The file can't be written.
    """
    # What can't be UTF-8 is told by reading it back.
    line = decision.to_json().encode(errors="surrogatepass")
    Decision.from_json(line)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        # Closing the file gives the lock back, and so does a kill.
        with path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            data = _close_last_line(file.fileno(), path) + line + b"\n"
            written = os.write(file.fileno(), data)
            if written != len(data):
                raise OSError(f"only {written} of {len(data)} bytes could be written")
            os.fsync(file.fileno())
        if is_new:
            _sync_folder(path.parent)
    except OSError as error:
        raise output_error(path, error) from error


def read_ledger(path: Path) -> Ledger:
    """Read all decisions of a ledger.

    Half-written lines, as a kill leaves them, are passed over with a warning. Empty lines don't
    count.

    Raises:
        LedgerError: The file can't be read, or another line is not a decision.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        raise LedgerError(f"{path}: not a ledger that can be read ({reason}).") from error
    decisions: list[Decision] = []
    warnings: list[str] = []
    *lines, tail = data.removeprefix(BOM).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if line.endswith(TORN):
            warnings.append(f"{path}:{number}: half a line, as a crash leaves it; it is skipped.")
        elif line.strip():
            try:
                decisions.append(Decision.from_json(line))
            except LedgerError as error:
                raise LedgerError(
                    f"{path}:{number}: {error}; mend or remove the line in a copy of the ledger."
                ) from error
    if tail.strip():
        # A last line without an end is whole when written by hand, or when only its end is lost.
        try:
            decisions.append(Decision.from_json(tail))
        except LedgerError:
            number = len(lines) + 1
            warnings.append(f"{path}:{number}: the last line is cut short; it is skipped.")
    return Ledger(tuple(decisions), tuple(warnings))


def settle(decisions: Iterable[Decision], by: str | None = None) -> dict[Key, Decision]:
    """The latest standing decision on each face; see `list_standing`.

    Args:
        decisions: In the order they were made.
        by: Count this reviewer's only; of all reviewers, the latest decision wins when None.

    Returns:
        Decisions by key, none of them an undo or a skip, in the order they were made.
    """
    latest: dict[Key, Decision] = {}
    for decision in list_standing(decisions, by):
        latest.pop(decision.key, None)  # So that the order is that of the one that wins.
        latest[decision.key] = decision
    return latest


def list_standing(decisions: Iterable[Decision], by: str | None = None) -> list[Decision]:
    """All decisions that stand, in the order they were made; no undo and no skip is among them.

    An undo takes back the same reviewer's latest decision on the face that still stands, a skip
    included, so that the one before it stands again; with nothing to take back it does nothing.
    Of a reviewer whose latest on a face is a skip, nothing stands there.

    Args:
        decisions: In the order they were made.
        by: Count this reviewer's only; everybody's when None.
    """
    stacks: dict[tuple[Key, str], list[tuple[int, Decision]]] = {}
    for index, decision in enumerate(decisions):
        if by is not None and decision.by != by:
            continue
        stack = stacks.setdefault((decision.key, decision.by), [])
        if decision.action != "undo":
            stack.append((index, decision))
        elif stack:
            stack.pop()
    standing = [
        item
        for stack in stacks.values()
        if stack and stack[-1][1].action != "skip"
        for item in stack
        if item[1].action != "skip"
    ]
    return [decision for _, decision in sorted(standing, key=itemgetter(0))]


def _close_last_line(handle: int, path: Path) -> bytes:
    """What must come before a new line: nothing, a missing line end, or the mark of a torn line."""
    size = os.fstat(handle).st_size
    if size == 0 or os.pread(handle, 1, size - 1) == b"\n":
        return b""
    tail = path.read_bytes().removeprefix(BOM).rpartition(b"\n")[2]
    try:
        Decision.from_json(tail)
    except LedgerError:
        return TORN + b"\n"
    return b"\n"


def _sync_folder(folder: Path) -> None:
    """Without this, a new file's name could be lost in a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True)
class LedgerFile:
    """A ledger as it was read.

    Attributes:
        path: Its file.
        sha256: Hex SHA-256 of the file's bytes before it was read.
        ledger: What it says.
    """

    path: Path
    sha256: str
    ledger: Ledger


def read_ledgers(paths: Sequence[Path]) -> tuple[LedgerFile, ...]:
    """Read ledgers with the hashes of their files.

    Raises:
        LedgerError: A file can't be read, or a line is not a decision.
    """
    return tuple(LedgerFile(path, _hash_ledger(path), read_ledger(path)) for path in paths)


def merge_ledgers(ledgers: Sequence[LedgerFile]) -> list[Decision]:
    """All decisions that stand after all ledgers together, in the order they were made.

    Lines are put in order of time; those of one ledger stay in the order they have there, even if
    a clock went back. A decision that several ledgers hold, as a ledger and its longer copy do,
    counts once, so that an undo in one takes it back in all. See `list_standing` for the rest.
    """
    timed: list[tuple[datetime, Decision]] = []
    known: set[tuple[Decision, int]] = set()
    for file in ledgers:
        latest: datetime | None = None
        seen: Counter[Decision] = Counter()
        for decision in file.ledger.decisions:
            time = datetime.fromisoformat(decision.at)
            latest = time if latest is None else max(latest, time)
            # Hand-written ledgers may say the same twice, an undo between: that is no copy.
            mark = (decision, seen[decision])
            seen[decision] += 1
            if mark not in known:
                known.add(mark)
                timed.append((latest, decision))
    return list_standing(decision for _, decision in sorted(timed, key=lambda item: item[0]))


def _hash_ledger(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        reason = error.strerror or error
        raise LedgerError(f"{path}: not a ledger that can be read ({reason}).") from error
