"""A reviewer's way through the suspects: what comes next, what is decided, what is taken back."""

import dataclasses
import hashlib
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from data_prep.base.boxes import DegenerateBoxError, clip_box, overlap
from data_prep.base.errors import UserError
from data_prep.base.labels import CLASSES
from data_prep.base.records import Box
from data_prep.decisions import ledger as ledgers
from data_prep.decisions.ledger import Decision, Key
from data_prep.decisions.overlay import SAME_FACE
from pipeline.review.photos import OpenedPhoto, PhotoShelf
from pipeline.review.suspects import Suspect, Suspects

Status = Literal["open", "kept", "changed", "skipped"]  # How a face stands with a reviewer.
STATUSES: tuple[Status, ...] = get_args(Status)

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
    faces that others have decided, or all when there are none, in an order of their own. With
    `disputed` only faces come that reviewers disagree about, as if not yet decided.
    """

    by: str
    blind: bool = False
    seed: int = 0  # Of the blind order.
    first: int | None = None
    likely: bool = False
    disputed: bool = False


@dataclass(frozen=True)
class Known:
    """How a face stands with this reviewer, and what stands of the others, by their names."""

    decision: Decision | None  # None when there is nothing, or it was skipped.
    version: int  # Which a choice must be made on top of.
    status: Status
    others: tuple[Decision, ...]


def is_disputed(decisions: Sequence[Decision]) -> bool:
    """Whether reviewers' decisions on a face differ, so that `build` applies none of them."""
    wanted = [(d.to or d.given, d.to_box or d.box, d.action == "drop") for d in decisions]
    label, box, drops = wanted[0]
    return any(
        goes != drops or (not goes and (own != label or overlap(place, box) < SAME_FACE))
        for own, place, goes in wanted
    )


def draw_up(face: Suspect, photo: OpenedPhoto, choice: Choice, way: Way) -> Decision:
    """The decision a choice amounts to, a new box clipped to the photo; raises `ChoiceError`."""
    if photo.sha256 is None:
        raise ChoiceError(f"{photo.problem} Without the photo nothing can be decided.")
    if choice.to not in (None, *CLASSES):
        raise ChoiceError(f"Unknown class '{choice.to}'; known: {', '.join(CLASSES)}.")
    must_name = ("label", "keep", "rebox") if way.blind else ("label",)
    if choice.to is None and choice.action in must_name:
        raise ChoiceError(f"'{choice.action}' needs a class: name the class of the face.")
    action: ledgers.Action = choice.action if choice.action != "label" else "relabel"
    if action == "relabel" and choice.to == face.label:
        action = "keep"
    return Decision(
        ledgers.utc_now(),
        way.by,
        *face.key,
        photo_sha256=photo.sha256,
        box=face.box,
        given=face.label,
        action=action,
        to={"relabel": choice.to, "rebox": choice.to or face.label}.get(action),
        to_box=_check_box(choice.to_box, face, photo) if action == "rebox" else None,
    )


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


