from __future__ import annotations

import pytest

from evaluate.cli import OptionError, parse_classes, parse_ious, parse_size


def test_classes():
    assert parse_classes("cat, traffic light ,dog") == ("cat", "traffic light", "dog")
    for text in ("", "cat,,dog", "cat,Cat"):
        with pytest.raises(OptionError, match="--classes"):
            parse_classes(text)


def test_ious_are_sorted_and_distinct():
    assert parse_ious([0.75, 0.5, 0.75]) == (0.5, 0.75)
    for value in (0, -0.5, 1.01, float("nan")):
        with pytest.raises(OptionError, match="--iou"):
            parse_ious([0.5, value])


@pytest.mark.parametrize("text", ["400x300", " 400 X 300 ", "400×300", "400,300"])
def test_size(text):
    assert parse_size(text) == (400, 300)


@pytest.mark.parametrize("text", ["400", "0x300", "400x00", "-4x3", "4.5x3", "axb", "4x3x2"])
def test_size_that_is_none(text):
    with pytest.raises(OptionError, match="--image-size"):
        parse_size(text)
