"""Which photos an argument stands for, and which files are passed over."""

import os
import time
from pathlib import Path
from threading import Event
from threading import enumerate as enumerate_threads

import numpy as np
import pytest

from pipeline.inference import sinks, sources
from pipeline.inference.records import Clock, Frame
from pipeline.inference.sources import PhotosError, PhotoSet, find_photos, list_lines, list_photos


@pytest.fixture
def folder(tmp_path):
    """A folder as users have them."""
    names = ["b.jpg", "a.PNG", "trip/c.jpeg", "trip/day 1/d.webp", "notes.txt", "song.mp3"]
    for name in [*names, ".hidden.jpg", ".cache/e.jpg", "trip/.thumbs/f.jpg"]:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    (tmp_path / "in" / "dead.jpg").symlink_to(tmp_path / "gone.jpg")
    return tmp_path / "in"


def find(photos, out="out"):
    return find_photos(str(photos), leave_out=out if not isinstance(out, str) else photos / out)


def test_folder_is_walked(folder, tmp_path):
    (folder / "link").symlink_to(tmp_path)
    assert find(folder, tmp_path / "out") == PhotoSet(
        folder,
        ("a.PNG", "b.jpg", "trip/c.jpeg", "trip/day 1/d.webp"),
        (
            (".cache/", "hidden"),
            (".hidden.jpg", "hidden"),
            ("dead.jpg", "no file"),
            ("link/", "a link to a folder"),
            ("notes.txt", "ending .txt"),
            ("song.mp3", "ending .mp3"),
            ("trip/.thumbs/", "hidden"),
        ),
    )


def test_folder_that_cannot_be_read_is_named(folder, tmp_path, monkeypatch):
    """Root may read all, so the system's answer is played."""
    real = os.scandir

    def scan(path):
        if Path(path).name == "day 1":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scan)
    found = find(folder, tmp_path / "out")
    assert "trip/day 1/d.webp" not in found.images
    assert ("trip/day 1/", "can't be read (Permission denied)") in found.passed_over


@pytest.mark.parametrize(
    ("pattern", "root", "images"),
    [
        ("*.jpg", "", ("b.jpg",)),
        ("*", "", ("a.PNG", "b.jpg")),
        ("trip/*.jpeg", "trip", ("c.jpeg",)),
        ("**/*.webp", "", ("trip/day 1/d.webp",)),
        ("trip/**", "trip", ("c.jpeg", "day 1/d.webp")),
        ("tr?p/*", "", ("trip/c.jpeg",)),
        ("[ab].*", "", ("a.PNG", "b.jpg")),
        ("b.jpg", "", ("b.jpg",)),
        ("song.mp3", "", ("song.mp3",)),
    ],
)
def test_globs_and_names_relative_to_here_too(folder, tmp_path, monkeypatch, pattern, root, images):
    monkeypatch.chdir(folder)
    for start in (f"{folder}/", ""):
        found = find_photos(start + pattern, leave_out=tmp_path / "out")
        assert (found.root.resolve(), found.images) == ((folder / root).resolve(), images)


