"""A reviewer's way through the suspects: what comes next, what is decided, what is taken back."""

import dataclasses
import hashlib
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from filelock import FileLock

from data_prep.base.boxes import DegenerateBoxError, clip_box
from data_prep.base.errors import UserError
from data_prep.base.files import output_error
from data_prep.base.labels import CLASSES
from data_prep.base.records import Box
from data_prep.decisions.ledger import (
    Action,
    Decision,
    Key,
    LedgerError,
    append_decision,
    parse_ledger,
    settle,
    utc_now,
    work_in_undos,
)
from pipeline.review.photos import OpenedPhoto, PhotoShelf
from pipeline.review.suspects import Suspect, Suspects

Status = Literal["open", "kept", "changed", "skipped"]  # How a face stands with a reviewer.

Choose = Literal["keep", "label", "drop", "rebox", "skip"]
"""What a reviewer can do with a face: `label` says its class, be it the given one or another."""


class ChoiceError(UserError, ValueError):
    """A choice that can't be written down; the message says why."""


class ConflictError(UserError):
    """The face was decided elsewhere meanwhile; nothing was written."""


class NoFaceError(UserError, LookupError):
    """There is no such face on this reviewer's way."""


@dataclass(frozen=True)
class Choice:
    """What a reviewer chose: the class with `label` and `rebox`, the new box with `rebox`."""

    action: Choose
    to: str | None = None
    to_box: Box | None = None


@dataclass(frozen=True)
class Way:
    """How a reviewer goes over the faces, all or the `first` so many.

    With `likely` as many as may be wrong come first, and the others once `Session.go_on` is called.
    A blind one sees neither labels nor the model's opinion nor what others decided, and gets those
    faces that others have decided, or all when there are none, in an order of their own.
    """

    by: str
    blind: bool = False
    seed: int = 0  # Of the blind order.
    first: int | None = None
    likely: bool = False


@dataclass(frozen=True)
class Known:
    """How a face stands with this reviewer, and what stands of the others, by their names."""

    decision: Decision | None  # None when there is nothing, or it was skipped.
    version: int  # Which a choice must be made on top of.
    status: Status
    others: tuple[Decision, ...]


def draw_up(face: Suspect, photo: OpenedPhoto, choice: Choice, way: Way) -> Decision:
    """The decision a choice amounts to; a new box, in pixels of the photo, is clipped to it.

    Raises:
        ChoiceError: The choice can't be written down.
    """
    if photo.sha256 is None:
        raise ChoiceError(f"{photo.problem} Without the photo nothing can be decided.")
    action, to = _name_action(face, choice, blind=way.blind)
    return Decision(
        utc_now(),
        way.by,
        *face.key,
        photo_sha256=photo.sha256,
        box=face.box,
        given=face.label,
        action=action,
        to=to,
        to_box=_check_box(choice.to_box, face, photo) if action == "rebox" else None,
    )


def _name_action(face: Suspect, choice: Choice, *, blind: bool) -> tuple[Action, str | None]:
    """The action of the ledger, and its class."""
    if choice.to is not None and choice.to not in CLASSES:
        raise ChoiceError(f"Unknown class '{choice.to}'; known: {', '.join(CLASSES)}.")
    if choice.action == "label":
        if choice.to is None:
            raise ChoiceError("A class must be named.")
        return ("keep", None) if choice.to == face.label else ("relabel", choice.to)
    if choice.action == "rebox":
        if choice.to is None and blind:
            raise ChoiceError("Name the class of the face in the new box, too.")
        return "rebox", choice.to or face.label
    if choice.action == "keep" and blind:
        raise ChoiceError("The given label isn't shown, so it can't be kept: name the class.")
    return choice.action, None


def _check_box(box: Box | None, face: Suspect, photo: OpenedPhoto) -> Box:
    if box is None or photo.pixels is None:
        raise ChoiceError("A new box must be drawn on the photo.")
    height, width = photo.pixels.shape[:2]
    try:
        clipped, _ = clip_box(Box(*(round(float(value), 1) for value in box)), width, height)
    except (DegenerateBoxError, OverflowError) as error:
        raise ChoiceError(f"The {error}; draw it again.") from error
    if clipped == face.box:
        raise ChoiceError("The new box is the old one: draw another, or keep the face.")
    return clipped


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


_STATUSES: dict[Action, Status] = {"skip": "skipped", "keep": "kept"}


def tell_status(latest: Decision | None) -> Status:
    """How a face stands by the latest decision on it that is not taken back."""
    return "open" if latest is None else _STATUSES.get(latest.action, "changed")


_CODES = {status: code for code, status in enumerate(get_args(Status))}


