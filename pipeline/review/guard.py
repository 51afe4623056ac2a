"""Who may talk to the page: the right host name, the token, and only the page itself."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
