"""The records."""

from pathlib import Path

from data_prep.base.records import AnnotatedPhoto, Box


def test_box_sides():
    box = Box(10, 20, 25.5, 30)
    assert (box.width, box.height, box.short_side) == (15.5, 10, 10)


def test_inverted_box_has_a_negative_side():
    assert Box(10, 0, 5, 4).short_side == -5


def test_photo_path_is_below_the_root():
    photo = AnnotatedPhoto("set", Path("set"), "images/a b.jpg", "a.xml", None, None, ())
    assert photo.path == Path("set", "images", "a b.jpg")
