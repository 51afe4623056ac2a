"""Label files, line by line."""

import pytest

from data_prep.base.records import Box
from data_prep.formats.class_names import ClassNames
from data_prep.formats.contracts import Faults, ReadOptions
from data_prep.formats.input_files import InputError
from data_prep.formats.yolo import read_labels

NAMES = ClassNames({0: "with_mask"})


@pytest.fixture
def read(tmp_path):
    def read(text, size=(200, 100), *, strict=True):
        (tmp_path / "a.txt").write_text(text)
        faults = Faults("a.txt", strict)
        photo = read_labels(tmp_path / "a.txt", "a", size, NAMES, ReadOptions(), faults)
        return photo, faults.findings

    return read


def test_box_and_outline(read):
    photo, (finding,) = read("0 0.5 0.3 0.5 0.1\n \t\n no_mask 0.1 0.2 0.3 0.9 0.2 0.4 \n")
    assert [(face.object, face.label) for face in photo.faces] == [
        (0, "with_mask"),
        (1, "without_mask"),
    ]
    assert photo.faces[0].box == pytest.approx(Box(50, 25, 150, 35))
    assert photo.faces[1].box == pytest.approx(Box(20, 20, 60, 90))
    assert photo.places == ("a.txt, line 1", "a.txt, line 3")
    assert finding.kind == "outlined-faces"


FAULTS = [
    ("0", "0 numbers"),
    ("0 .1 .2 .3 .4 .9", "5 numbers behind the class id.*prediction"),
    ("0 .1 .2 .3 .4 .5 .6 .7", "7 numbers"),
    ("0 a .2 .3 .4", "'a' for a coordinate is not a number"),
    ("0 nan .2 .3 .4", "a coordinate is nan"),
    ("0 10 20 30 40", "10 is no relative coordinate"),
    ("0 .5 .5 -.2 .1", r"box \(120, .* is inverted"),
    ("7 .5 .5 .2 .1", "class id 7 is not in"),
]


@pytest.mark.parametrize(("line", "message"), FAULTS)
def test_faults_are_raised_or_noted(read, line, message):
    text = f"0 .5 .5 .2 .1\n\n{line}\n0 .5 .5 .2 .1"
    with pytest.raises(InputError, match=f"^a.txt, line 3: {message}"):
        read(text)
    photo, (finding,) = read(text, strict=False)
    assert [face.object for face in photo.faces] == [0, 2]
    assert (finding.file, finding.kind, finding.dropped) == ("a.txt", "bad-line", True)
    assert finding.message.startswith("a.txt:3: ")
    assert finding.message.endswith(" The face is left out.")


def test_size_is_needed_for_faces_alone(read):
    assert read("\n", None)[0].faces == ()
    with pytest.raises(InputError, match=r"line 1: the size of the photo is not known"):
        read("0 .5 .5 .2 .1", None)