_STATUSES: dict[ledgers.Action | None, Status] = {None: "open", "skip": "skipped", "keep": "kept"}
"""By the latest action on a face that is not taken back; others change it."""


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
        self._lock = threading.Lock()
        self._read_to = ledgers.Place()
        self._lines: list[Decision] = []
        self._made: list[Decision] = []  # By this reviewer and not taken back, skips included.
        self._stands: dict[str, dict[Key, Decision]] = {way.by: {}}  # By everybody's name.
        self._versions: Counter[Key] = Counter()  # Lines of this reviewer about each face.
        self._places = np.arange(len(suspects))  # Of each row; those not on the way come behind.
        self._codes = np.zeros(len(suspects), np.uint8)  # Of each place, as in `STATUSES`.
        self._read_new()
        self._all = self.rows = self._choose_rows()
        places = np.append(self.rows, np.delete(self._places, self.rows))
        self._places, self._codes = np.argsort(places), self._codes[places]
        if way.disputed:
            self._codes[: len(self.rows)] = STATUSES.index("open")
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

    def look_up(self, position: int) -> Known:
        """How a face stands."""
        key = self.face(position).key
        with self._lock:
            mine, status = self._stands[self.way.by].get(key), self._codes[position]
            others = (self._stands[by].get(key) for by in sorted(self._stands) if by != self.way.by)
            return Known(mine, self._versions[key], STATUSES[status], tuple(filter(None, others)))

    def count(self, status: Status, *, everywhere: bool = False) -> int:
        """Faces that stand so with this reviewer, on the way or in the whole suspects folder."""
        codes = self._codes[: None if everywhere else len(self)]
        return int((codes == STATUSES.index(status)).sum())

    def recent(self, most: int) -> Sequence[Decision]:
        """This reviewer's latest standing decisions, the latest first."""
        with self._lock:
            return [*self._stands[self.way.by].values()][::-1][:most]

    def times(self, most: int) -> Sequence[str]:
        """When this reviewer's latest decisions were made, skips included, in their order."""
        with self._lock:
            return [decision.at for decision in self._made[-most:]]

    def next_after(self, position: int) -> int | None:
        """The position to go on with after one, or after -1, the start; None at the end.

        Undecided faces come first, those after the position before the others; then skipped ones.
        Who skips one again gets only those after it, and so comes to an end.
        """
        if position != -1:
            self._check(position)
        codes = self._codes[: len(self)]
        skips_again = position >= 0 and STATUSES[codes[position]] == "skipped"
        for status, wraps in (("open", True), ("skipped", not skips_again)):
            found = np.flatnonzero(codes == STATUSES.index(status))
            further = found[np.searchsorted(found, position, side="right") :]
            if len(further) or (wraps and len(found)):
                return int(further[0] if len(further) else found[0])
        return None

    def ahead(self, position: int, most: int) -> list[int]:
        """Positions of up to `most` faces that follow one, if each is decided in turn."""
        found: list[int] = []
        while len(found) < most:
            following = self.next_after(found[-1] if found else position)
            if following is None or following in found or following == position:
                break
            found.append(following)
        return found

    def decide(self, position: int, choice: Choice, version: int) -> Decision:
        """Write a decision to the ledger; it is on the disk when this returns.

        Raises `ChoiceError`, or `ConflictError`: decided elsewhere since the version of `look_up`.
        """
        face = self.face(position)
        decision = draw_up(face, self.shelf.open(face), choice, self.way)
        with self._lock, ledgers.hold_ledger(self.ledger):
            self._read_new()
            if self._versions[face.key] != version:
                raise ConflictError("This face was decided in another window; that stands.")
            ledgers.append_decision(self.ledger, decision)
            self._read_new()
        return decision

    def undo(self) -> int | None:
        """Take back this reviewer's latest decision or skip of a face on the way.

        It stays in the ledger, and a line that undoes it is added. Gives the face's position; None
        where there is nothing to take back.
        """
        with self._lock, ledgers.hold_ledger(self.ledger):
            self._read_new()
            for latest in reversed(self._made):
                row = self.suspects.find(latest.key)
                if row is not None and self._places[row] < len(self):
                    undo = dataclasses.replace(latest, at=ledgers.utc_now(), action="undo")
                    undo = dataclasses.replace(undo, to=None, to_box=None)
                    ledgers.append_decision(self.ledger, undo)
                    self._read_new()
                    return int(self._places[row])
        return None

    def _check(self, position: int) -> None:
        if not 0 <= position < len(self):
            raise NoFaceError(f"There is no face {position}.")

    def _choose_rows(self) -> np.ndarray:
        if self.way.disputed:
            opinions: dict[Key, list[Decision]] = {}
            for decision in (one for stands in self._stands.values() for one in stands.values()):
                opinions.setdefault(decision.key, []).append(decision)
            found = (self.suspects.find(key) for key, own in opinions.items() if is_disputed(own))
            return np.array(sorted(row for row in found if row is not None), int)[: self.way.first]
        rows = np.arange(len(self.suspects))[: self.way.first]
        if not self.way.blind:
            return rows
        others = [stands for by, stands in self._stands.items() if by != self.way.by]
        found = (self.suspects.find(key) for stands in others for key in stands)
        shuffled = np.random.default_rng(self.way.seed).permutation(rows)
        chosen = shuffled[np.isin(shuffled, [row for row in found if row is not None])]
        return chosen if len(chosen) else shuffled

    def _read_new(self) -> None:
        if not self.ledger.exists() and self._read_to == ledgers.Place():
            return  # No ledger yet holds no decisions.
        read, self._read_to = ledgers.read_added(self.ledger, self._read_to)
        new, me = read.decisions, self.way.by
        self._lines += new
        undone = {decision.by for decision in new if decision.action == "undo"}
        for decision in new:
            stands = self._stands.setdefault(decision.by, {})
            stands.pop(decision.key, None)  # So that the order is that of the one that wins.
            if decision.action != "skip":
                stands[decision.key] = decision
        for by in undone:
            self._stands[by] = ledgers.settle(self._lines, by)
        mine = [decision for decision in new if decision.by == me]
        self._versions.update(decision.key for decision in mine)
        self._made = (
            ledgers.work_in_undos(self._lines, me) if me in undone else [*self._made, *mine]
        )
        latest = {d.key: d.action for d in (self._made if me in undone else mine)}
        for key in {decision.key for decision in mine}:
            if (row := self.suspects.find(key)) is not None:
                self._codes[self._places[row]] = STATUSES.index(
                    _STATUSES.get(latest.get(key), "changed")
                )
