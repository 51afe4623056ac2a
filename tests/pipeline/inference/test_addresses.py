"""What is asked at addresses, of whom, and for how long."""

import socket
import time

import pytest

from data_prep.base.photo import PhotoError
from pipeline.inference import addresses
from pipeline.inference.addresses import fetch, hide_password

PUBLIC = "93.184.216.34"


@pytest.fixture
def site(serve):
    """A server on this machine; a path that is an address redirects there. Notes what is asked."""
    asked = []

    def answer(request):
        asked.append(request.path)
        where = request.path[1:]
        if where == "trickles":
            for _ in range(100):
                request.wfile.write(b"H")
                time.sleep(0.05)
        request.send_response(302 if ":" in where else 200)
        request.send_header("Location", where)
        request.end_headers()
        request.wfile.write(b"here")

    return serve(answer), asked


@pytest.fixture
def names(monkeypatch):
    """Names that are known beside those of the system; the public host is the site in truth."""
    known = {"public.example": PUBLIC, "inner.example": "10.1.2.3", "self.example": "127.0.0.1"}
    look_up, connect = socket.getaddrinfo, socket.create_connection
    monkeypatch.setattr(socket, "getaddrinfo", lambda h, *a, **k: look_up(known.get(h, h), *a, **k))

    def join(address, *rest):
        host = "127.0.0.1" if address[0] == PUBLIC else address[0]
        return connect((host, address[1]), *rest)

    monkeypatch.setattr(socket, "create_connection", join)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"),
        *("self.example", "inner.example", "192.168.0.1", "169.254.169.254", "100.64.0.1"),
        *("0.0.0.0", "[fe80::1]", "[fd00::1]", "224.0.0.1"),
    ],
)
def test_hosts_that_are_not_public_are_not_asked(site, names, host):
    address, asked = site
    port = address.rpartition(":")[2]
    for place in (f"http://{host}:{port}/a", f"https://me:pw@{host}:{port}/a"):
        with pytest.raises(PhotoError, match="is no public host, and is not asked here"):
            fetch(place, public=True)
    assert asked == []


def test_a_public_host_is_asked_but_leads_to_no_other(site, names, monkeypatch):
    address, asked = site
    port = address.rpartition(":")[2]
    public = f"http://public.example:{port}"
    assert fetch(f"{public}/a", public=True) == b"here"
    assert fetch(f"{public}/{public}/b", public=True) == b"here"
    for there in (f"{address}/c", f"http://self.example:{port}/c", "ftp://x/c", "file:///etc/c"):
        with pytest.raises(PhotoError, match="can't be fetched"):
            fetch(f"{public}/{there}", public=True)
    assert not any(path == "/c" for path in asked)
    assert fetch(f"{address}/{address}/e") == b"here"  # Where it is allowed, it is asked.
    monkeypatch.setenv("http_proxy", address)
    assert fetch(f"{public}/d", public=True) == b"here"
    assert asked[-1] == "/d"  # Not the whole address, as a proxy is asked.


def test_a_head_that_trickles_in_is_not_waited_for(site, monkeypatch):
    monkeypatch.setattr(addresses, "MOST_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(PhotoError, match="can't be fetched"):
        fetch(f"{site[0]}/trickles")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("path", ["a b/é.jpg?ö=%20", "a%20b/%C3%A9.jpg?%C3%B6=%20"])
def test_an_address_may_be_as_a_browser_shows_it(site, path):
    address, asked = site
    assert fetch(f"{address}/{path}") == b"here"
    assert asked == ["/a%20b/%C3%A9.jpg?%C3%B6=%20"]


def test_a_password_is_hidden_whatever_is_in_it():
    assert hide_password("rtsp://me:p@ss@host/a@b") == "rtsp://host/a@b"
    assert hide_password("http://host?to=a@b") == "http://host?to=a@b"
