"""What a reviewer can choose, and the line of the ledger it amounts to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from data_prep.boxes import DegenerateBoxError, clip_box
from data_prep.decision import Action, Decision
from data_prep.errors import UserError
from data_prep.labels import CLASSES
from data_prep.ledger import utc_now
from data_prep.records import Box
from pipeline.review.photos import OpenedPhoto
from pipeline.review.suspects import Suspect

Choose = Literal["keep", "label", "drop", "rebox", "skip"]
"""What a reviewer can do with a face: `label` says its class, be it the given one or another."""


class ChoiceError(UserError, ValueError):
    """A choice that can't be written down; the message says why."""


@dataclass(frozen=True)
class Choice:
    """What a reviewer chose: the class with `label` and `rebox`, the new box with `rebox`."""

    action: Choose
    to: str | None = None
    to_box: Box | None = None


def draw_up(face: Suspect, photo: OpenedPhoto, choice: Choice, *, by: str, blind: bool) -> Decision:
    """The decision a choice amounts to.

    Args:
        face: What it is about.
        photo: The face's photo.
        choice: A new box in pixels of the photo; it is clipped to it.
        by: The reviewer.
        blind: Whether the given label is hidden from the reviewer.

    Raises:
        ChoiceError: The choice can't be written down.
    """
    if photo.sha256 is None:
        raise ChoiceError(f"{photo.problem} Without the photo nothing can be decided.")
    action, to = _name_action(face, choice, blind=blind)
    to_box = _check_box(choice.to_box, face, photo) if action == "rebox" else None
    source, image, index = face.key
    return Decision(
        at=utc_now(),
        by=by,
        source=source,
        image=image,
        object=index,
        photo_sha256=photo.sha256,
        box=face.box,
        given=face.label,
        action=action,
        to=to,
        to_box=to_box,
    )


def take_back(decision: Decision) -> Decision:
    """The undo of a decision."""
    return dataclasses.replace(decision, at=utc_now(), action="undo", to=None, to_box=None)


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
