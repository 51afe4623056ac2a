"""The review page's server: the page, the faces, their pictures, and what is decided."""

import itertools
import re
import statistics
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from data_prep.base.command import spell
from data_prep.base.errors import UserError
from data_prep.base.html import COLOURS
from data_prep.base.labels import SHORT, TITLES
from data_prep.base.photo import PhotoError
from data_prep.base.progress import tell
from data_prep.base.records import Box
from data_prep.decisions.ledger import Decision
from pipeline.review.guard import Access, Guard
from pipeline.review.photos import Kind
from pipeline.review.session import Choice, ChoiceError, Choose, ConflictError, NoFaceError, Session
from pipeline.review.suspects import tell_likely

STATIC = Path(__file__).parent / "static"
SPELT = {SHORT[name]: title.lower() for name, title in TITLES.items()}
_WORDS = rf"(?<=: |% )({'|'.join(SPELT)})\b"  # As `suspects` calls the classes.

PICTURE_SECONDS = 600  # How long a browser may keep one; its address holds the session's edition.
AHEAD = 4  # Faces the page fetches before they are asked for.
PACE_WINDOW = 40  # Decisions the pace is measured on.
SHORTEST, LONGEST = 0.1, 120.0  # Seconds between decisions at work: no import, no break.
LEAST_TOLD, YIELD_WINDOW = 20, 100  # Latest decisions that tell whether going on pays.
LOW_YIELD = 0.05  # Going on doesn't pay with the interval's end below: after 73 in vain in a row.

_Number = Annotated[float, Field(allow_inf_nan=False)]


class OtherSessionError(UserError):
    """The page belongs to a session that is no more."""


class _Undo(BaseModel, extra="forbid"):
    edition: str


class _Decide(_Undo):
    position: int
    version: int
    action: Choose
    to: str | None = None
    to_box: tuple[_Number, _Number, _Number, _Number] | None = None


_STATUSES: dict[type[Exception], int] = {
    ConflictError: 409,
    OtherSessionError: 410,
    ChoiceError: 422,
    RequestValidationError: 422,
    PhotoError: 404,
    NoFaceError: 404,
    UserError: 500,  # Of the ledger: nothing was saved.
}


def create_app(session: Session, access: Access) -> FastAPI:
    """Make the server of a session."""
    app = FastAPI(title="Review", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, access=access)
    app.mount("/static", StaticFiles(directory=STATIC))
    for kind in _STATUSES:
        app.add_exception_handler(kind, _explain)

    def check_edition(body: _Undo) -> None:
        """A page kept open over a restart with other options would decide on another face."""
        if body.edition != session.edition:
            raise OtherSessionError(
                "The review was started anew with other faces; reload this page."
            )

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    @app.get("/api/session")
    def read_session() -> dict[str, Any]:
        session.refresh()
        classes = [{"name": n, "title": title, "colour": COLOURS[n]} for n, title in TITLES.items()]
        who = {"edition": session.edition, "by": session.way.by, "blind": session.way.blind}
        then = tell_next(session)
        return {**who, "next": then, "classes": classes, **view_progress(session, -1)}

    @app.get("/api/face/{position}")
    def read_face(position: int) -> dict[str, Any]:
        session.refresh()
        return view_face(session, position)

    @app.get("/api/progress/{position}")
    def read_progress(position: int) -> dict[str, Any]:
        session.refresh()
        return view_progress(session, position)

    @app.get("/picture/{kind}/{number}")
    def show_picture(kind: Kind, number: int) -> Response:
        if kind != "similar":
            face = session.face(number)
        elif session.way.blind or not 0 <= number < len(session.suspects):
            raise NoFaceError(f"There is no face {number}.")
        else:
            face = session.suspects.face(number)
        data = session.shelf.show(face, kind)
        media_type = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
        kept = {"cache-control": f"private, max-age={PICTURE_SECONDS}"}
        return Response(data, media_type=media_type, headers=kept)

    @app.post("/api/decide")
    def decide(body: _Decide) -> dict[str, Any]:
        check_edition(body)
        box = body.to_box and Box(*body.to_box)
        session.decide(body.position, Choice(body.action, body.to, box), body.version)
        return view_progress(session, body.position)

    @app.post("/api/undo")
    def undo(body: _Undo) -> dict[str, Any]:
        check_edition(body)
        position = session.undo()
        at = -1 if position is None else position
        return {"position": position, **view_progress(session, at)}

    @app.post("/api/rest")
    def go_on(body: _Undo) -> dict[str, Any]:
        check_edition(body)
        session.go_on()
        return view_progress(session, -1)

    return app


def _explain(_: Request, error: Exception) -> JSONResponse:
    """What went wrong, as a line the page can show."""
    status = next(_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES)
    # Without what was sent: a number such as NaN couldn't be sent back.
    misfit = isinstance(error, RequestValidationError)
    told = "That isn't what the page sends; reload it." if misfit else str(error)
    return JSONResponse({"message": told}, status)


