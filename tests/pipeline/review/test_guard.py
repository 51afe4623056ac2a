"""Who may talk to the page, and how many at a time."""

import socket
import threading
import time
from contextlib import ExitStack

import httpx
import pytest

from pipeline.review import command as reviewing
from pipeline.review.app import STATIC
from pipeline.review.command import ReviewOptions
from pipeline.review.guard import Access, is_loopback
from tests.pipeline.review.conftest import PAGE

TOKEN = "a-token-of-its-own"


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        (("127.0.0.1:8377", "localhost", "[::1]:8377"), 200),
        (("evil.example", "evil.example:8377", "127.0.0.1.evil.example"), 421),
        (("192.168.1.7:8377", ""), 421),
    ],
)
def test_only_the_own_name_is_answered(visit, hosts, status):
    client = visit().client
    for host in hosts:
        for path in ("/", "/api/face/0", "/picture/crop/0"):
            assert client.get(path, headers={"host": host}).status_code == status


def test_an_open_server_takes_addresses_but_no_strange_names(visit):
    page = visit(access=Access("0.0.0.0", TOKEN))
    page.client.cookies.set(Access("0.0.0.0", TOKEN).cookie, TOKEN)
    for host, status in (("192.168.1.7:8377", 200), ("evil.example", 421)):
        assert page.client.get("/", headers={"host": host}).status_code == status


def test_the_token_becomes_a_cookie(visit):
    client = visit(access=Access(token=TOKEN)).client
    for path in ("/", "/api/session", "/?token=wrong", "/?token="):
        assert client.get(path).status_code == 403
    assert client.get("/", headers={"cookie": "review-0=x; ="}).status_code == 403
    answer = client.get(f"/?token={TOKEN}")
    assert answer.status_code == 200
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=Strict" in answer.headers["set-cookie"]
    assert client.get("/api/session").status_code == 200
    assert "set-cookie" not in client.get("/api/session").headers
    for value in ("wrong", "", TOKEN[:-1], TOKEN + "x"):
        other = visit(access=Access(token=TOKEN)).client
        other.cookies.set(Access(token=TOKEN).cookie, value)
        assert other.get("/picture/crop/0").status_code == 403
    assert not Access(token=TOKEN).allows_token("ä")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-review": "1", "origin": "http://evil.example"},
        {"x-review": "1", "origin": "http://127.0.0.1:9999"},
        {"x-review": "1", "origin": "null"},
        {"x-review": "1", "sec-fetch-site": "cross-site"},
        {"x-review": "1", "sec-fetch-site": "same-site"},
        {"origin": PAGE, "sec-fetch-site": "same-origin"},
    ],
)
def test_another_sites_page_can_not_decide(visit, ledger, headers):
    page = visit()
    body = {"edition": page.edition, "position": 0, "version": 0, "action": "drop"}
    for path, data in (("/api/decide", body), ("/api/undo", {"edition": page.edition})):
        assert page.client.post(path, json=data, headers=headers).status_code == 403
    assert not ledger.exists()
    own = {"x-review": "1", "origin": PAGE, "sec-fetch-site": "same-origin"}
    assert page.client.post("/api/decide", json=body, headers=own).status_code == 200


def test_answers_are_hedged(visit):
    client = visit().client
    for answer in (client.get("/"), client.get("/picture/crop/0"), client.get("/nothing")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert client.get("/api/face/0").headers["cache-control"] == "no-store"


def test_the_page_asks_no_other_host():
    for file in STATIC.iterdir():
        text = file.read_text(encoding="utf-8")
        assert "//" not in text.replace("// ", "") or "http" not in text, file
        assert "style=" not in text, "the policy forbids it"


def test_loopback():
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.7", "example.org")))


@pytest.fixture
def review(start, found, monkeypatch):
    """The command's own server in a thread; its port, and the session's edition."""
    servers, ports, session = [], [], start()

    class Noted(reviewing.uvicorn.Server):
        def run(self, sockets):
            servers.append(self)
            ports.append(sockets[0].getsockname()[1])
            super().run(sockets)

    monkeypatch.setattr(reviewing.uvicorn, "Server", Noted)
    options = ReviewOptions(found, port=0, no_open=True)
    thread = threading.Thread(target=reviewing.serve, args=(session, options))
    thread.start()
    while not (servers and servers[0].started):
        time.sleep(0.01)
    yield ports[0], session.edition
    servers[0].should_exit = True
    thread.join()


def test_600_half_open_requests_are_served_around(review, ledger):
    files = pytest.importorskip("resource")
    soft, hard = files.getrlimit(files.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip("too few files may be open here")
    files.setrlimit(files.RLIMIT_NOFILE, (max(soft, 2000), hard))
    port, edition = review
    head = f"POST /api/decide HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Review: 1\r\n"
    starts = (b"", b"GET / HT", f"{head}Content-Length: 99\r\n\r\n{{".encode())
    page = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"x-review": "1"}, timeout=20)
    with ExitStack() as opened:
        for number in range(600):
            one = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
            one.sendall(starts[number % 3])
        began = time.monotonic()
        assert page.get("/").status_code == page.get("/picture/crop/0").status_code == 200
        choice = {"edition": edition, "position": 0, "version": 0, "action": "drop"}
        assert page.post("/api/decide", json=choice).status_code == 200
        assert time.monotonic() - began < 5
        assert len(ledger.read_text().splitlines()) == 1


def test_large_bodies_strange_names_and_other_addresses_are_refused(review, ledger):
    port, edition = review
    page, own = f"http://127.0.0.1:{port}", {"x-review": "1"}
    sent = iter([b" " * 60_000] * 2)
    assert httpx.post(f"{page}/api/undo", content=b" " * 100_001, headers=own).status_code == 413
    assert httpx.post(f"{page}/api/undo", content=sent, headers=own).status_code == 413
    undo = {"edition": edition}
    for headers, status in (
        ({**own, "host": "evil.example"}, 421),
        ({**own, "origin": "http://evil.example"}, 403),
        ({}, 403),
    ):
        answer = httpx.post(f"{page}/api/undo", json=undo, headers=headers)
        assert answer.status_code == status
    others = {"127.0.0.2", *socket.gethostbyname_ex(socket.gethostname())[2]} - {"127.0.0.1"}
    for host in others:
        with pytest.raises(OSError, match=r".*"):
            socket.create_connection((host, port), timeout=2).close()
    assert not ledger.exists()