class Session:
    """A review in progress. Faces are told by their position on the reviewer's way, from 0.

    All methods may be called from several threads, and several sessions, of several processes
    even, may share a ledger. Those that take a position raise `NoFaceError` when there is no such,
    those that read or write the ledger `LedgerError` and `OutputError`. `rows` has the row of the
    suspects for each position; `edition` tells this way over these faces from any other, across
    restarts.
    """

    def __init__(self, suspects: Suspects, ledger: Path, way: Way) -> None:
        self.suspects = suspects
        self.way, self.ledger = way, ledger
        self.shelf = PhotoShelf(suspects, hide_names=way.blind)
        self._ledger = LedgerFollower(ledger)
        self._lock = threading.Lock()
        self._lines: list[Decision] = []
        self._made: list[Decision] = []  # By this reviewer and not taken back, skips included.
        self._latest: dict[Key, Decision] = {}  # Of these, by face.
        self._stands: dict[str, dict[Key, Decision]] = {way.by: {}}  # By everybody's name.
        self._versions: Counter[Key] = Counter()  # Lines of this reviewer about each face.
        self._codes = np.zeros(len(suspects), np.uint8)
        self._read_new()
        self._all = self.rows = self._choose_rows()
        self._positions = {suspects.keys[row]: place for place, row in enumerate(self.rows)}
        order = hashlib.sha256(self.rows.tobytes()).hexdigest()
        parts = (suspects.digest, str(ledger.resolve()), way, order)
        self.edition = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
        if way.likely and not way.blind:
            self.rows = self.rows[: suspects.likely]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def rest(self) -> int:
        """How many faces come only once `go_on` is called."""
        return len(self._all) - len(self.rows)

    def go_on(self) -> None:
        """Put the rest on the way, behind what is there."""
        self.rows = self._all

    def face(self, position: int) -> Suspect:
        """The face at a position."""
        self._check(position)
        return self.suspects.face(int(self.rows[position]))

    def refresh(self) -> None:
        """Read what others added to the ledger."""
        with self._lock:
            self._read_new()

    def look_up(self, key: Key) -> Known:
        """How a face stands."""
        with self._lock:
            mine, status = self._stands[self.way.by].get(key), tell_status(self._latest.get(key))
            others = (self._stands[by].get(key) for by in sorted(self._stands) if by != self.way.by)
            return Known(mine, self._versions[key], status, tuple(d for d in others if d))

    def count(self, status: Status, *, everywhere: bool = False) -> int:
        """Faces that stand so with this reviewer, on the way or in the whole suspects folder."""
        codes = self._codes if everywhere else self._codes[self.rows]
        return int((codes == _CODES[status]).sum())

    def recent(self, most: int) -> Sequence[Decision]:
        """This reviewer's latest standing decisions, the latest first."""
        with self._lock:
            return [*self._stands[self.way.by].values()][::-1][:most]

    def times(self, most: int) -> Sequence[str]:
        """When this reviewer's latest decisions were made, skips included, in their order."""
        with self._lock:
            return [decision.at for decision in self._made[-most:]]

    def next_after(self, position: int) -> int | None:
        """The next undecided face: further on, else from the start, else a skipped one.

        Position -1 is the start. Who skips a skipped face again gets those further on only, and so
        comes to an end.
        """
        if position != -1:
            self._check(position)
        codes = self._codes[self.rows]
        skips_again = position >= 0 and codes[position] == _CODES["skipped"]
        for status, wraps in (("open", True), ("skipped", not skips_again)):
            (found,) = np.nonzero(codes == _CODES[status])
            further = found[np.searchsorted(found, position, side="right") :]
            if len(further) or (wraps and len(found)):
                return int(further[0] if len(further) else found[0])
        return None

    def ahead(self, position: int, most: int) -> list[int]:
        """The faces that come next if all are decided in turn."""
        found: list[int] = []
        while len(found) < most:
            following = self.next_after(found[-1] if found else position)
            if following is None or following in found or following == position:
                break
            found.append(following)
        return found

    def decide(self, position: int, choice: Choice, version: int) -> Decision:
        """Write a decision to the ledger; it is on the disk when this returns.

        Raises:
            ChoiceError: The choice can't be written down.
            ConflictError: Decided elsewhere since the version, as `look_up` gave it.
        """
        face = self.face(position)
        decision = draw_up(face, self.shelf.open(face), choice, self.way)
        with self._lock, self._ledger.alone():
            self._read_new()
            if self._versions[face.key] != version:
                raise ConflictError("This face was decided in another window; that stands.")
            append_decision(self._ledger.path, decision)
            self._read_new()
        return decision

    def undo(self) -> int | None:
        """Take back this reviewer's latest decision on the way, skips included; returns its place.

        None when there is nothing to take back.
        """
        with self._lock, self._ledger.alone():
            self._read_new()
            latest = next((d for d in reversed(self._made) if self._is_on_way(d)), None)
            if latest is None:
                return None
            undo = dataclasses.replace(latest, at=utc_now(), action="undo", to=None, to_box=None)
            append_decision(self._ledger.path, undo)
            self._read_new()
            return self._positions[latest.key]

    def _is_on_way(self, decision: Decision) -> bool:
        return self._positions.get(decision.key, len(self)) < len(self)

    def _check(self, position: int) -> None:
        if not 0 <= position < len(self):
            raise NoFaceError(f"There is no face {position}.")

    def _choose_rows(self) -> np.ndarray:
        rows = np.arange(len(self.suspects))[: self.way.first]
        if not self.way.blind:
            return rows
        others = [stands for by, stands in self._stands.items() if by != self.way.by]
        decided = {key for stands in others for key in stands}
        shuffled = np.random.default_rng(self.way.seed).permutation(rows)
        chosen = [row for row in shuffled if self.suspects.keys[row] in decided]
        return np.array(chosen) if chosen else shuffled

    def _read_new(self) -> None:
        new, me = self._ledger.read_new(), self.way.by
        self._lines += new
        undone = {decision.by for decision in new if decision.action == "undo"}
        for decision in new:
            stands = self._stands.setdefault(decision.by, {})
            stands.pop(decision.key, None)  # So that the order is that of the one that wins.
            if decision.action != "skip":
                stands[decision.key] = decision
            if decision.by == me:
                self._versions[decision.key] += 1
                self._made.append(decision)
                self._latest[decision.key] = decision
        for by in undone:
            self._stands[by] = settle(self._lines, by)
        if me in undone:
            self._made = work_in_undos(self._lines, me)
            self._latest = {decision.key: decision for decision in self._made}
        for key in {decision.key for decision in new if decision.by == me}:
            if (row := self.suspects.rows.get(key)) is not None:
                self._codes[row] = _CODES[tell_status(self._latest.get(key))]
