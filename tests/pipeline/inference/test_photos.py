"""Which photos an argument stands for."""

import pytest

from data_prep.base.photo import PHOTO_SUFFIXES
from pipeline.inference.sources import PhotosError, PhotoSet, find_photos


@pytest.fixture
def folder(tmp_path):
    """A folder as users have them."""
    for name in (
        "b.jpg",
        "a.PNG",
        "trip/c.jpeg",
        "trip/day 1/d.webp",
        "notes.txt",
        ".hidden.jpg",
        ".cache/e.jpg",
        "trip/.thumbs/f.jpg",
        "clip.mp4",
    ):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    return tmp_path / "in"


def find(photos, out="out"):
    return find_photos(str(photos), leave_out=out if not isinstance(out, str) else photos / out)


def test_folder_is_walked(folder, tmp_path):
    assert find(folder, tmp_path / "out") == PhotoSet(
        folder, ("a.PNG", "b.jpg", "trip/c.jpeg", "trip/day 1/d.webp")
    )


@pytest.mark.parametrize("suffix", sorted(PHOTO_SUFFIXES))
def test_every_known_ending_counts_in_any_case(tmp_path, suffix):
    for name in (f"a{suffix}", f"B{suffix.upper()}"):
        (tmp_path / name).write_bytes(b"x")
    assert len(find(tmp_path).images) == 2


def test_one_photo(folder, tmp_path):
    assert find(folder / "b.jpg", tmp_path / "out") == PhotoSet(folder, ("b.jpg",))


def test_photo_named_outright_may_have_any_ending(folder, tmp_path):
    assert find(folder / "notes.txt", tmp_path / "out").images == ("notes.txt",)


def test_relative_argument(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    found = find_photos("b.jpg", leave_out=tmp_path / "out")
    assert (found.root / found.images[0]).read_bytes() == b"x"
    assert find_photos(".", leave_out=tmp_path / "out").images[0] == "a.PNG"
    assert find_photos("*.jpg", leave_out=tmp_path / "out").images == ("b.jpg",)


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
    ],
)
def test_globs(folder, tmp_path, pattern, root, images):
    found = find(f"{folder}/{pattern}", tmp_path / "out")
    assert (found.root.resolve(), found.images) == ((folder / root).resolve(), images)


@pytest.mark.parametrize("name", ["a[1].jpg", "what?.jpg", "star*.jpg"])
def test_what_exists_under_the_very_name_is_no_glob(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    assert find(tmp_path / name, tmp_path / "out").images == (name,)


def test_folder_whose_name_looks_like_a_glob(tmp_path):
    (tmp_path / "[2024]").mkdir()
    (tmp_path / "[2024]" / "a.jpg").write_bytes(b"x")
    assert find(tmp_path / "[2024]").images == ("a.jpg",)


def test_drawn_photos_are_left_out(folder):
    for name in ("out/annotated/b.jpg", "out/own.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    found = find(folder, folder / "out")
    assert "out/annotated/b.jpg" not in found.images
    assert "out/own.jpg" in found.images


def test_drawn_photos_are_left_out_however_the_output_is_spelt(folder, monkeypatch):
    (folder / "out" / "annotated").mkdir(parents=True)
    (folder / "out" / "annotated" / "b.jpg").write_bytes(b"x")
    (folder.parent / "link").symlink_to(folder / "out")
    assert len(find(folder, folder.parent / "link").images) == 4
    monkeypatch.chdir(folder / "trip")
    assert len(find_photos("..", leave_out=folder / "trip" / ".." / "out").images) == 4


@pytest.mark.parametrize("what", ["", "b.jpg", "*.jpg"])
def test_working_on_the_drawn_photos_is_refused(folder, what):
    drawn = folder / "out" / "annotated"
    drawn.mkdir(parents=True)
    (drawn / "b.jpg").write_bytes(b"x")
    with pytest.raises(PhotosError, match="where the drawn photos go; choose another -o"):
        find_photos(str(drawn / what), leave_out=folder / "out")


@pytest.mark.parametrize("name", ["none", "none.jpg", "a\0b"])
def test_missing(tmp_path, name):
    with pytest.raises(PhotosError, match="no such file or folder"):
        find(tmp_path / name)


def test_name_too_long_for_the_system(tmp_path):
    with pytest.raises(PhotosError, match="File name too long"):
        find(tmp_path / ("x" * 300), tmp_path / "out")


@pytest.mark.parametrize("what", ["", "*.jpg", "**"])
def test_nothing_there(tmp_path, what):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("")
    with pytest.raises(PhotosError, match=r"no photos \(\.bmp, .*\) in there"):
        find(f"{tmp_path}/in/{what}", tmp_path / "out")


def test_links_to_photos_count(folder, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "l.jpg").symlink_to(folder / "b.jpg")
    (tmp_path / "links" / "dead.jpg").symlink_to(tmp_path / "gone.jpg")
    assert find(tmp_path / "links").images == ("l.jpg",)
