"""Who may talk to the servers of the review page and of `serve`, and how slowly."""

import asyncio
import hashlib
import hmac
import ipaddress
import socket
import time
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

OWN_HEADER = "x-review"
"""Header the page sends with what changes something; another site's page can't."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEAD_SECONDS = 10.0  # For the head of a request.
BODY_WAIT, BODY_SECONDS = 10.0, 60.0  # For the next part of its body, and for all of it.

_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True)
class Access:
    """Who may come in."""

    host: str = "127.0.0.1"  # Address the server listens on, or a name for it.
    token: str | None = None  # What visitors must bring; None: being on this machine is enough.
    names: tuple[str, ...] = ()  # Other names that the server goes by, in lower case.
    body: int = 100_000  # Most bytes of a request.
    own_header: bool = True  # Whether only the page may change something, or programs, too.
    policy: str = POLICY  # What the page may load, a Content-Security-Policy.
    open_path: str | None = None  # A path that needs no token.

    @property
    def cookie(self) -> str:
        """Name of the cookie that keeps the token, one for each token: ports share cookies."""
        return "trimask-" + hashlib.sha256((self.token or "").encode()).hexdigest()[:12]

    def allows_host(self, header: str) -> bool:
        """Whether a Host header names this server: DNS rebinding sends another site's name."""
        name = header.lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        if name in {self.host.lower().strip("[]"), "localhost", *self.names}:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return not is_loopback(self.host) and name == socket.gethostname().lower()
        return address.is_loopback or not is_loopback(self.host)

    def allows_token(self, given: str) -> bool:
        """Whether the token is the right one; compared in constant time."""
        return self.token is None or hmac.compare_digest(given.encode(), self.token.encode())

    def refuse(self, method: str, headers: Headers, *, brings_token: bool) -> HTTPException | None:
        """Why a request is turned away; None when it may pass."""
        host = headers.get("host", "")
        if not self.allows_host(host):
            return HTTPException(421, "This server doesn't go by that name.")
        cookie = cookie_parser(headers.get("cookie", "")).get(self.cookie, "")
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if not (brings_token or self.allows_token(cookie) or self.allows_token(bearer)):
            told = "A token is needed: open the whole address printed, or send it as Bearer."
            return HTTPException(403, told)
        if method in ("GET", "HEAD"):
            return None
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2] != host
        missing = self.own_header and OWN_HEADER not in headers
        if foreign or missing or site not in (None, "same-origin"):
            return HTTPException(403, "Only this server's own page may do that.")
        return None


class HastyProtocol(H11Protocol):
    """uvicorn's HTTP that closes connections whose request has no whole head in time."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Wait anew where the next request has begun."""
        super().data_received(data)
        self._wait_for_head()

    def _wait_for_head(self) -> None:
        waits = self.cycle is None or self.cycle.response_complete
        if waits and self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)
        elif not waits and self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Guard:
    """ASGI middleware that turns away whom `Access` doesn't let in."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":  # There are no web sockets.
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        access = self._access
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        brings_token = access.token is not None and access.allows_token(given)
        may_pass = brings_token or scope["path"] == access.open_path

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.update(_HEADERS)
                answer["content-security-policy"] = access.policy
                answer.setdefault("cache-control", "no-store")
                if brings_token:
                    cookie = f"{access.cookie}={access.token}"
                    answer.append("set-cookie", f"{cookie}; HttpOnly; SameSite=Strict; Path=/")
            await send(message)

        refusal = access.refuse(scope["method"], headers, brings_token=may_pass)
        if refusal is None and int(headers.get("content-length", 0)) > access.body:
            refusal = HTTPException(413, f"{access.body} bytes are the most.")
        answer = self._app
        if refusal is not None:
            status, told = refusal.status_code, refusal.detail
            answer = JSONResponse({"detail": told}, status)
            if "text/html" in headers.get("accept", ""):  # For people.
                answer = PlainTextResponse(f"{told}\n", status)
        await answer(scope, _limit(receive, access.body), send_on)


def _limit(receive: Receive, most: int) -> Receive:
    """Read a request's body, but neither more bytes nor for longer than is allowed."""
    ends, got, whole = 0.0, 0, False

    async def read() -> Message:
        nonlocal ends, got, whole
        ends = ends or time.monotonic() + BODY_SECONDS
        try:
            wait = None if whole else min(BODY_WAIT, ends - time.monotonic())
            message = await asyncio.wait_for(receive(), wait)
        except TimeoutError as error:
            raise HTTPException(408, "The request came too slowly.") from error
        got += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if got > most:
            raise HTTPException(413, f"{most} bytes are the most.")
        return message

    return read
