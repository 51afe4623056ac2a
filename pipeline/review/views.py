"""What the page is told of a session: as much as the reviewer may know."""

from __future__ import annotations

from typing import Any

from data_prep.base.html import COLOURS
from data_prep.base.labels import CLASSES
from data_prep.decisions.decision import Decision
from pipeline.review.pace import (
    LEAST_TOLD,
    PACE_WINDOW,
    STOP,
    YIELD_WINDOW,
    describe_yield,
    measure_pace,
    measure_yield,
)
from pipeline.review.session import Session

TITLES = {
    "with_mask": "With mask",
    "without_mask": "Without mask",
    "mask_weared_incorrect": "Worn wrongly",
}
"""Names of the classes on buttons."""

AHEAD = 4
"""Faces the page fetches before they are asked for."""


def view_session(session: Session) -> dict[str, Any]:
    """What stays the same, and where to start."""
    return {
        "edition": session.edition,
        "by": session.way.by,
        "blind": session.way.blind,
        "classes": [
            {"name": name, "title": TITLES[name], "colour": COLOURS[name]} for name in CLASSES
        ],
        **view_progress(session, -1),
    }


def view_face(session: Session, position: int) -> dict[str, Any]:
    """One face. A blind reviewer gets the photo and the box, and their own decision, only.

    Raises:
        NoFaceError: There is no such position.
    """
    face = session.face(position)
    photo = session.shelf.open(face)
    size = face.size if photo.pixels is None else (photo.pixels.shape[1], photo.pixels.shape[0])
    standing, version = session.standing(face.key)
    blind = session.way.blind
    view: dict[str, Any] = {
        "position": position,
        "version": version,
        "box": list(face.box),
        "width": size[0],
        "height": size[1],
        "problem": photo.problem,
        "decidable": photo.sha256 is not None,
        "standing": None if standing is None else _tell(standing, blind=blind),
        "skipped": session.status(face.key) == "skipped",
    }
    if blind:
        return view
    source, image, index = face.key
    labels = session.suspects.columns["label"]
    return view | {
        "rank": int(session.rows[position]) + 1,
        "name": f"{source}/{image}, object {index}",
        "split": face.split,
        "label": face.label,
        "suggested": face.suggested,
        "score": face.score,
        "probabilities": face.probabilities,
        "reasons": [part.strip() for part in face.reasons.split(";") if part.strip()],
        "similar": [{"row": row, "label": str(labels[row])} for row in face.similar],
        "others": [{"by": d.by, **_tell(d, blind=False)} for d in session.others(face.key)],
    }


def view_progress(session: Session, position: int) -> dict[str, Any]:
    """How far the review is, and what comes after a position."""
    counts = {status: session.count(status) for status in ("open", "kept", "changed", "skipped")}
    pace = measure_pace(session.times(PACE_WINDOW))
    decided = counts["kept"] + counts["changed"]
    progress: dict[str, Any] = {
        "total": len(session),
        "decided": decided,
        "skipped": counts["skipped"],
        "pace": pace,
        "minutes_left": None if pace is None else counts["open"] / pace,
    }
    if not session.way.blind:  # The counts would tell whether a choice was the given label.
        progress |= {"kept": counts["kept"], "changed": counts["changed"], "hint": None}
        recent = session.recent(YIELD_WINDOW)
        if len(recent) >= LEAST_TOLD:
            found = measure_yield([decision.action != "keep" for decision in recent])
            text = describe_yield(
                found,
                session.suspects.expected_wrong,
                changed=session.count_all("changed"),
                left=session.count_all("open") + session.count_all("skipped"),
            )
            progress["hint"] = {"text": text, "stop": STOP if found.is_low else None}
    ahead = session.ahead(position, AHEAD)
    return {"progress": progress, "ahead": ahead}


def _tell(decision: Decision, *, blind: bool) -> dict[str, Any]:
    """A decision as the page shows it; to a blind reviewer a kept label is the class they named."""
    action, to = decision.action, decision.to
    if blind and action in ("keep", "relabel"):
        action_told, to = "label", to or decision.given
    else:
        action_told = action
    to_box = None if decision.to_box is None else list(decision.to_box)
    return {"action": action_told, "to": to, "to_box": to_box}
