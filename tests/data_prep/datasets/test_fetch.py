"""Fetching with the real kagglehub, from a server on this machine that answers its calls."""

import base64
import hashlib
import io
import json
import re
import sys
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from kagglesdk import kaggle_env as env

from data_prep.base.command import tell_missing
from data_prep.base.errors import DatasetError, UserError
from data_prep.base.files import OutputError, sha256_of
from data_prep.datasets import fetch as fetching
from data_prep.datasets.fetch import FetchOptions
from data_prep.prepare.build import build
from data_prep.prepare.options import BuildOptions
from tests.makers import make_dataset

NAME = "kaggle:someone/masks"

FILES = {"images/a.txt": b"photo" * 500_000, "annotations/a.xml": b"<annotation/>"}


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
        self.status, self.cut, self.ranges = 200, None, []
        self.about = {"title": "Masks", "currentVersionNumber": 3, "licenseName": "CC0-1.0"}
        self.serve(FILES)

    def serve(self, files):
        self.archive = pack(files)
        self.digest = hashlib.md5(self.archive).digest()
        self.about["totalBytes"] = len(self.archive)


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


@pytest.fixture
def fetch(server, tmp_path):
    """Fetch into `out`; gives the record and the lines for people."""

    def call(name=NAME, **options):
        lines = []
        options = FetchOptions(name, tmp_path / "out", **options)
        return fetching.fetch(options, lines.append), lines

    return call


def hashes(folder):
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "fetched.json"
    }


def cache(tmp_path, version=3):
    return tmp_path / "cache" / "datasets" / "someone" / "masks" / "versions" / str(version)


def assert_whole(folder):
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES


def test_without_the_library_the_message_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "kagglehub.clients", None)
    with pytest.raises(UserError, match=r'pip install "trimask\[kaggle\]"'), tell_missing():
        fetching.fetch(FetchOptions(NAME, tmp_path / "out"), str)


@pytest.mark.parametrize(
    "text", ["a/b", "kaggle:a", "kaggle:a/b/c", "kaggle:a/../b", "kaggle:a/b/versions/x", ""]
)
def test_other_texts_are_no_names(text):
    with pytest.raises(DatasetError, match="write kaggle:OWNER/NAME"):
        fetching.fetch(FetchOptions(text), str)


def test_licence_and_size_come_before_anything_is_fetched(fetch, server, tmp_path):
    record, lines = fetch(dry_run=True)
    assert record is None
    assert lines == [
        "dataset    Masks (kaggle:someone/masks/versions/3)",
        "licence    CC0-1.0",
        f"size       {len(server.archive) / 1e6:.1f} MB",
        f"goes to    {tmp_path / 'out'}",
    ]
    server.about["licenseName"] = ""
    assert fetch(f"{NAME}/versions/2", dry_run=True)[1][:3] == [
        "dataset    Masks (kaggle:someone/masks/versions/2)",
        "licence    not stated: ask its publisher before you use it",
        "size       not stated",
    ]
    server.about["totalBytes"] = 0
    assert fetch(dry_run=True)[1][2] == "size       not stated"
    assert server.ranges == []
    assert not (tmp_path / "out").exists()


def test_files_and_their_hashes_are_there_and_build_reads_them(fetch, server, tmp_path):
    root = make_dataset(tmp_path / "made")
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*.*")}
    server.serve(files)
    record, _ = fetch()
    out = tmp_path / "out"
    assert hashes(out) == hashes(root) == record["files"]
    assert json.loads((out / "fetched.json").read_text()) == record
    assert (record["source"], record["licence"]) == (f"{NAME}/versions/3", "CC0-1.0")
    built = build(BuildOptions(roots=[out], out=tmp_path / "prepared", workers=1))
    assert built.record["faces"] == 20


def test_what_is_whole_is_not_fetched_again_and_what_is_missing_is(fetch, tmp_path):
    fetch()
    assert fetch()[1][-1] == "nothing to do: all files are there, with their hashes"
    (tmp_path / "secret").write_text("secret")
    (cache(tmp_path) / "link.txt").symlink_to(tmp_path / "secret")
    (tmp_path / "out" / "images" / "a.txt").unlink()
    record, lines = fetch()
    assert lines[-1] == "fetched    2 files"
    assert "link.txt" not in record["files"]
    assert_whole(tmp_path / "out")


