"""What lies at addresses, asked for within bounds; a password goes to the host it was given for."""

import ipaddress
import os
import re
import socket
import string
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException
from pathlib import Path, PurePosixPath
from threading import Timer
from typing import Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit

from data_prep.base.photo import PhotoError

ADDRESSES = ("http://", "https://")
BUCKETS = ("s3://", "gs://")  # Of object stores.
MOST_BYTES = 50_000_000
WAIT, MOST_SECONDS = 10, 60  # Of what is fetched: seconds without an answer, and in all.
FAULTS = (OSError, HTTPException, ValueError)
"""What asking an address raises."""


class _Handler(request.HTTPHandler, request.HTTPSHandler):
    """Bounds the seconds that a server's head takes; connects to public hosts alone if asked to."""

    public = False

    def do_open(self, kind: Any, req: request.Request, **options: Any) -> Any:  # type: ignore[override]
        connections = []

        def make(*args: Any, **more: Any) -> HTTPConnection:
            connections.append(connection := kind(*args, **more))
            if self.public:
                connection._create_connection = _connect_public
            return connection

        timer = Timer(MOST_SECONDS, lambda: connections[0].sock.shutdown(socket.SHUT_RDWR))
        timer.daemon = True
        timer.start()
        try:
            return super().do_open(make, req, **options)
        finally:
            timer.cancel()


def _connect_public(address: tuple[str, int], timeout: float, *_: Any) -> socket.socket:
    """A connection to a host, unless it is this machine or of a private network."""
    found = {str(one[4][0]): None for one in socket.getaddrinfo(*address, type=socket.SOCK_STREAM)}
    for ip in map(ipaddress.ip_address, found):
        if not ip.is_global or ip.is_multicast:
            raise PermissionError(f"{address[0]} is no public host, and is not asked here")
    for host in found:
        with suppress(OSError):
            return socket.create_connection((host, address[1]), timeout)
    raise ConnectionRefusedError


def ask(address: str, data: bytes | None = None, *, public: bool = False) -> Any:
    """The open answer of an http address, to which data are posted, as JSON, if there are any.

    With `public` no host of a private network is connected to, wherever a name or a redirect
    leads, and no proxy is asked. Raises what `FAULTS` lists.
    """
    parts, shown = urlsplit(address), quote_address(hide_password(address))
    keys = request.HTTPPasswordMgrWithDefaultRealm()
    if parts.username is not None:
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"
        keys.add_password(None, place, unquote(parts.username), unquote(parts.password or ""))
    opener, http = request.OpenerDirector(), _Handler()  # urllib's own follows to ftp, too.
    http.public = public
    for handler in (
        *(http, request.ProxyHandler({} if public else None), request.UnknownHandler()),
        *(request.HTTPDigestAuthHandler(keys), request.HTTPBasicAuthHandler(keys)),
        *(request.HTTPDefaultErrorHandler(), request.HTTPErrorProcessor()),
        request.HTTPRedirectHandler(),
    ):
        opener.add_handler(handler)
    headers = {"User-Agent": "trimask", **({"Content-Type": "application/json"} if data else {})}
    return opener.open(request.Request(shown, data, headers), timeout=WAIT)  # noqa: S310


def quote_address(address: str) -> str:
    """An address, as a browser shows it, as it is sent.

    >>> quote_address("http://host/a b/é.jpg?b=%20#x")
    'http://host/a%20b/%C3%A9.jpg?b=%20#x'
    """
    return quote(os.fsencode(address), safe=string.punctuation)


def explain(error: Exception) -> str:
    """Why an address can't be had, in a few words."""
    if isinstance(error, HTTPError):
        return f"the server answers {error.code} {error.reason}".rstrip()
    cause = error.reason if isinstance(error, URLError) else error
    return hide_password(getattr(cause, "strerror", None) or str(cause))


def fetch(address: str, *, public: bool = False) -> bytes:
    """What lies at an address, `MOST_BYTES` at most, within `MOST_SECONDS`; see `ask`.
    Raises `PhotoError`: it can't be had, or is larger, or takes longer.
    """
    ends, shown = time.monotonic() + MOST_SECONDS, hide_password(address)
    data = bytearray()
    try:
        with ask(address, public=public) as answer:
            while part := answer.read1(1 << 16):
                data += part
                if len(data) > MOST_BYTES:
                    raise OSError(f"larger than {MOST_BYTES // 10**6} MB")
                if time.monotonic() > ends:
                    raise OSError(f"not there after {MOST_SECONDS} s")
    except FAULTS as error:
        raise PhotoError(f"{shown}: can't be fetched ({explain(error)}).") from error
    return bytes(data)


def ask_head(address: str) -> dict[str, str]:
    """The head of what lies at an address, by names in lower case; none if it can't be had."""
    try:
        with ask(address) as answer:
            return {name.lower(): value for name, value in answer.headers.items()}
    except FAULTS:
        return {}


def hide_password(address: str) -> str:
    """An address as it may be shown."""
    return re.sub(r"//[^/?#\s]*@", "//", address)


@dataclass(frozen=True)
class BucketFile:
    """A file in an object store, as it was when it was listed."""

    bucket: str  # The address that it was found by.
    path: str  # Bucket and key.
    stamp: tuple[int, int]  # Bytes, and time of change (ns).

    def __str__(self) -> str:
        return self.bucket[: len(BUCKETS[0])] + self.path

    def fetch(self, folder: Path) -> Path:
        """A copy of it in a folder; raises OSError."""
        copy = folder / PurePosixPath(self.path).name
        with _open_bucket(self.bucket)[0].open_input_file(self.path) as file:
            copy.write_bytes(file.read())
        return copy


def list_bucket(address: str) -> tuple[Path, dict[str, BucketFile]]:
    """Where the files at an address of an object store lie, and they by their names below it.

    Credentials, region and endpoint are those of the environment (`AWS_…`, `GOOGLE_…`), or of the
    address (`?region=…&endpoint_override=…`): https://arrow.apache.org/docs/python/filesystems.html
    Raises `PhotoError`: pyarrow is not installed, or nothing can be listed there.
    """
    try:
        from pyarrow.fs import FileSelector

        store, path = _open_bucket(address)
        there = store.get_file_info(path)
        within = FileSelector(path, recursive=True)
        found = [there] if there.is_file else store.get_file_info(within)
    except ImportError as error:
        raise PhotoError(f"{address}: needs pyarrow; pip install 'trimask[ray]'.") from error
    except (OSError, ValueError) as error:
        raise PhotoError(f"{address}: can't be listed ({error}).") from error
    root = path.rpartition("/")[0] if there.is_file else path
    stamps = {one.path: (one.size, one.mtime_ns or 0) for one in found if one.is_file}
    files = {name[len(root) + 1 :]: BucketFile(address, name, stamps[name]) for name in stamps}
    return Path(root), files


@cache  # It takes long.
def _open_bucket(address: str) -> tuple[Any, str]:
    from pyarrow.fs import FileSystem

    store, path = FileSystem.from_uri(address)
    return store, path.rstrip("/")
