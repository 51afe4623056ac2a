"""Fetching from a folder that stands for the remote side."""

import json
import shutil
from collections import namedtuple

import pytest
from typer.testing import CliRunner

from data_prep.base.files import OutputError, sha256_of
from data_prep.cli import app
from data_prep.datasets import fetch as fetching
from data_prep.datasets import fetch as kaggle
from data_prep.datasets.fetch import About, DatasetName, FetchError, fetch
from data_prep.prepare.build import BuildOptions, build
from tests.makers import make_photo, make_voc

NAME = DatasetName("someone", "masks")
ABOUT = About("kaggle:someone/masks/versions/3", "Masks", "CC0-1.0", 2_500_000)


class Folder:
    """A remote side whose download is a folder; counts the downloads."""

    def __init__(self, path, about=ABOUT):
        self.path, self.about, self.downloads = path, about, 0

    def describe(self, name):
        assert name == NAME
        return self.about

    def download(self, about):
        assert about == self.about
        self.downloads += 1
        return self.path


@pytest.fixture
def remote(tmp_path):
    folder = tmp_path / "cache"
    for index in range(12):
        make_photo(folder / "images" / f"{index}.png", 120, 90, seed=index)
        faces = (("with_mask", (20, 15, 60, 55)), ("without_mask", (80, 30, 100, 60)))
        make_voc(folder / "annotations" / f"{index}.xml", f"{index}.png", faces)
    return Folder(folder)


def hashes(folder):
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "fetched.json"
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kaggle:andrewmvd/face-mask-detection", ("andrewmvd", "face-mask-detection", None)),
        ("kaggle:a/b_c/versions/12", ("a", "b_c", 12)),
    ],
)
def test_names(text, expected):
    assert DatasetName.parse(text) == DatasetName(*expected)


@pytest.mark.parametrize(
    "text", ["a/b", "kaggle:a", "kaggle:a/b/c", "kaggle:a/../b", "kaggle:a/b/versions/x", ""]
)
def test_other_texts_are_no_names(text):
    with pytest.raises(FetchError, match="write kaggle:OWNER/NAME"):
        DatasetName.parse(text)


def test_licence_and_size_are_told_before_anything_is_fetched(remote, tmp_path):
    told = []
    assert fetch(NAME, tmp_path / "out", remote, say=told.append, dry_run=True) is None
    assert told == [
        "dataset    Masks (kaggle:someone/masks/versions/3)",
        "licence    CC0-1.0",
        "size       2.5 MB",
        f"goes to    {tmp_path / 'out'}",
    ]
    assert remote.downloads == 0
    assert not (tmp_path / "out").exists()
    remote.about = About(ABOUT.source, "Masks", "", None)
    fetch(NAME, tmp_path / "out", remote, say=told.append, dry_run=True)
    assert told[5:7] == [
        "licence    not stated: ask its publisher before you use it",
        "size       not stated",
    ]


def test_files_and_their_hashes_are_there_and_build_reads_them(remote, tmp_path):
    before = hashes(remote.path)
    record = fetch(NAME, tmp_path / "out", remote, say=lambda _: None)
    assert hashes(tmp_path / "out") == before == record["files"]
    written = json.loads((tmp_path / "out" / "fetched.json").read_text())
    assert written == record
    assert (written["source"], written["licence"]) == (ABOUT.source, "CC0-1.0")
    built = build([tmp_path / "out"], tmp_path / "prepared", BuildOptions(), workers=1)
    assert built.manifest["faces"] == 24
    assert hashes(remote.path) == before


def test_what_is_whole_is_not_fetched_again_and_what_is_missing_is(remote, tmp_path):
    out, told = tmp_path / "out", []
    fetch(NAME, out, remote, say=told.append)
    fetch(NAME, out, remote, say=told.append)
    assert remote.downloads == 1
    assert told[-1] == "nothing to do: all files are there, with their hashes"
    (out / "images" / "3.png").unlink()
    fetch(NAME, out, remote, say=told.append)
    assert remote.downloads == 2
    assert hashes(out) == hashes(remote.path)