@pytest.mark.parametrize("name", ["a[1].jpg", "what?.jpg", "star*.jpg", "[2024]/a.jpg"])
def test_what_exists_under_the_very_name_is_no_glob(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    folder, _, photo = name.rpartition("/")
    assert find(tmp_path / (folder or name), tmp_path / "out").images == (photo,)


def test_drawn_photos_are_left_out_however_the_output_is_spelt(folder, monkeypatch):
    for name in ("out/annotated/b.jpg", "out/predictions.csv", "out/own.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder.parent / "link").symlink_to(folder / "out")
    monkeypatch.chdir(folder / "trip")
    for photos, out in ((folder, folder.parent / "link"), ("..", folder / "trip" / ".." / "out")):
        found = find_photos(str(photos), leave_out=out)
        images = found.images
        assert images == ("a.PNG", "b.jpg", "out/own.jpg", "trip/c.jpeg", "trip/day 1/d.webp")
        assert not [name for name, _ in found.passed_over if name.startswith("out")]


@pytest.mark.parametrize("what", ["", "b.jpg", "*.jpg"])
def test_working_on_the_drawn_photos_is_refused(folder, what):
    drawn = folder / "out" / "annotated"
    drawn.mkdir(parents=True)
    (drawn / "b.jpg").write_bytes(b"x")
    with pytest.raises(PhotosError, match="where results go; choose another -o"):
        find_photos(str(drawn / what), leave_out=folder / "out")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none", "no such file"), ("a\0b", "no such file"), ("x" * 300, "File name too long")],
)
def test_missing(tmp_path, name, reason):
    with pytest.raises(PhotosError, match=reason):
        find(tmp_path / name, tmp_path / "out")


def test_read_ahead_is_bounded_by_pixels_where_sizes_are_not_known_before(monkeypatch):
    done = []

    def decode(item, name, index, **_):
        done.append(index)
        return Frame(name, index, item)

    monkeypatch.setattr(sources, "decode_item", decode)
    monkeypatch.setattr(sources, "AHEAD_PIXELS", 1000)
    for place, frame in enumerate(list_photos([np.zeros((20, 20, 3), np.uint8)] * 30)):
        time.sleep(0.005)
        assert frame.index == place
        assert len(done) <= place + 1 + 1000 // 400 + sources.READERS


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_reading_that_a_reader_itself_throws_away_ends(monkeypatch):
    """As the garbage collector may: it runs in whichever thread makes the next object."""
    others, frames, thrown = set(enumerate_threads()), [], Event()

    def decode(item, name, index, **_):
        if index == 3:
            while not frames:
                time.sleep(0.005)
            frames.clear()
            thrown.set()
        return Frame(name, index, item)

    monkeypatch.setattr(sources, "decode_item", decode)
    reading = iter(list_photos([np.zeros((20, 20, 3), np.uint8)] * 4))
    next(reading)
    frames.append(reading)
    del reading
    assert thrown.wait(20)
    # The readers end by themselves.
    ends = time.monotonic() + 20
    while set(enumerate_threads()) - others:
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_large_photo_is_drawn_before_the_next_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(sinks, "BATCH_PIXELS", 100)
    drawings = sinks.Drawings(tmp_path, 0.5, Clock())
    monkeypatch.setattr(drawings, "_draw", lambda path, *_: (time.sleep(0.05), path.touch()))
    drawings.add(Frame("a.png", 0, np.zeros((20, 20, 3), np.uint8)), [])
    assert (tmp_path / "a.png").exists()
    drawings.close()


@pytest.mark.parametrize("what", ["", "*.jpg", "**"])
def test_nothing_there(tmp_path, what):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("")
    told = r"in there\. Passed over: ending \.txt 1" if what != "*.jpg" else r"in there\.$"
    with pytest.raises(PhotosError, match=rf"no photos \(\..*\) {told}"):
        find(f"{tmp_path}/in/{what}", tmp_path / "out")


def test_no_photo_of_a_list_takes_the_name_of_another():
    addresses = ["http://a/2-a.jpg", "http://b/a.jpg", "http://c/a.jpg", "http://c/..\\..\\b.jpg"]
    found = list_photos(addresses)
    assert list(found.items.values()) == addresses
    assert found.images == ("2-a.jpg", "a.jpg", "2-2-a.jpg", "b.jpg")


def test_addresses_with_long_names_have_names_that_files_may_have():
    long = "a" * 300
    found = list_lines([f"http://x/{long}.jpg", f"http://x/{long}.mp4", f"{long}.mp4"], "", Path())
    names = (*found.images, *found.videos)
    assert {len(name) for name in names[:2]} == {240}
    assert [name[-5:] for name in names] == ["a.jpg", "a.mp4", "a.mp4"]


def test_an_address_that_is_none_is_told():
    (frame,) = find_photos("http://[x")
    assert "Invalid IPv6 URL" in frame.error


def test_names_with_two_dots_stay_below_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = list_photos(["a.png", "../b.png", "c/../d.png"])
    assert found.images == (f"{tmp_path.name}/a.png", "b.png", f"{tmp_path.name}/d.png")


def test_a_list_in_utf_16_without_a_mark_is_no_list(tmp_path):
    (tmp_path / "list.txt").write_bytes("a.jpg\n".encode("utf-16-le"))
    with pytest.raises(PhotosError, match=r"list\.txt: no text in UTF-8; save it as such"):
        find_photos(str(tmp_path / "list.txt"))
