"""A reviewer's way through the suspects: what comes next, what is decided, what is taken back."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.decision import Decision, Key
from data_prep.errors import UserError
from data_prep.ledger import append_decision
from pipeline.review.choices import Choice, draw_up, take_back
from pipeline.review.follower import LedgerFollower
from pipeline.review.history import History, Status
from pipeline.review.photos import PhotoShelf
from pipeline.review.suspects import Suspect, Suspects

_CODES: dict[Status, int] = {"open": 0, "kept": 1, "changed": 2, "skipped": 3}


class ConflictError(UserError):
    """The face was decided elsewhere meanwhile; nothing was written."""


class NoFaceError(UserError, LookupError):
    """There is no such face on this reviewer's way."""


@dataclass(frozen=True)
class Way:
    """How a reviewer goes over the faces.

    Attributes:
        by: The reviewer's name.
        blind: Without the labels, the model's opinion and what others decided: those faces that
            others have decided, or all when there are none, in an order of their own.
        seed: Of that order.
        first: Only so many of the most suspect faces; all when None.
    """

    by: str
    blind: bool = False
    seed: int = 0
    first: int | None = None


class Session:
    """A review in progress. Faces are told by their position on the reviewer's way, from 0.

    All methods may be called from several threads, and several sessions, of several processes
    even, may share a ledger.
    """

    def __init__(self, suspects: Suspects, ledger: Path, way: Way) -> None:
        """Open the ledger and find where to go on.

        Raises:
            LedgerError: The ledger can't be read.
        """
        self.suspects = suspects
        self.way = way
        self.shelf = PhotoShelf(suspects, hide_names=way.blind)
        self._ledger = LedgerFollower(ledger)
        self._lock = threading.Lock()
        self._histories: dict[str, History] = {way.by: History()}
        self._by_row = bytearray(len(suspects))
        self._statuses = bytearray()
        self._positions: dict[Key, int] = {}
        self._read_new()
        self.rows = self._choose_rows()
        keys = list(suspects.rows)
        self._positions = {keys[row]: position for position, row in enumerate(self.rows)}
        mine = self._histories[way.by]
        self._statuses = bytearray(_CODES[mine.status(key)] for key in self._positions)
        order = hashlib.sha256(self.rows.tobytes()).hexdigest()
        told = (suspects.digest, str(ledger.resolve()), way, order)
        self.edition = hashlib.sha256(repr(told).encode()).hexdigest()[:16]
        """Tells this way over these faces from any other, across restarts."""

    def __len__(self) -> int:
        return len(self._positions)

    def face(self, position: int) -> Suspect:
        """The face at a position.

        Raises:
            NoFaceError: There is no such position.
        """
        if not 0 <= position < len(self):
            raise NoFaceError(f"There is no face {position}.")
        return self.suspects.face(int(self.rows[position]))

    def refresh(self) -> None:
        """Read what others added to the ledger.

        Raises:
            LedgerError: The ledger can't be read.
        """
        with self._lock:
            self._read_new()

    def standing(self, key: Key) -> tuple[Decision | None, int]:
        """This reviewer's standing decision on a face, and the version to choose on top of."""
        with self._lock:
            mine = self._histories[self.way.by]
            return mine.standing(key), mine.version(key)

    def status(self, key: Key) -> Status:
        """How a face stands with this reviewer."""
        with self._lock:
            return self._histories[self.way.by].status(key)

    def others(self, key: Key) -> list[Decision]:
        """What stands of the other reviewers on a face, by their names."""
        with self._lock:
            found = (self._histories[by].standing(key) for by in sorted(self._histories))
            return [d for d in found if d is not None and d.by != self.way.by]

    def count(self, status: Status) -> int:
        """Faces on the way that stand so with this reviewer."""
        return self._statuses.count(_CODES[status])

    def count_all(self, status: Status) -> int:
        """Faces of the whole suspects folder that stand so with this reviewer."""
        return self._by_row.count(_CODES[status])

    def recent(self, most: int) -> Sequence[Decision]:
        """This reviewer's latest standing decisions, the latest first."""
        with self._lock:
            return self._histories[self.way.by].recent(most)

    def times(self, most: int) -> Sequence[str]:
        """When this reviewer's latest decisions were made."""
        with self._lock:
            return self._histories[self.way.by].times(most)

    def next_after(self, position: int) -> int | None:
        """The next undecided face: further on, else from the start, else a skipped one.

        Who skips a skipped face again gets those further on only, and so comes to an end.

        Args:
            position: Where to go on from; -1 for the start.

        Raises:
            NoFaceError: There is no such position.
        """
        if not -1 <= position < len(self):
            raise NoFaceError(f"There is no face {position}.")
        places: list[tuple[Status, int]] = [("open", position + 1), ("open", 0)]
        places.append(("skipped", position + 1))
        if position < 0 or self._statuses[position] != _CODES["skipped"]:
            places.append(("skipped", 0))
        for status, start in places:
            found = self._statuses.find(_CODES[status], start)
            if found >= 0:
                return found
        return None

    def ahead(self, position: int, most: int) -> list[int]:
        """The faces that come next if all are decided in turn.

        Raises:
            NoFaceError: There is no such position.
        """
        found: list[int] = []
        while len(found) < most:
            following = self.next_after(found[-1] if found else position)
            if following is None or following in found or following == position:
                break
            found.append(following)
        return found

    def decide(self, position: int, choice: Choice, version: int) -> Decision:
        """Write a decision to the ledger; it is on the disk when this returns.

        Args:
            position: Of the face.
            choice: What to write.
            version: As `standing` told it when the face was shown.

        Raises:
            NoFaceError: There is no such position.
            ChoiceError: The choice can't be written down.
            ConflictError: Decided elsewhere since the version.
            LedgerError, OutputError: The ledger can't be read or written.
        """
        face = self.face(position)
        decision = draw_up(
            face, self.shelf.open(face), choice, by=self.way.by, blind=self.way.blind
        )
        with self._lock, self._ledger.alone():
            self._read_new()
            if self._histories[self.way.by].version(face.key) != version:
                raise ConflictError("This face was decided in another window; that stands.")
            append_decision(self._ledger.path, decision)
            self._read_new()
        return decision

    def undo(self) -> int | None:
        """Take back this reviewer's latest decision on the way; a skip counts as one.

        Returns:
            Position of the face to go back to; None when there is nothing to take back.

        Raises:
            LedgerError, OutputError: The ledger can't be read or written.
        """
        with self._lock, self._ledger.alone():
            self._read_new()
            latest = self._histories[self.way.by].latest(self._positions)
            if latest is None:
                return None
            append_decision(self._ledger.path, take_back(latest))
            self._read_new()
            return self._positions[latest.key]

    def _choose_rows(self) -> np.ndarray:
        rows = np.arange(len(self.suspects))[: self.way.first]
        if not self.way.blind:
            return rows
        others = [h for by, h in self._histories.items() if by != self.way.by]
        decided = {key for history in others for key in history.standing_keys()}
        shuffled = np.random.default_rng(self.way.seed).permutation(rows)
        keys = list(self.suspects.rows)
        chosen = [row for row in shuffled if keys[row] in decided]
        return np.array(chosen) if chosen else shuffled

    def _read_new(self) -> None:
        for decision in self._ledger.read_new():
            history = self._histories.setdefault(decision.by, History())
            history.add(decision)
            row = self.suspects.rows.get(decision.key)
            if decision.by != self.way.by or row is None:
                continue
            self._by_row[row] = code = _CODES[history.status(decision.key)]
            position = self._positions.get(decision.key)
            if position is not None:
                self._statuses[position] = code
