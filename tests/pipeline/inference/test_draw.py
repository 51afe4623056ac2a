"""Drawn photos: marks where the faces are, nothing else changed, every format written."""

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
    TEXT,
    draw_faces,
    save_drawing,
)
from pipeline.inference.records import Face
from tests.makers import make_pixels

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


def test_every_class_has_a_colour_and_a_text():
    assert set(COLOURS) == set(TEXT) == set(CLASSES)
    assert len(set(COLOURS.values())) == len(set(TEXT.values())) == 3


@pytest.mark.parametrize("label", CLASSES)
def test_box_is_drawn_in_the_colour_of_its_class(label):
    drawing = draw_faces(GREY, [face((200, 300, 400, 500), label)])
    for y, x in ((400, 200), (400, 400), (500, 300), (300, 390)):
        assert np.abs(drawing[y, x].astype(int) - COLOURS[label]).max() < 30
    assert (drawing[330:480, 230:380] == 90).all(), "the face itself stays as it is"


def test_only_the_box_and_its_label_are_drawn():
    drawing = draw_faces(GREY, [face((200, 300, 400, 500))])
    ys, xs = np.nonzero(changed(drawing, GREY))
    assert xs.min() >= 190
    assert xs.max() <= 410
    assert ys.min() >= 260
    assert ys.max() <= 510


def test_photo_is_not_changed():
    photo = GREY.copy()
    draw_faces(photo, [face((200, 300, 400, 500))])
    assert np.array_equal(photo, GREY)


def test_no_faces_no_marks():
    assert np.array_equal(draw_faces(GREY, []), GREY)


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


def test_label_tells_class_and_score(texts):
    draw_faces(GREY, [face((200, 300, 400, 500), "without_mask", detection=0.5)])
    assert texts == ["no mask 0.40"]


def test_small_faces_get_no_label(texts):
    edge = LABEL_FROM
    draw_faces(GREY, [face((10, 10, 10 + edge - 1, 200)), face((300, 300, 300 + edge, 400))])
    assert len(texts) == 1


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