def test_changed_files_are_not_overwritten(remote, tmp_path):
    out = tmp_path / "out"
    fetch(NAME, out, remote, say=lambda _: None)
    (out / "annotations" / "3.xml").write_text("mine")
    with pytest.raises(OutputError, match=r"3\.xml: was changed after it was written"):
        fetch(NAME, out, remote, say=lambda _: None)
    assert (out / "annotations" / "3.xml").read_text() == "mine"


def test_a_newer_version_takes_the_place_of_an_older(remote, tmp_path):
    out = tmp_path / "out"
    fetch(NAME, out, remote, say=lambda _: None)
    remote.about = About("kaggle:someone/masks/versions/4", "Masks", "CC0-1.0", 1)
    (remote.path / "images" / "0.png").unlink()
    fetch(NAME, out, remote, say=lambda _: None)
    assert not (out / "images" / "0.png").exists()
    assert json.loads((out / "fetched.json").read_text())["source"].endswith("/4")


def test_folders_of_others_are_left_alone(remote, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other files"):
        fetch(NAME, tmp_path / "out", remote, say=lambda _: None)
    assert remote.downloads == 0


@pytest.mark.parametrize("text", ['{"mine": 1}', "mine"])
def test_a_record_of_others_is_left_alone(remote, tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "fetched.json").write_text(text)
    with pytest.raises(OutputError, match=r"fetched\.json: was not written by this command"):
        fetch(NAME, tmp_path / "out", remote, say=lambda _: None)
    assert (tmp_path / "out" / "fetched.json").read_text() == text


def test_another_dataset_does_not_take_the_place_of_one(remote, tmp_path):
    out = tmp_path / "out"
    fetch(NAME, out, remote, say=lambda _: None)
    before = hashes(out)
    with pytest.raises(OutputError, match="holds kaggle:someone/masks/versions/3; choose another"):
        fetch(DatasetName("someone", "others"), out, remote, say=lambda _: None)
    assert hashes(out) == before


def test_damage_where_files_are_kept_is_not_taken_over(remote, tmp_path):
    out = tmp_path / "out"
    fetch(NAME, out, remote, say=lambda _: None)
    record = (out / "fetched.json").read_text()
    (out / "images" / "3.png").unlink()
    (remote.path / "images" / "3.png").write_bytes(b"damaged")
    with pytest.raises(FetchError, match=r"3\.png: is not what was fetched before.*remove"):
        fetch(NAME, out, remote, say=lambda _: None)
    assert not (out / "images" / "3.png").exists()
    assert (out / "fetched.json").read_text() == record


def test_links_are_not_followed(remote, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (remote.path / "link.txt").symlink_to(tmp_path / "secret")
    record = fetch(NAME, tmp_path / "out", remote, say=lambda _: None)
    assert "link.txt" not in record["files"]
    assert not (tmp_path / "out" / "link.txt").exists()


def test_nothing_to_fetch(remote, tmp_path):
    shutil.rmtree(remote.path)
    remote.path.mkdir()
    with pytest.raises(FetchError, match="the dataset has no files"):
        fetch(NAME, tmp_path / "out", remote, say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_too_little_space_is_told_before(remote, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage(9, 8, 1_000_000))
    with pytest.raises(OutputError, match="2 MB are to be fetched, 1 MB are free"):
        fetch(NAME, tmp_path / "out", remote, say=lambda _: None)
    assert remote.downloads == 0


def test_full_disk_leaves_nothing_half_done(remote, tmp_path, monkeypatch):
    def fail(source, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(fetching.shutil, "copyfile", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        fetch(NAME, tmp_path / "out", remote, say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_command(remote, tmp_path, monkeypatch):
    monkeypatch.setattr(kaggle, "Kaggle", lambda: remote)
    args = ["fetch", "kaggle:someone/masks", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*args, "--dry-run"])
    assert result.exit_code == 0
    assert "licence    CC0-1.0" in result.output
    assert CliRunner().invoke(app, args).exit_code == 0
    assert (tmp_path / "out" / "fetched.json").is_file()
    result = CliRunner().invoke(app, ["fetch", "someone/masks"])
    assert result.exit_code == 2
    assert "write kaggle:OWNER/NAME" in result.output
