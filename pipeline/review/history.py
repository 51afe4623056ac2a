"""What the ledger says of faces: read while others add to it, undos worked in."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from filelock import FileLock

from data_prep.base.files import output_error
from data_prep.decisions.ledger import Decision, Key, LedgerError, parse_ledger

Status = Literal["open", "kept", "changed", "skipped"]
"""How a face stands with a reviewer."""


class LedgerFollower:
    """Reads a growing ledger piece by piece."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._lines = 0

    def read_new(self) -> Sequence[Decision]:
        """The decisions added since the last call, in the order of their lines.

        Half a line is passed over: it is whole at a later call, or torn. A ledger that doesn't
        exist yet holds no decisions.

        Raises:
            LedgerError: The file can't be read, has become shorter, or a line is not a decision.
        """
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._offset:
                    raise LedgerError(
                        f"{self.path}: has become shorter while it was in use, so it is no longer "
                        "the same ledger; start the review again."
                    )
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise LedgerError(
                f"{self.path}: not a ledger that can be read ({error.strerror or error})."
            ) from error
        found, whole = parse_ledger(self.path, data, self._lines + 1)
        # Only now: after a bad line the next call begins at the same place again.
        self._offset += whole
        self._lines += data[:whole].count(b"\n")
        return found.decisions

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other reviews of this ledger out, of other processes too; a kill gives it back."""
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), poll_interval=0.002)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except OSError as error:
            raise output_error(self.path, error) from error
        try:
            yield
        finally:
            lock.release()


class History:
    """One reviewer's decisions, with undos worked in as `settle` of the ledger does."""

    def __init__(self) -> None:
        self._stacks: dict[Key, list[Decision]] = {}
        self.versions: Counter[Key] = Counter()  # Lines about each face so far.
        self.made: list[Decision] = []  # All that is not taken back, skips included, in order.

    def add(self, decision: Decision) -> None:
        """Take in the next line of this reviewer."""
        self.versions[decision.key] += 1
        stack = self._stacks.setdefault(decision.key, [])
        if decision.action != "undo":
            stack.append(decision)
            self.made.append(decision)
        elif stack:
            undone = stack.pop()
            # It is one of the latest, and another decision may be equal to it.
            place = next(i for i in reversed(range(len(self.made))) if self.made[i] is undone)
            del self.made[place]

    def standing(self, key: Key) -> Decision | None:
        """The decision that stands for a face, None when there is none or it was skipped."""
        stack = self._stacks.get(key)
        return stack[-1] if stack and stack[-1].action != "skip" else None

    def status(self, key: Key) -> Status:
        """How a face stands."""
        stack = self._stacks.get(key)
        if not stack:
            return "open"
        action = stack[-1].action
        return "skipped" if action == "skip" else "kept" if action == "keep" else "changed"

    def all_standing(self) -> Iterator[Decision]:
        """The standing decisions, each face once, the latest first; no skips."""
        return (d for d in reversed(self.made) if self.standing(d.key) is d)
