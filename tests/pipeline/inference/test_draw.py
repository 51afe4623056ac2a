"""Photos with faces marked, labels apart, and photos with faces blurred."""

import itertools

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
    UNSURE,
    blur_faces,
    draw_faces,
    save_drawing,
)
from pipeline.inference.records import Face
from tests.makers import make_pixels

GREY = np.full((700, 900, 3), 90, np.uint8)


def face(box, label="with_mask", detection=0.9, share=0.9):
    shares = tuple(share if name == label else (1 - share) / 2 for name in CLASSES)
    return Face(Box(*box), detection, shares)


@pytest.fixture
def labels(monkeypatch):
    """What is written, and the rectangles it is written on."""
    written = []
    real = draw._write

    def spy(drawing, text, scale, place, colour):
        written.append((text, place.tolist()))
        real(drawing, text, scale, place, colour)

    monkeypatch.setattr(draw, "_write", spy)
    return written


def test_only_the_box_and_its_label_are_drawn():
    photo = GREY.copy()
    assert np.array_equal(draw_faces(photo, []), GREY)
    drawing = draw_faces(photo, [face((200, 300, 400, 500))])
    ys, xs = np.nonzero((drawing != GREY).any(axis=2))
    assert 190 <= xs.min() <= xs.max() <= 410
    assert 260 <= ys.min() <= ys.max() <= 510
    assert np.array_equal(photo, GREY), "the photo itself stays as it is"
    assert draw_faces(photo, [face((200, 300, 400, 500))], spoil=True) is photo
    assert np.array_equal(photo, drawing)


@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (2, 300), (120, 90), (300, 200), (400, 300), (640, 480), (3000, 10)],
)
def test_small_photos_are_enlarged_by_a_whole_number_that_is_told(width, height, labels):
    drawing = draw_faces(make_pixels(width, height), [face((0, 0, width, height))])
    factor = drawing.shape[1] // width
    assert drawing.shape == (height * factor, width * factor, 3)
    assert 1 <= factor <= 4
    if factor > 1:
        assert max(drawing.shape) <= 1.5 * SMALLEST_DRAWING
        assert labels[0][0] == f"enlarged {factor}x"


@pytest.mark.parametrize("label", CLASSES)
def test_boxes_are_enlarged_with_the_photo_in_the_colour_of_their_class(label):
    photo = np.full((90, 120, 3), 90, np.uint8)
    drawing = draw_faces(photo, [face((20, 30, 60, 80), label)])
    factor = drawing.shape[1] // 120
    assert factor > 1
    colour = drawing[55 * factor, 60 * factor].astype(int)
    assert np.abs(colour - COLOURS[label]).max() < 30
    assert (drawing[40 * factor : 75 * factor, 25 * factor : 55 * factor] == 90).all()


def test_labels_tell_the_class_with_its_probability_or_that_it_is_unsure(labels):
    small, large = (10, 10, 10 + LABEL_FROM - 1, 200), (300, 300, 300 + LABEL_FROM, 400)
    unsure = face((500, 300, 600, 400), share=UNSURE - 0.01, detection=0.99)
    draw_faces(GREY, [face(small), face(large, "without_mask", 0.5, 0.95), unsure])
    assert [text for text, _ in labels] == [f"unsure {UNSURE - 0.01:.2f}", "no mask 0.95"]


@pytest.mark.parametrize(
    "box",
    [(0, 0, 900, 700), (0, 0, 40, 40), (860, 0, 900, 40), (0, 660, 40, 700), (860, 660, 900, 700)],
)
def test_labels_stay_in_the_photo(box, labels):
    drawing = draw_faces(GREY, [face(box)])
    ((_, (x0, y0, x1, y1)),) = labels
    assert 0 <= x0 < x1 <= 900
    assert 0 <= y0 < y1 <= 700
    white = (drawing > 200).all(axis=2)
    assert white.sum() > 100, "the text can be read"


def test_labels_of_a_crowd_cover_each_other_never_and_the_surest_have_one(labels):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, (240, 180), (90, 2))
    boxes = np.hstack([corners, corners + rng.uniform(24, 50, (90, 1))])
    faces = [face(box, detection=score) for box, score in zip(boxes, rng.random(90), strict=True)]
    drawing = draw_faces(GREY[:240, :600], faces)
    for (_, first), (_, second) in itertools.combinations(labels, 2):
        apart = first[2] <= second[0] or second[2] <= first[0]
        assert apart or first[3] <= second[1] or second[3] <= first[1]
    for _, (x0, y0, x1, y1) in labels:
        assert 0 <= x0 < x1 <= drawing.shape[1]
        assert 0 <= y0 < y1 <= drawing.shape[0]
    texts = [text for text, _ in labels]
    assert 20 < len(texts) < 90, "there is not room for all"
    assert texts[0] == "mask 0.90"
    assert "0.90" in texts, "shortened where the whole has no room"


def test_surer_faces_lie_over_others():
    below = face((150, 300, 350, 500), "without_mask", detection=0.5)
    for faces in ([face((100, 300, 300, 500)), below], [below, face((100, 300, 300, 500))]):
        crossing = draw_faces(GREY, faces)[300, 250].astype(int)
        assert np.abs(crossing - COLOURS["with_mask"]).max() < 40


@pytest.mark.parametrize("size", [20, 90, 400])
def test_nothing_of_a_blurred_face_is_left_and_nothing_else_is_touched(size):
    photo = make_pixels(600, 500, seed=1)
    chess = np.indices((size, size)).sum(axis=0) // 4 % 2 * 255
    photo[50 : 50 + size, 60 : 60 + size] = chess[..., None]
    blurred = blur_faces(photo, [face((60, 50, 60 + size, 50 + size))])
    inside = blurred[50 : 50 + size, 60 : 60 + size].astype(float)
    assert inside.std() < 0.35 * chess.std(), "the pattern is gone"
    few = cv2.resize(inside, (6, 6), interpolation=cv2.INTER_AREA)
    back = cv2.resize(few, (size, size), interpolation=cv2.INTER_LINEAR)
    assert np.abs(back - inside).mean() < 25, "what is left is no more than a few pixels tell"
    margin = -(-size // 10) + 1
    same = (blurred == photo).all(axis=2)
    same[50 - margin : 50 + size + margin, max(60 - margin, 0) : 60 + size + margin] = True
    assert same.all()


def test_faces_at_the_border_are_blurred_too():
    photo = make_pixels(60, 40, seed=2)
    blurred = blur_faces(photo, [face((0, 0, 60, 40)), face((59, 39, 60, 40)), face((0, 0, 1, 40))])
    assert blurred.shape == photo.shape
    assert blurred.std() < 0.8 * photo.std()


@pytest.mark.parametrize("suffix", sorted(PHOTO_SUFFIXES | {".JPG", ".heic", ".xyz", ""}))
def test_drawing_can_be_written_under_any_photo_name(tmp_path, suffix):
    drawing = make_pixels(40, 30)
    save_drawing(tmp_path / "new" / f"a{suffix}", drawing)
    with Image.open(tmp_path / "new" / f"a{suffix}") as image:
        assert image.size == (40, 30)
        lossless = image.format in {"PNG", "BMP", "TIFF"}
        difference = np.asarray(image.convert("RGB")).astype(int) - drawing
    assert np.abs(difference).mean() < (0.01 if lossless else 12)
