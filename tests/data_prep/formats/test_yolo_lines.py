"""Single lines of label files."""

import pytest

from data_prep.base.records import Box
from data_prep.formats.input_files import InputError
from data_prep.formats.yolo_layout import parse_line


def test_box_and_outline():
    box = parse_line("0 0.5 0.3 0.5 0.1", "a")
    assert (box.label, box.is_outline) == ("0", False)
    assert box.to_box((200, 100), "a") == pytest.approx(Box(50, 25, 150, 35))
    outline = parse_line(" no_mask 0.1 0.2 0.3 0.9 0.2 0.4 ", "a")
    assert (outline.label, outline.is_outline) == ("no_mask", True)
    assert outline.to_box((200, 100), "a") == pytest.approx(Box(20, 20, 60, 90))
    assert parse_line(" \t", "a") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", "0 numbers"),
        ("0 .1 .2 .3 .4 .9", "5 numbers behind the class id.*prediction"),
        ("0 .1 .2 .3 .4 .5 .6 .7", "7 numbers"),
        ("0 a .2 .3 .4", "'a' for a coordinate is not a number"),
        ("0 nan .2 .3 .4", "a coordinate is nan"),
        ("0 10 20 30 40", "10 is no relative coordinate"),
    ],
)
def test_faults_are_named(text, message):
    with pytest.raises(InputError, match=f"^a.txt, line 3: {message}"):
        parse_line(text, "a.txt, line 3")


def test_inverted_box():
    with pytest.raises(InputError, match=r"^a: box \(60, .* is inverted"):
        parse_line("0 .5 .5 -.2 .1", "a").to_box((100, 100), "a")
