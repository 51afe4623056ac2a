"""The review page's server: the page, the faces, their pictures, and what is decided."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field

from data_prep.errors import UserError
from data_prep.photo import PhotoError
from data_prep.records import Box
from pipeline.review.choices import Choice, ChoiceError, Choose
from pipeline.review.guard import Access, Guard
from pipeline.review.photos import Picture
from pipeline.review.session import ConflictError, NoFaceError, Session
from pipeline.review.suspects import Suspect
from pipeline.review.views import view_face, view_progress, view_session

STATIC = Path(__file__).parent / "static"
"""The page."""

PICTURE_SECONDS = 600
"""How long a browser may keep a picture; its address holds the session's edition."""

_Number = Annotated[float, Field(allow_inf_nan=False)]


class OtherSessionError(UserError):
    """The page belongs to a session that is no more."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    edition: str


class _Decide(_Body):
    position: int
    version: int
    action: Choose
    to: str | None = None
    to_box: tuple[_Number, _Number, _Number, _Number] | None = None


def create_app(session: Session, access: Access | None = None) -> FastAPI:
    """Make the server of a session.

    Args:
        session: What is reviewed.
        access: Who may come in; this machine when None.
    """
    app = FastAPI(title="Review", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, access=access or Access())
    app.mount("/static", StaticFiles(directory=STATIC))
    _answer_errors(app)
    _add_pages(app, session)
    _add_pictures(app, session)
    _add_deeds(app, session)
    return app


def _add_pages(app: FastAPI, session: Session) -> None:
    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    @app.get("/api/session")
    def read_session() -> dict[str, Any]:
        session.refresh()
        return view_session(session)

    @app.get("/api/face/{position}")
    def read_face(position: int) -> dict[str, Any]:
        session.refresh()
        return view_face(session, position)

    @app.get("/api/progress/{position}")
    def read_progress(position: int) -> dict[str, Any]:
        session.refresh()
        return view_progress(session, position)


def _add_pictures(app: FastAPI, session: Session) -> None:
    @app.get("/picture/{kind}/{number}")
    def show_picture(kind: Literal["crop", "photo", "similar"], number: int) -> Response:
        if kind == "similar":
            return _to_response(session.shelf.thumb(_neighbour(session, number)))
        make = session.shelf.cut if kind == "crop" else session.shelf.show
        return _to_response(make(session.face(number)))


def _add_deeds(app: FastAPI, session: Session) -> None:
    @app.post("/api/decide")
    def decide(body: _Decide) -> dict[str, Any]:
        _check_edition(session, body)
        box = None if body.to_box is None else Box(*body.to_box)
        session.decide(body.position, Choice(body.action, body.to, box), body.version)
        return view_progress(session, body.position)

    @app.post("/api/undo")
    def undo(body: _Body) -> dict[str, Any]:
        _check_edition(session, body)
        position = session.undo()
        return {
            "position": position,
            **view_progress(session, -1 if position is None else position),
        }


def _answer_errors(app: FastAPI) -> None:
    """What went wrong, as a line the page can show."""
    statuses: dict[type[Exception], int] = {
        ConflictError: 409,
        OtherSessionError: 410,
        ChoiceError: 422,
        PhotoError: 404,
        NoFaceError: 404,
        UserError: 500,  # Of the ledger: nothing was saved.
    }

    def answer(_: Request, error: Exception) -> JSONResponse:
        status = next(statuses[kind] for kind in type(error).__mro__ if kind in statuses)
        return JSONResponse({"message": str(error)}, status)

    def answer_misfit(_: Request, __: Exception) -> JSONResponse:
        # Without what was sent: a number such as NaN couldn't be sent back.
        return JSONResponse({"message": "That isn't what the page sends; reload it."}, 422)

    for kind in statuses:
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(RequestValidationError, answer_misfit)


def _check_edition(session: Session, body: _Body) -> None:
    """A page kept open over a restart with other options would decide on another face."""
    if body.edition != session.edition:
        raise OtherSessionError("The review was started anew with other faces; reload this page.")


def _neighbour(session: Session, row: int) -> Suspect:
    if session.way.blind or not 0 <= row < len(session.suspects):
        raise NoFaceError(f"There is no face {row}.")
    return session.suspects.face(row)


def _to_response(picture: Picture) -> Response:
    headers = {"cache-control": f"private, max-age={PICTURE_SECONDS}"}
    return Response(picture.data, media_type=picture.media_type, headers=headers)
