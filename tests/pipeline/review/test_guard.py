"""Who may talk to the page."""

import pytest

from pipeline.review.app import STATIC
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
