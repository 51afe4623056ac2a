"""Which photos an argument stands for, and how they are drawn."""

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.base.files import OutputError
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
    return tmp_path / "in"


def find(photos, out="out"):
    return find_photos(str(photos), leave_out=out if not isinstance(out, str) else photos / out)


def test_folder_is_walked(folder, tmp_path):
    assert find(folder, tmp_path / "out") == PhotoSet(
        folder, ("a.PNG", "b.jpg", "trip/c.jpeg", "trip/day 1/d.webp")
    )


def test_every_known_ending_counts_in_any_case(tmp_path):
    for suffix in PHOTO_SUFFIXES:
        for name in (f"a{suffix}", f"B{suffix.upper()}"):
            (tmp_path / name).write_bytes(b"x")
    assert len(find(tmp_path).images) == 2 * len(PHOTO_SUFFIXES)


@pytest.mark.parametrize("name", ["b.jpg", "notes.txt"])
def test_photo_named_outright_may_have_any_ending(folder, tmp_path, name):
    assert find(folder / name, tmp_path / "out") == PhotoSet(folder, (name,))


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


@pytest.mark.parametrize("name", ["a[1].jpg", "what?.jpg", "star*.jpg", "[2024]/a.jpg"])
def test_what_exists_under_the_very_name_is_no_glob(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    folder, _, photo = name.rpartition("/")
    assert find(tmp_path / (folder or name), tmp_path / "out").images == (photo,)


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


@pytest.mark.parametrize("label", CLASSES)
def test_box_is_drawn_in_the_colour_of_its_class(label):
    drawing = draw_faces(GREY, [face((200, 300, 400, 500), label)])
    for y, x in ((400, 200), (400, 400), (500, 300), (300, 390)):
        assert np.abs(drawing[y, x].astype(int) - COLOURS[label]).max() < 30
    assert (drawing[330:480, 230:380] == 90).all(), "the face itself stays as it is"


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


def test_boxes_are_enlarged_with_the_photo():
    photo = np.full((90, 120, 3), 90, np.uint8)
    drawing = draw_faces(photo, [face((20, 30, 60, 80))])
    factor = drawing.shape[1] // 120
    assert factor > 1
    colour = drawing[55 * factor, 60 * factor].astype(int)
    assert np.abs(colour - COLOURS["with_mask"]).max() < 30


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


def test_drawing_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/a\.jpg: can't be written"):
        save_drawing(tmp_path / "file" / "a.jpg", GREY)
