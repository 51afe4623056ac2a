"""A suspects folder, sessions on it, and browsers without a window."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from pipeline.review.app import create_app
from pipeline.review.guard import Access
from pipeline.review.session import Session, Way
from pipeline.review.suspects import open_suspects
from tests.pipeline.review.makers import make_suspects

PAGE = "http://127.0.0.1:8377"


@pytest.fixture(scope="session")
def found(tmp_path_factory) -> Path:
    """Twelve suspects of four painted photos. Nothing may be written in there."""
    return make_suspects(tmp_path_factory.mktemp("suspects"))


@pytest.fixture
def ledger(tmp_path) -> Path:
    return tmp_path / "decisions.jsonl"


@pytest.fixture
def start(found, ledger):
    """Starts a session on the same ledger."""

    def make(by="ada", folder=found, **way) -> Session:
        return Session(open_suspects(folder), ledger, Way(by, **way))

    return make


@pytest.fixture
def visit(start):
    """Starts a session and the page's server, as one client sees it."""

    def make(by="ada", access=None, **options) -> "Page":
        return Page(start(by, **options), access)

    return make


class Page:
    """What the page does, without a browser."""

    def __init__(self, session: Session, access: Access | None = None) -> None:
        self.session = session
        self.client = TestClient(create_app(session, access or Access()), base_url=PAGE)
        self.edition = session.edition

    def get(self, path, status=200):
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.json()

    def face(self, position):
        return self.get(f"/api/face/{position}")

    def decide(self, position, action, *, to=None, to_box=None, version=None, status=200):
        seen = self.face(position)["version"] if version is None else version
        body = {"edition": self.edition, "position": position, "version": seen, "action": action}
        return self.post("/api/decide", body | {"to": to, "to_box": to_box}, status)

    def undo(self, status=200):
        return self.post("/api/undo", {"edition": self.edition}, status)

    def post(self, path, body, status=200):
        answer = self.client.post(path, json=body, headers={"x-review": "1"})
        assert answer.status_code == status, answer.text
        return answer.json()

    @property
    def starts_at(self):
        ahead = self.get("/api/session")["ahead"]
        return ahead[0] if ahead else None
