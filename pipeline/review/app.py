"""The review page's server: the page, the faces, their pictures, and what is decided."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field

from data_prep.base.errors import UserError
from data_prep.base.photo import PhotoError
from data_prep.base.records import Box
from pipeline.review.guard import Access, Guard
from pipeline.review.session import Choice, ChoiceError, Choose, ConflictError, NoFaceError, Session
from pipeline.review.views import view_face, view_progress, view_session

STATIC = Path(__file__).parent / "static"
"""The page."""

PICTURE_SECONDS = 600
"""How long a browser may keep a picture; its address holds the session's edition."""

_Number = Annotated[float, Field(allow_inf_nan=False)]


class OtherSessionError(UserError):
    """The page belongs to a session that is no more."""


class _Undo(BaseModel):
    model_config = ConfigDict(extra="forbid")
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
    PhotoError: 404,
    NoFaceError: 404,
    UserError: 500,  # Of the ledger: nothing was saved.
}


def create_app(session: Session, access: Access | None = None) -> FastAPI:
    """Make the server of a session.

    Args:
        session: What is reviewed.
        access: Who may come in; this machine when None.
    """
    app = FastAPI(title="Review", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, access=access or Access())
    app.mount("/static", StaticFiles(directory=STATIC))
    for kind in _STATUSES:
        app.add_exception_handler(kind, _explain)
    app.add_exception_handler(RequestValidationError, _explain_misfit)

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
        return view_session(session)

    @app.get("/api/face/{position}")
    def read_face(position: int) -> dict[str, Any]:
        session.refresh()
        return view_face(session, position)

    @app.get("/api/progress/{position}")
    def read_progress(position: int) -> dict[str, Any]:
        session.refresh()
        return view_progress(session, position)

    @app.get("/picture/{kind}/{number}")
    def show_picture(kind: Literal["crop", "photo", "similar"], number: int) -> Response:
        if kind == "similar":
            if session.way.blind or not 0 <= number < len(session.suspects):
                raise NoFaceError(f"There is no face {number}.")
            data = session.shelf.thumb(session.suspects.face(number))
        else:
            face = session.face(number)
            data = session.shelf.cut(face) if kind == "crop" else session.shelf.show(face)
        media_type = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
        kept = {"cache-control": f"private, max-age={PICTURE_SECONDS}"}
        return Response(data, media_type=media_type, headers=kept)

    @app.post("/api/decide")
    def decide(body: _Decide) -> dict[str, Any]:
        check_edition(body)
        box = None if body.to_box is None else Box(*body.to_box)
        session.decide(body.position, Choice(body.action, body.to, box), body.version)
        return view_progress(session, body.position)

    @app.post("/api/undo")
    def undo(body: _Undo) -> dict[str, Any]:
        check_edition(body)
        position = session.undo()
        shown = view_progress(session, -1 if position is None else position)
        return {"position": position, **shown}

    return app


def _explain(_: Request, error: Exception) -> JSONResponse:
    """What went wrong, as a line the page can show."""
    status = next(_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES)
    return JSONResponse({"message": str(error)}, status)


def _explain_misfit(_: Request, __: Exception) -> JSONResponse:
    # Without what was sent: a number such as NaN couldn't be sent back.
    return JSONResponse({"message": "That isn't what the page sends; reload it."}, 422)
