"""Who may come in, how much they may send, and how slowly."""

import asyncio
import json
import re
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import uvicorn

import trimask

pytest.importorskip("prometheus_client")
from fastapi.testclient import TestClient

from pipeline.review import guard
from pipeline.review.guard import Access, Guard, HastyProtocol
from pipeline.serve.api import create_app
from pipeline.serve.service import Service
from tests.pipeline.makers import assert_refused, call, save_photo, stand_ins

TOKEN = "a-token-of-its-own"
PREDICT = "/v1/predict"
FORM = {"files": [("file", b"no photo")]}


def guarded(**access):
    options = {"own_header": False, "open_path": "/healthz", "body": 5000} | access
    return Guard(create_app(Service(stand_ins())), Access(**options))


def visit(**access):
    return TestClient(guarded(**access), base_url="http://127.0.0.1:8378")


def test_programs_may_post_but_no_other_site():
    client = visit()
    assert client.post(PREDICT, **FORM).status_code == 422
    own = {"origin": "http://127.0.0.1:8378", "sec-fetch-site": "same-origin"}
    assert client.post(PREDICT, **FORM, headers=own).status_code == 422
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"host": "evil.example"},
    ):
        assert client.post(PREDICT, **FORM, headers=headers).status_code in (403, 421)


def test_a_token_comes_as_a_header_a_cookie_or_in_the_address():
    access = {"host": "0.0.0.0", "token": TOKEN, "names": ("masks.example.org",)}
    client = visit(**access)
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN[:-1]}):
        assert client.get("/v1/model", headers=headers).status_code == 403
    assert client.get("/healthz").status_code == 200
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert client.post(PREDICT, **FORM, headers=bearer).status_code == 422
    for host, status in (("masks.example.org", 200), ("10.0.0.7:80", 200), ("evil.example", 421)):
        headers = {"host": host, **bearer}
        assert client.get("/metrics", headers=headers).status_code == status
    assert client.get(f"/metrics?token={TOKEN}").status_code == 200
    assert client.get("/metrics").status_code == 200, "the cookie does"


def test_bodies_are_bounded():
    client = visit()
    parts = (b"x" * 1000 for _ in range(6))
    large = {"files": [("file", b"x" * 6000)]}
    refused = client.post(PREDICT, **large)
    assert (refused.status_code, refused.json()) == (413, {"detail": "5000 bytes are the most."})
    assert client.post(PREDICT, **large, headers={"accept": "text/html"}).text[:4] == "5000"
    kind = {"content-type": "application/json"}
    assert client.post(PREDICT, content=parts, headers=kind).status_code == 413


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--host", "0.0.0.0"), "TRIMASK_TOKEN"),
        (("--token", "short"), "8 or more"),
    ],
)
def test_refused(options, word, monkeypatch):
    monkeypatch.delenv("TRIMASK_TOKEN", raising=False)
    assert_refused(call("serve", *options), word)


@pytest.fixture
def address(monkeypatch):
    """A server that waits a second for nobody."""
    for name in ("HEAD_SECONDS", "BODY_WAIT"):
        monkeypatch.setattr(guard, name, 0.4)
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.8)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    config = uvicorn.Config(guarded(body=100_000), http=HastyProtocol, log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join()


def test_half_open_connections_are_served_around_and_closed(address):
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_connection(address)) for _ in range(300)]
        for one in sockets[::2]:
            one.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: 127")
        assert httpx.get("http://{}:{}/healthz".format(*address)).status_code == 200
        for one in sockets:
            one.settimeout(5)
            assert one.recv(100) == b""


def test_a_head_that_trickles_in_is_not_waited_for(address):
    began = time.monotonic()
    with socket.create_connection(address) as one, suppress(OSError):
        while time.monotonic() - began < 5:
            one.sendall(b"x")
            time.sleep(0.05)
    assert time.monotonic() - began < 3


def test_slow_bodies_are_not_waited_for(address):
    head = b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4000\r\n"
    head += b"Content-Type: application/json\r\n\r\n"
    for pause, times in ((1.0, 1), (0.2, 20)):
        began = time.monotonic()
        with socket.create_connection(address) as one:
            one.sendall(head)
            one.settimeout(pause)
            answer = b""
            for _ in range(times):
                one.sendall(b" ")
                try:
                    answer = one.recv(1000)
                    break
                except TimeoutError:
                    continue
        assert answer.startswith(b"HTTP/1.1 408")
        assert time.monotonic() - began < 3


def test_clients_of_the_docs(address, tmp_path, monkeypatch, capsys):
    """The ten lines of the README and the cell of the notebook, as they stand there."""
    root, url = Path(trimask.__file__).parent, "http://{}:{}".format(*address)
    monkeypatch.setattr(guard, "BODY_WAIT", 10)
    save_photo(tmp_path / "a.png")
    readme = (root / "pipeline/serve/README.md").read_text(encoding="utf-8")
    (client,) = re.findall("```python\n(.*?)```", readme, re.DOTALL)
    assert len(re.findall(r"(?m)^.+$", client)) <= 10
    monkeypatch.setattr(sys, "argv", ["client", str(tmp_path / "a.png")])
    exec(client.replace("http://127.0.0.1:8378", url), {})
    first, second = capsys.readouterr().out.splitlines()
    assert "with_mask" in first + second
    assert "without_mask" in first + second
    text = (root / "pipeline/training/notebooks/train.ipynb").read_text(encoding="utf-8")
    cells = ["".join(cell["source"]) for cell in json.loads(text)["cells"]]
    (cell,) = [source for source in cells if "/v1/predict" in source]
    names = {"service": url, "trimask": SimpleNamespace(EXAMPLE=tmp_path / "a.png")}
    exec(cell, names)
    assert {face["label"] for face in names["found"]} == {"with_mask", "without_mask"}


def test_a_request_without_a_path_needs_the_token():
    """`GET ?x` is one; clients of good manners can't send it."""
    scope = {"type": "http", "method": "GET", "path": "", "query_string": b"x"}
    scope["headers"] = [(b"host", b"127.0.0.1")]
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(Guard(guarded(), Access(token=TOKEN))(scope, asyncio.Queue().get, send))
    assert sent[0]["status"] == 403
