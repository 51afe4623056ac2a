"""Putting the review page on a port of this machine."""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable

import uvicorn

from data_prep.base.errors import UserError
from pipeline.review.app import Access, create_app, is_loopback
from pipeline.review.session import Session

PORT = 8377
"""The port when none is named; a free one when this one is taken."""


class ServeError(UserError, OSError):
    """No port to listen on; the message says what to do."""


def serve(
    session: Session,
    *,
    host: str,
    port: int | None,
    token: str | None,
    open_browser: bool,
    say: Callable[[str], None],
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        session: What is reviewed.
        host: Address to listen on. Any but this machine's own gets a token.
        port: Port, 0 for a free one; `PORT` when None.
        token: What visitors must bring; made up where one is needed and none is given.
        open_browser: Open the page in a browser.
        say: Gets the lines for the reviewer.

    Raises:
        ServeError: The address can't be listened on.
    """
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(16)
    listener = open_port(host, port)
    address = name_address(host, listener.getsockname()[1], token)
    say(f"review: {address}  (Ctrl-C ends; all that is decided is saved)")
    if open_browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    # No access log: its lines would hold the token.
    config = uvicorn.Config(
        create_app(session, Access(host, token)),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        say("review: ended")


def open_port(host: str, port: int | None) -> socket.socket:
    """Listen on an address.

    Raises:
        ServeError: It can't be listened on.
    """
    for candidate in [PORT, 0] if port is None else [port]:
        try:
            family = socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, candidate), family=family, backlog=128)
        except (OSError, OverflowError) as error:
            fault = error
    raise ServeError(
        f"--host {host} --port {port}: can't be listened on ({fault}); choose another port, or "
        "leave the options out."
    ) from fault


def name_address(host: str, port: int, token: str | None) -> str:
    """The address to open, with the token.

    >>> name_address("127.0.0.1", 8377, None)
    'http://127.0.0.1:8377/'
    """
    name = _reachable_name() if host in ("0.0.0.0", "::") else host  # noqa: S104
    if ":" in name:
        name = f"[{name.strip('[]')}]"
    return f"http://{name}:{port}/" + ("" if token is None else f"?token={token}")


def _reachable_name() -> str:
    """This machine's address in its network: the one it would send from; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Kept for documentation, RFC 5737.
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
