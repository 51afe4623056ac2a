"""What the page shows of a session: as much as the reviewer may know."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from data_prep.base.html import COLOURS
from data_prep.base.labels import CLASSES
from data_prep.decisions.decision import Decision
from evaluate.measures.classifier import wilson_interval
from pipeline.review.session import Session

TITLES = {
    "with_mask": "With mask",
    "without_mask": "Without mask",
    "mask_weared_incorrect": "Worn wrongly",
}
"""Names of the classes on buttons."""

AHEAD = 4
"""Faces the page fetches before they are asked for."""

PACE_WINDOW = 40
"""Decisions the pace is measured on."""

SHORTEST, LONGEST = 0.1, 120.0
"""Seconds between decisions of a person at work; less is an import, more a break."""

LEAST_TOLD, YIELD_WINDOW = 20, 100
"""Of the latest decisions: how many it takes to tell whether going on pays, and how many count."""

STOP = "Going on will find little: this is a good place to stop."

LOW_YIELD = 0.05
"""Going on is said not to pay when the upper end of the interval is below this share. It takes 73
decisions in a row that change nothing to get there."""


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
        "standing": None if standing is None else _view_decision(standing, blind=blind),
        "skipped": session.status(face.key) == "skipped",
    }
    if blind:
        return view
    source, image, index = face.key
    labels = session.suspects.table["label"]
    return view | {
        "rank": int(session.rows[position]) + 1,
        "name": f"{source}/{image}, object {index}",
        "split": face.split,
        "label": face.label,
        "suggested": face.suggested,
        "score": face.score,
        "probabilities": face.probabilities,
        "reasons": [part.strip() for part in face.reasons.split(";") if part.strip()],
        "similar": [{"row": row, "label": labels.iat[row]} for row in face.similar],
        "others": [
            {"by": d.by, **_view_decision(d, blind=False)} for d in session.others(face.key)
        ],
    }


def view_progress(session: Session, position: int) -> dict[str, Any]:
    """How far the review is, and what comes after a position."""
    undecided, kept, changed = (session.count(name) for name in ("open", "kept", "changed"))
    pace = measure_pace(session.times(PACE_WINDOW))
    progress: dict[str, Any] = {
        "total": len(session),
        "decided": kept + changed,
        "skipped": session.count("skipped"),
        "pace": pace,
        "minutes_left": None if pace is None else undecided / pace,
    }
    if not session.way.blind:  # The counts would tell whether a choice was the given label.
        progress |= {"kept": kept, "changed": changed, "hint": _hint(session)}
    return {"progress": progress, "ahead": session.ahead(position, AHEAD)}


def measure_pace(times: Sequence[str]) -> float | None:
    """Decisions a minute, breaks left out: 60 over the mean of the seconds between two.

    Args:
        times: ISO 8601, in order.

    Returns:
        None with fewer than 3 gaps.

    >>> measure_pace([f"2026-11-20T10:00:{second:02}.000Z" for second in (0, 2, 6, 9)])
    20.0
    """
    moments = [datetime.fromisoformat(time).timestamp() for time in times]
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    at_work = [gap for gap in gaps if SHORTEST <= gap <= LONGEST]
    return 60 / statistics.fmean(at_work) if len(at_work) >= 3 else None


def _hint(session: Session) -> dict[str, str | None] | None:
    """What the latest decisions changed, what going on may find, and whether it pays."""
    recent = session.recent(YIELD_WINDOW)
    if len(recent) < LEAST_TOLD:
        return None
    found, of = sum(decision.action != "keep" for decision in recent), len(recent)
    low, high = wilson_interval(np.array([float(found)]), np.array([float(of)]))[:, 0].clip(0, 1)
    lines = [
        f"{found or 'None'} of your last {of} decisions changed anything "
        f"(95 % interval {low:.1%} to {high:.1%})."
    ]
    expected, changed = session.suspects.about.expected_wrong, session.count_all("changed")
    left = session.count_all("open") + session.count_all("skipped")
    if expected:
        total, least, most = (sum(ends) for ends in zip(*expected.values(), strict=True))
        lines.append(
            f"About {total:.0f} labels ({least:.0f} to {most:.0f}) were expected to be wrong; you "
            f"have changed {changed} {'face' if changed == 1 else 'faces'}."
        )
        if (missing := total - changed) >= 1 and left:
            lines.append(
                f"What is missing would be one in {max(1, round(left / missing))} of the "
                f"{left} faces left."
            )
    return {"text": " ".join(lines), "stop": STOP if high < LOW_YIELD else None}


def _view_decision(decision: Decision, *, blind: bool) -> dict[str, Any]:
    """As the page shows it; to a blind reviewer a kept label is the class they named."""
    action: str = decision.action
    to = decision.to
    if blind and action in ("keep", "relabel"):
        action, to = "label", to or decision.given
    to_box = None if decision.to_box is None else list(decision.to_box)
    return {"action": action, "to": to, "to_box": to_box}
