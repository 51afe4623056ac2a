"""Kaggle's library against a server on this machine that speaks the two calls it needs."""

import base64
import hashlib
import io
import json
import re
import sys
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from kagglesdk import kaggle_env as env

from data_prep.datasets.fetch import DatasetName, FetchError, Kaggle, fetch

NAME = DatasetName("someone", "masks")
FILES = {"images/a.txt": b"photo" * 900_000, "annotations/a.xml": b"<annotation/>"}


def test_without_the_library_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(FetchError, match="not installed; get it with: pip install kagglehub"):
        Kaggle()


def pack(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


class Server(ThreadingHTTPServer):
    """What is served, and what was asked for."""

    def __init__(self):
        super().__init__(("localhost", 0), Handler)
        self.archive = pack(FILES)
        self.digest = hashlib.md5(self.archive).digest()
        self.status, self.cut, self.ranges = 200, None, []
        self.about = {
            "title": "Masks",
            "currentVersionNumber": 3,
            "licenseName": "CC0-1.0",
            "totalBytes": len(self.archive),
        }


class Handler(BaseHTTPRequestHandler):
    """GetDataset, and DownloadDataset, which sends on to the archive."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.status != 200:
            return self._answer(self.server.status, b"{}")
        if self.path.endswith("/GetDataset"):
            return self._answer(200, json.dumps(self.server.about).encode())
        self.send_response(302)
        self.send_header("Location", "/archive.zip")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def do_GET(self):
        data, status = self.server.archive, 200
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if asked:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            data, status = data[start:], 206
        self.send_response(status)
        self.send_header("Content-Type", "application/zip")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        digest = base64.b64encode(self.server.digest).decode()
        self.send_header("x-goog-hash", f"crc32c=AAAAAA==,md5={digest}")
        self.end_headers()
        self.wfile.write(data[: self.server.cut])
        if self.server.cut is not None:
            self.close_connection = True

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(tmp_path, monkeypatch):
    with Server() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://localhost:{server.server_port}"
        monkeypatch.setitem(env._env_to_endpoint, env.KaggleEnv.LOCAL, address)
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
        monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "none"))
        yield server
        server.shutdown()


def run(tmp_path, name=NAME):
    told = []
    fetch(name, tmp_path / "out", Kaggle(), say=told.append)
    return told


def assert_whole(folder):
    for name, content in FILES.items():
        assert (folder / name).read_bytes() == content


def test_licence_and_size_first_then_all_files(server, tmp_path):
    told = run(tmp_path)
    assert told[:3] == [
        "dataset    Masks (kaggle:someone/masks/versions/3)",
        "licence    CC0-1.0",
        f"size       {len(server.archive) / 1e6:.1f} MB",
    ]
    assert_whole(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file()) == [
        "a.txt", "a.xml", "fetched.json",
    ]  # fmt: skip


def test_stopped_download_goes_on_where_it_stopped(server, tmp_path):
    server.cut = len(server.archive) // 2
    with pytest.raises(FetchError, match="goes on where it stopped"):
        run(tmp_path)
    assert not (tmp_path / "out").exists()
    server.cut, server.ranges = None, []
    run(tmp_path)
    assert_whole(tmp_path / "out")
    assert any(asked and not asked.startswith("bytes=0-") for asked in server.ranges)


def test_damaged_download_is_thrown_away(server, tmp_path):
    server.digest = bytes(16)
    with pytest.raises(FetchError, match="damaged; run it again"):
        run(tmp_path)
    assert not (tmp_path / "out").exists()
    server.digest = hashlib.md5(server.archive).digest()
    run(tmp_path)
    assert_whole(tmp_path / "out")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "asks who you are"),
        (403, "asks who you are"),
        (404, "no such dataset"),
        (500, "an error"),
    ],
)
def test_errors_say_what_to_do(server, tmp_path, status, message):
    server.status = status
    with pytest.raises(FetchError, match=f"kaggle:someone/masks: Kaggle .*{message}"):
        run(tmp_path)
    assert not (tmp_path / "out").exists()


def test_unreachable(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(FetchError, match="can't be reached"):
        run(tmp_path)


def test_older_version_has_no_size(server, tmp_path):
    told = run(tmp_path, DatasetName("someone", "masks", 2))
    assert told[0] == "dataset    Masks (kaggle:someone/masks/versions/2)"
    assert told[2] == "size       not stated"


def test_archive_does_not_write_outside(server, tmp_path):
    server.archive = pack({**FILES, "../../../../../escaped.txt": b"x", "/abs.txt": b"x"})
    server.digest = hashlib.md5(server.archive).digest()
    run(tmp_path)
    assert_whole(tmp_path / "out")
    outside = list(tmp_path.rglob("escaped.txt"))
    inside = [tmp_path / "cache", tmp_path / "out"]
    assert all(any(p.is_relative_to(folder) for folder in inside) for p in outside)
    assert not list(tmp_path.parent.glob("escaped.txt"))


def test_broken_credentials_are_explained(server, tmp_path, monkeypatch):
    (tmp_path / "kaggle.json").write_text("{}")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    with pytest.raises(FetchError, match=r"kaggle\.json is missing"):
        run(tmp_path)
