"""Several ledgers as one: whose decisions stand, in the order they were made."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from data_prep.ledger import Decision, Ledger, LedgerError, list_standing, read_ledger


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