def view_face(session: Session, position: int) -> dict[str, Any]:
    """One face. A blind reviewer gets the photo and the box, and their own decision, only."""
    face = session.face(position)
    photo = session.shelf.open(face)
    height, width = (face.height, face.width) if photo.pixels is None else photo.pixels.shape[:2]
    known, blind = session.look_up(position), session.way.blind
    view: dict[str, Any] = {
        "position": position,
        "version": known.version,
        "box": face.box,
        "width": width,
        "height": height,
        "problem": photo.problem,
        "decidable": photo.sha256 is not None,
        "standing": known.decision and _view_decision(known.decision, blind=blind),
        "skipped": known.status == "skipped",
    }
    if blind:
        return view
    suspects = session.suspects
    return view | {
        "rank": face.rank,
        "name": f"{face.source}/{face.image}, object {face.object}",
        "split": face.split,
        "label": face.label,
        "suggested": face.suggested,
        "score": face.score,
        "probabilities": face.probabilities,
        "reasons": [
            re.sub(_WORDS, lambda word: SPELT[word[0]], part.strip())
            for part in face.reasons.split(";")
            if part.strip()
        ],
        "similar": [
            {"row": row, "label": suspects.face(row).label} for row in suspects.similar(face)
        ],
        "others": [{"by": d.by, **_view_decision(d, blind=False)} for d in known.others],
    }


def tell_next(session: Session) -> str:
    """The command to type when the faces are decided."""
    if session.way.blind:
        return spell("agreement", session.ledger)
    roots = session.suspects.about.roots.values()
    return spell("build", *roots, "-o", "cleaned", "--decisions", session.ledger)


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
        "rest": session.rest,
    }
    if not session.way.blind:  # The counts would tell whether a choice was the given label.
        likely = session.suspects.about.likely_errors if session.way.likely else None
        told = likely and tell_likely(likely)
        progress |= {"kept": kept, "changed": changed, "likely": told}
        progress["hint"] = None if session.way.disputed else _hint(session)
    return {"progress": progress, "ahead": session.ahead(position, AHEAD)}


def measure_pace(times: Sequence[str]) -> float | None:
    """Decisions a minute by their times, ISO 8601, without breaks; None with fewer than 3 gaps."""
    moments = [datetime.fromisoformat(time).timestamp() for time in times]
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    at_work = [gap for gap in gaps if SHORTEST <= gap <= LONGEST]
    return 60 / statistics.fmean(at_work) if len(at_work) >= 3 else None


def _hint(session: Session) -> dict[str, str | None] | None:
    """What the latest decisions changed, what going on may find, and whether it pays."""
    recent, likely = session.recent(YIELD_WINDOW), session.suspects.about.likely_errors
    if len(recent) < LEAST_TOLD:
        if likely is None or not session.way.likely:
            return None
        labels = tell(len(session) + session.rest, "label")
        told = f"{tell_likely(likely).capitalize()} in {labels}"
        rest = f": these are the {len(session)} most suspect faces, the others come on request."
        return {"text": told + (rest if session.rest else "."), "stop": None}
    from evaluate.measures.headline import wilson_interval  # The first page needs none.

    found, of = sum(decision.action != "keep" for decision in recent), len(recent)
    low, high = wilson_interval(np.array([found], float), np.array([of], float))[:, 0].clip(0, 1)
    lines = [
        f"{found or 'None'} of your last {of} decisions changed {'some' if found else 'any'}thing "
        f"(95 % interval {low:.1%} to {high:.1%})."
    ]
    changed = session.count("changed", everywhere=True)
    left = sum(session.count(status, everywhere=True) for status in ("open", "skipped"))
    expected = session.suspects.about.expected_wrong
    if likely or expected:
        ends = likely or [sum(column) for column in zip(*expected.values(), strict=True)]
        lines.append(
            f"At the start: {tell_likely(ends)}; you have changed {tell(changed, 'face')}."
        )
        if (missing := ends[0] - changed) >= 1 and left:
            lines.append(
                f"What is missing would be one in {max(1, round(left / missing))} of the "
                f"{tell(left, 'face')} left."
            )
    stop = "Going on will find little: this is a good place to stop." if high < LOW_YIELD else None
    return {"text": " ".join(lines), "stop": stop}


def _view_decision(decision: Decision, *, blind: bool) -> dict[str, Any]:
    """As the page shows it; to a blind reviewer a kept label is the class they named."""
    if blind and decision.action in ("keep", "relabel"):
        return {"action": "label", "to": decision.to or decision.given, "to_box": None}
    return {"action": decision.action, "to": decision.to, "to_box": decision.to_box}
