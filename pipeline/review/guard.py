"""Who may talk to the review page's server."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OWN_HEADER = "x-review"
"""Header the page sends with what changes something; another site's page can't."""

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
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

    @property
    def cookie(self) -> str:
        """Name of the cookie that keeps the token, one for each token: ports share cookies."""
        return "review-" + hashlib.sha256((self.token or "").encode()).hexdigest()[:12]

    def allows_host(self, header: str) -> bool:
        """Whether a Host header names this server: DNS rebinding sends another site's name."""
        name = header.lower()
        name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        if name in {self.host.lower().strip("[]"), "localhost"}:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return not is_loopback(self.host) and name == socket.gethostname().lower()
        return address.is_loopback or not is_loopback(self.host)

    def allows_token(self, given: str) -> bool:
        """Whether the token is the right one; compared in constant time."""
        return self.token is None or hmac.compare_digest(given.encode(), self.token.encode())

    def refuse(self, method: str, headers: Headers, *, brings_token: bool) -> str | None:
        """Why a request is turned away, with the status first; None when it may pass."""
        host = headers.get("host", "")
        if not self.allows_host(host):
            return "421 This server doesn't go by that name."
        cookie = cookie_parser(headers.get("cookie", "")).get(self.cookie, "")
        if not brings_token and not self.allows_token(cookie):
            return "403 A token is needed: open the whole address that the review printed."
        if method in ("GET", "HEAD"):
            return None
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        from_page = OWN_HEADER in headers and site in (None, "same-origin")
        if not from_page or (origin is not None and origin.partition("://")[2] != host):
            return "403 Only the review page itself may do that."
        return None


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
        access = self._access
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        brings_token = access.token is not None and access.allows_token(given)

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.update(_HEADERS)
                answer.setdefault("cache-control", "no-store")
                if brings_token:
                    cookie = f"{access.cookie}={access.token}"
                    answer.append("set-cookie", f"{cookie}; HttpOnly; SameSite=Strict; Path=/")
            await send(message)

        refusal = access.refuse(scope["method"], Headers(scope=scope), brings_token=brings_token)
        answer = self._app
        if refusal is not None:
            answer = PlainTextResponse(f"{refusal[4:]}\n", int(refusal[:3]))
        await answer(scope, receive, send_on)