def test_a_newer_version_takes_the_place_of_an_older(fetch, server, tmp_path):
    fetch()
    with pytest.raises(OutputError, match="holds kaggle:someone/masks/versions/3; choose another"):
        fetch("kaggle:someone/others")
    assert_whole(tmp_path / "out")
    server.about["currentVersionNumber"] = 4
    server.serve({"images/b.txt": b"other"})
    assert fetch()[0]["source"] == f"{NAME}/versions/4"
    assert hashes(tmp_path / "out").keys() == {"images/b.txt"}
    path = tmp_path / "out" / "images" / "b.txt"
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"b\.txt: was changed after it was written"):
        fetch()
    assert path.read_text() == "mine"


def test_folders_of_others_are_left_alone(fetch, server, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "fetched.json").write_text('{"mine": 1}')
    with pytest.raises(OutputError, match=r"fetched\.json: was not written by this command"):
        fetch()
    assert (tmp_path / "out" / "fetched.json").read_text() == '{"mine": 1}'
    assert server.ranges == []


def test_damage_in_the_cache_is_not_taken_over(fetch, tmp_path):
    fetch()
    record = (tmp_path / "out" / "fetched.json").read_text()
    (tmp_path / "out" / "images" / "a.txt").unlink()
    (cache(tmp_path) / "images" / "a.txt").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match=r"a\.txt: is not what was fetched before.*remove"):
        fetch()
    assert not (tmp_path / "out" / "images" / "a.txt").exists()
    assert (tmp_path / "out" / "fetched.json").read_text() == record


def test_too_little_space_is_noticed_before(fetch, server, monkeypatch):
    server.about["totalBytes"] = 2_500_000
    usage = SimpleNamespace(free=1_000_000)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match="2 MB are to be fetched, 1 MB are free"):
        fetch()
    assert server.ranges == []


def test_full_disk_leaves_nothing_half_done(fetch, tmp_path, monkeypatch):
    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("data_prep.base.files.shutil.copyfileobj", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        fetch()
    assert not (tmp_path / "out").exists()


def test_stopped_download_goes_on_where_it_stopped_and_a_damaged_one_is_thrown_away(
    fetch, server, tmp_path
):
    server.cut = len(server.archive) // 2
    with pytest.raises(DatasetError, match="goes on where it stopped"):
        fetch()
    server.cut, server.ranges, server.digest = None, [], bytes(16)
    with pytest.raises(DatasetError, match="run it again; if that does not help"):
        fetch()
    assert any(asked and not asked.startswith("bytes=0-") for asked in server.ranges)
    assert not (tmp_path / "out").exists()
    server.digest = hashlib.md5(server.archive).digest()
    fetch()
    assert_whole(tmp_path / "out")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "kaggle:someone/masks: Kaggle .*asks who you are"),
        (403, "kaggle:someone/masks: Kaggle .*asks who you are"),
        (404, "kaggle:someone/masks: Kaggle .*no such dataset"),
        (500, "kaggle:someone/masks: Kaggle .*an error"),
        (200, "the dataset has no files"),
    ],
)
def test_errors_say_what_to_do(fetch, server, tmp_path, status, message):
    server.status = status
    server.serve({})
    with pytest.raises(DatasetError, match=message):
        fetch()
    assert not (tmp_path / "out").exists()


def test_unreachable(fetch, server):
    server.shutdown()
    server.server_close()
    with pytest.raises(DatasetError, match="can't be reached"):
        fetch()


def test_archive_does_not_write_outside(fetch, server, tmp_path):
    server.serve({**FILES, "../../../../../escaped.txt": b"x", "/abs.txt": b"x"})
    fetch()
    assert_whole(tmp_path / "out")
    inside = [tmp_path / "cache", tmp_path / "out"]
    for path in tmp_path.rglob("escaped.txt"):
        assert any(path.is_relative_to(folder) for folder in inside)
    assert not list(tmp_path.parent.glob("escaped.txt"))


def test_broken_credentials_are_explained(fetch, tmp_path, monkeypatch):
    (tmp_path / "kaggle.json").write_text("{}")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    with pytest.raises(DatasetError, match=r"kaggle\.json is missing"):
        fetch()


def test_command(run, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "licence    CC0-1.0" in run("fetch", NAME, "--dry-run").stdout
    assert not Path("masks").exists()
    assert run("fetch", NAME).exit_code == 0
    assert_whole(tmp_path / "masks")
    result = run("fetch", "someone/masks")
    assert result.exit_code == 2
    assert "write kaggle:OWNER/NAME" in result.stderr
