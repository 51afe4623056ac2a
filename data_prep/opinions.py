"""What reviewers want of each face, and whether they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from data_prep.boxes import overlap
from data_prep.ledger import Decision, Key
from data_prep.locate import (
    SAME_FACE,
    FoundFace,
    PhotoFinder,
    Reason,
    clip_to_photo,
    find_face,
    is_same_box,
)
from data_prep.records import AnnotatedPhoto, Face


@dataclass(frozen=True)
class Opinion:
    """What a decision wants of the face it is about.

    Attributes:
        decision: The decision.
        found: The face as the dataset has it.
        outcome: The face as it should be, box clipped to the photo; None where it should go.
    """

    decision: Decision
    found: FoundFace
    outcome: Face | None


@dataclass(frozen=True)
class Opinions:
    """The opinions on each face, and the decisions that no face fits.

    Attributes:
        by_face: By key of the face as the data are now: the latest of each reviewer, earliest
            first.
        unfit: Decisions with the reason.
    """

    by_face: dict[Key, list[Opinion]]
    unfit: list[tuple[Decision, Reason]]


def form_opinions(decisions: Sequence[Decision], finder: PhotoFinder) -> Opinions:
    """Find the face of each decision.

    A decision that fits no face as the dataset has it may fit one as an earlier decision made it:
    that is what a second round of review is shown.

    Args:
        decisions: All that stand, in the order they were made.
        finder: Knows the photos of the decisions.
    """
    latest = {(decision.key, decision.by): decision for decision in decisions}
    formed: dict[Key, list[Opinion]] = {}
    by_face: dict[Key, dict[str, Opinion]] = {}
    unfit: list[tuple[Decision, Reason]] = []
    for decision in decisions:
        is_latest = latest[decision.key, decision.by] is decision
        opinion = _form_opinion(decision, finder, formed)
        if isinstance(opinion, Opinion):
            key = opinion.found.key
            formed.setdefault(key, []).append(opinion)
            if is_latest:
                views = by_face.setdefault(key, {})
                views.pop(decision.by, None)  # So that the order is that of the latest.
                views[decision.by] = opinion
        elif is_latest:
            unfit.append((decision, opinion))
    return Opinions({key: list(views.values()) for key, views in by_face.items()}, unfit)


def agree(opinions: Sequence[Opinion]) -> bool:
    """Whether all want the same of a face.

    That is, all want it to go, or all want the same class and boxes that overlap by `SAME_FACE`,
    since no two people draw the same box.
    """
    first, *others = [opinion.outcome for opinion in opinions]
    if first is None:
        return all(other is None for other in others)
    return all(
        other is not None
        and other.label == first.label
        and overlap(other.box, first.box) >= SAME_FACE
        for other in others
    )


def _form_opinion(
    decision: Decision, finder: PhotoFinder, formed: dict[Key, list[Opinion]]
) -> Opinion | Reason:
    photos = finder.find(decision)
    if isinstance(photos, str):
        return photos
    found = find_face(decision, photos)
    if isinstance(found, FoundFace) and not found.is_done:
        return _weigh(decision, found, found.face)
    earlier = _find_earlier(decision, photos, formed)
    if earlier is not None and earlier.outcome is not None:
        return _weigh(decision, replace(earlier.found, is_done=False), earlier.outcome)
    return Opinion(decision, found, found.face) if isinstance(found, FoundFace) else found


def _weigh(decision: Decision, found: FoundFace, shown: Face) -> Opinion | Reason:
    """What a decision makes of a face that was shown to the reviewer."""
    if decision.action == "drop":
        return Opinion(decision, found, None)
    face = replace(shown, label=decision.to or shown.label)
    if decision.to_box is not None:
        box = clip_to_photo(decision.to_box, found.photo)
        if box is None:
            return "box-outside"
        face = replace(face, box=box)
    return Opinion(decision, found, face)


def _find_earlier(
    decision: Decision, photos: Sequence[AnnotatedPhoto], formed: dict[Key, list[Opinion]]
) -> Opinion | None:
    """An opinion that made a face what this decision was made on."""
    faces = [FoundFace(photo, face) for photo in photos for face in photo.faces]
    opinions = [opinion for item in faces for opinion in formed.get(item.key, ())]
    for opinion in opinions:
        outcome = opinion.outcome
        if (
            outcome is not None
            and outcome.label == decision.given
            and is_same_box(outcome.box, decision.box)
        ):
            return opinion
    return None
