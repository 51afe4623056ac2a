"""Which photos an argument stands for, and how they are drawn."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.base.labels import CLASSES
from data_prep.base.photo import PHOTO_SUFFIXES
from data_prep.base.records import Box
from pipeline.inference import draw
from pipeline.inference.draw import (
    COLOURS,
    LABEL_FROM,
    SMALLEST_DRAWING,
    draw_faces,
    save_drawing,
)
from pipeline.inference.records import Face
from pipeline.inference.sources import PhotosError, PhotoSet, find_photos
from tests.makers import make_pixels


@pytest.fixture
def folder(tmp_path):
    """A folder as users have them."""
    names = ["b.jpg", "a.PNG", "trip/c.jpeg", "trip/day 1/d.webp", "notes.txt", "clip.mp4"]
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
            ("clip.mp4", "ending .mp4"),
            ("dead.jpg", "no file"),
            ("link/", "a link to a folder"),
            ("notes.txt", "ending .txt"),
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
        ("notes.txt", "", ("notes.txt",)),
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


@pytest.mark.parametrize("what", ["", "*.jpg", "**"])
def test_nothing_there(tmp_path, what):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("")
    told = r"in there\. Passed over: ending \.txt 1" if what != "*.jpg" else r"in there\.$"
    with pytest.raises(PhotosError, match=rf"no photos \(\.bmp, .*\) {told}"):
        find(f"{tmp_path}/in/{what}", tmp_path / "out")


GREY = np.full((700, 900, 3), 90, np.uint8)


def face(box, label="with_mask", detection=0.9):
    shares = tuple(0.8 if name == label else 0.1 for name in CLASSES)
    return Face(Box(*box), detection, shares)


def changed(drawing, photo):
    return (drawing != photo).any(axis=2)


@pytest.fixture
def texts(monkeypatch):
    """What is written on the photo."""
    written = []
    real = cv2.putText

    def spy(drawing, text, *rest):
        written.append(text)
        return real(drawing, text, *rest)

    monkeypatch.setattr(draw.cv2, "putText", spy)
    return written


def test_only_the_box_and_its_label_are_drawn():
    photo = GREY.copy()
    assert np.array_equal(draw_faces(photo, []), GREY)
    ys, xs = np.nonzero(changed(draw_faces(photo, [face((200, 300, 400, 500))]), GREY))
    assert 190 <= xs.min() <= xs.max() <= 410
    assert 260 <= ys.min() <= ys.max() <= 510
    assert np.array_equal(photo, GREY), "the photo itself stays as it is"


@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (2, 300), (120, 90), (300, 200), (400, 300), (640, 480), (3000, 10)],
)
def test_small_photos_are_enlarged_by_a_whole_number(width, height):
    drawing = draw_faces(make_pixels(width, height), [face((0, 0, width, height))])
    factor = drawing.shape[1] // width
    assert drawing.shape == (height * factor, width * factor, 3)
    assert 1 <= factor <= 4
    if factor > 1:
        assert max(drawing.shape) <= 1.5 * SMALLEST_DRAWING


@pytest.mark.parametrize("label", CLASSES)
def test_boxes_are_enlarged_with_the_photo_in_the_colour_of_their_class(label):
    photo = np.full((90, 120, 3), 90, np.uint8)
    drawing = draw_faces(photo, [face((20, 30, 60, 80), label)])
    factor = drawing.shape[1] // 120
    assert factor > 1
    colour = drawing[55 * factor, 60 * factor].astype(int)
    assert np.abs(colour - COLOURS[label]).max() < 30
    assert (drawing[40 * factor : 75 * factor, 25 * factor : 55 * factor] == 90).all()


def test_large_faces_get_a_label_of_class_and_score(texts):
    edge = LABEL_FROM
    small, large = (10, 10, 10 + edge - 1, 200), (300, 300, 300 + edge, 400)
    draw_faces(GREY, [face(small), face(large, "without_mask", detection=0.5)])
    assert texts == ["no mask 0.40"]


@pytest.mark.parametrize(
    "box",
    [(0, 0, 900, 700), (0, 0, 40, 40), (860, 0, 900, 40), (0, 660, 40, 700), (860, 660, 900, 700)],
)
def test_labels_stay_in_the_photo(box, texts):
    drawing = draw_faces(GREY, [face(box)])
    assert drawing.shape == GREY.shape
    white = (drawing > 200).all(axis=2)
    assert white.sum() > 100, "the text can be read"
    assert len(texts) == 1


def test_best_face_is_drawn_last(texts):
    draw_faces(
        GREY, [face((100, 300, 300, 500), detection=0.9), face((150, 300, 350, 500), detection=0.5)]
    )
    assert texts == ["mask 0.40", "mask 0.72"]


@pytest.mark.parametrize("suffix", sorted(PHOTO_SUFFIXES | {".JPG", ".heic", ".xyz", ""}))
def test_drawing_can_be_written_under_any_photo_name(tmp_path, suffix):
    drawing = make_pixels(40, 30)
    save_drawing(tmp_path / "new" / f"a{suffix}", drawing)
    with Image.open(tmp_path / "new" / f"a{suffix}") as image:
        assert image.size == (40, 30)
        lossless = image.format in {"PNG", "BMP", "TIFF"}
        difference = np.asarray(image.convert("RGB")).astype(int) - drawing
    assert np.abs(difference).mean() < (0.01 if lossless else 12)
