"""The review page's server: the page, the faces, their pictures, and what is decided."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data_prep.base.errors import UserError
from data_prep.base.photo import PhotoError
from data_prep.base.records import Box
from pipeline.review.photos import Picture
from pipeline.review.session import Choice, ChoiceError, Choose, ConflictError, NoFaceError, Session
from pipeline.review.suspects import Suspect
from pipeline.review.views import view_face, view_progress, view_session

OWN_HEADER = "x-review"
"""Header the page sends with what changes something; another site's page can't."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


@dataclass(frozen=True)
class Access:
    """Who may come in.

    Attributes:
        host: Address the server listens on, or a name for it.
        token: What visitors must bring; None when being on this machine is enough.
    """

    host: str = "127.0.0.1"
    token: str | None = None

    @property
    def cookie(self) -> str:
        """Name of the cookie that keeps the token, one for each token: ports share cookies."""
        return "review-" + hashlib.sha256((self.token or "").encode()).hexdigest()[:12]

    def allows_host(self, header: str) -> bool:
        """Whether a Host header names this server.

        A page of another site that has its own name lead to this address (DNS rebinding) still
        sends its own name.
        """
        name = _host_name(header)
        if name in {self.host.lower().strip("[]"), "localhost"}:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return not is_loopback(self.host) and name == socket.gethostname().lower()
        return address.is_loopback or not is_loopback(self.host)

    def allows_token(self, given: str | None) -> bool:
        """Whether the token is the right one; compared in constant time."""
        if self.token is None:
            return True
        return given is not None and hmac.compare_digest(given.encode(), self.token.encode())


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Guard:
    """ASGI middleware that turns away whom `Access` doesn't let in."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        if scope["type"] != "http":
            # There are no web sockets; the rest is the server's start and end.
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        from_address = parse_qs(scope["query_string"].decode("latin-1")).get("token", [None])[0]
        brings_token = self._access.token is not None and self._access.allows_token(from_address)

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    answer[name] = value
                answer.setdefault("cache-control", "no-store")
                if brings_token:
                    answer.append(
                        "set-cookie",
                        f"{self._access.cookie}={self._access.token}; "
                        "HttpOnly; SameSite=Strict; Path=/",
                    )
            await send(message)

        refusal = self._refuse(scope["method"], headers, brings_token)
        await (refusal or self._app)(scope, receive, send_on)

    def _refuse(
        self, method: str, headers: Headers, brings_token: bool
    ) -> PlainTextResponse | None:
        host = headers.get("host", "")
        if not self._access.allows_host(host):
            return PlainTextResponse("This server doesn't go by that name.\n", 421)
        if not brings_token and not self._access.allows_token(self._read_cookie(headers)):
            return PlainTextResponse(
                "A token is needed: open the whole address that the review printed.\n", 403
            )
        if method not in ("GET", "HEAD") and not _is_from_page(headers, host):
            return PlainTextResponse("Only the review page itself may do that.\n", 403)
        return None

    def _read_cookie(self, headers: Headers) -> str | None:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self._access.cookie)
        except CookieError:
            return None
        return morsel.value if morsel else None


def _host_name(header: str) -> str:
    """The name in a Host header, without the port.

    >>> _host_name("[::1]:8377"), _host_name("Localhost:80"), _host_name("evil.example")
    ('::1', 'localhost', 'evil.example')
    """
    name = header.lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


def _is_from_page(headers: Headers, host: str) -> bool:
    """Whether a request comes from a page of this very server."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if OWN_HEADER not in headers or site not in (None, "same-origin"):
        return False
    return origin is None or origin.partition("://")[2] == host


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
