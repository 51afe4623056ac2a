"""A ledger that others may add to meanwhile: reads only what is new."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_prep.base.files import output_error
from data_prep.decisions.decision import Decision, LedgerError
from data_prep.decisions.ledger import BOM, TORN


class LedgerFollower:
    """Reads a growing ledger piece by piece."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._lines = 0

    def read_new(self) -> list[Decision]:
        """The decisions added since the last call, in the order of their lines.

        Half a line is passed over: it is whole at a later call, or torn. A ledger that doesn't
        exist yet holds no decisions.

        Raises:
            LedgerError: The file can't be read, has become shorter, or a line is not a decision.
        """
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size < self._offset:
                    raise LedgerError(
                        f"{self.path}: has become shorter while it was in use, so it is no longer "
                        "the same ledger; start the review again."
                    )
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise LedgerError(
                f"{self.path}: not a ledger that can be read ({error.strerror or error})."
            ) from error
        *lines, tail = data.split(b"\n")
        read = (self._read(line, self._lines + n) for n, line in enumerate(lines, start=1))
        decisions = [decision for decision in read if decision is not None]
        # Only now: after a bad line the next call begins at the same place again.
        self._offset += len(data) - len(tail)
        self._lines += len(lines)
        return decisions + self._read_tail(tail)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other reviews of ledgers in this folder out, those of other processes included.

        Between reading what stands and adding to it nobody else may add. The lock is on the
        folder, as `append_decision` locks the file itself; a kill gives it back.

        Raises:
            OutputError: The folder can't be made or opened.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path.parent, os.O_RDONLY)
        except OSError as error:
            raise output_error(self.path, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _read(self, line: bytes, number: int) -> Decision | None:
        text = line.removeprefix(BOM) if number == 1 else line
        if not text.strip() or text.endswith(TORN):
            return None
        try:
            return Decision.from_json(text)
        except LedgerError as error:
            raise LedgerError(
                f"{self.path}:{number}: {error}; mend or remove the line in a copy of the ledger."
            ) from error

    def _read_tail(self, tail: bytes) -> list[Decision]:
        """A last line without an end: taken when it is whole, left for later when it is not."""
        try:
            decision = Decision.from_json(tail.removeprefix(BOM))
        except LedgerError:
            return []
        self._offset += len(tail)
        return [decision]
