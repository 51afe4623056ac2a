"""A ledger that others may add to meanwhile: reads only what is new."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_prep.decision import Decision, LedgerError
from data_prep.files import output_error

# `append_decision` closes a line that a crash left half-written with ASCII's CANCEL.
_TORN = b"\x18"
_BOM = b"\xef\xbb\xbf"


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
        whole, end, tail = data.rpartition(b"\n")
        decisions = [d for line in whole.split(b"\n") if (d := self._read(line)) is not None]
        self._offset += len(whole) + len(end)
        if not end:
            self._lines -= 1  # Splitting nothing gives one empty line.
        decisions += self._read_tail(tail)
        return decisions

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

    def _read(self, line: bytes) -> Decision | None:
        self._lines += 1
        text = line.removeprefix(_BOM) if self._lines == 1 else line
        if not text.strip() or text.endswith(_TORN):
            return None
        try:
            return Decision.from_json(text)
        except LedgerError as error:
            raise LedgerError(
                f"{self.path}:{self._lines}: {error}; mend or remove the line in a copy of the "
                "ledger."
            ) from error

    def _read_tail(self, tail: bytes) -> list[Decision]:
        """A last line without an end: taken when it is whole, left for later when it is not."""
        try:
            decision = Decision.from_json(tail.removeprefix(_BOM))
        except LedgerError:
            return []
        self._offset += len(tail)
        return [decision]
