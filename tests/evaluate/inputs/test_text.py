"""Text files of boxes, read and written."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.base.errors import DatasetError, UserError
from data_prep.base.labels import MASKS, Vocabulary
from data_prep.formats.input_files import InputError
from data_prep.formats.label_files import ClassNames
from data_prep.formats.text import (
    RELATIVE,
    Layout,
    TextFormat,
    guess_layout,
    read_text_boxes,
)
from evaluate.arrays import GroundTruth
from evaluate.inputs.photos import NO_SIZES, SizeSource
from evaluate.inputs.predictions import Predictions, build_predictions, read_predicted
from evaluate.inputs.recognise import read_options
from evaluate.inputs.truth import Annotations, build_truth
from evaluate.options import EvaluateOptions

NO_NAMES = ClassNames()
MASK_IDS = ClassNames(dict(enumerate(MASKS.classes)), Path("masks.names"))
"""Ids in the order of the classes."""


def write(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def truth_of(
    folder: Path,
    layout: Layout = "xywh",
    *,
    names: ClassNames = NO_NAMES,
    sizes: SizeSource = NO_SIZES,
    vocabulary: Vocabulary = MASKS,
) -> GroundTruth:
    form = TextFormat(layout, names, read_options(vocabulary))
    photos = read_text_boxes(folder, form, sizes.find)
    form.options.check_labels()
    return build_truth(Annotations(photos), vocabulary)


def predictions_of(
    folder: Path,
    layout: Layout = "xywh",
    *,
    names: ClassNames = NO_NAMES,
    sizes: SizeSource = NO_SIZES,
) -> Predictions:
    form = TextFormat(layout, names, read_options(MASKS), scored=True)
    return build_predictions(folder, read_text_boxes(folder, form, sizes.find), form.options)


def test_annotations_by_name(tmp_path: Path) -> None:
    write(
        tmp_path,
        b="with_mask 1 2 10 20\n\n  No Mask\t5 6 7.5 8e0 \r\n",
        a="",
        c="with-mask 0 0 9 9",
    )
    truth = truth_of(tmp_path)
    assert truth.photos == ("a", "b", "c")
    assert truth.photo.tolist() == [1, 1, 2]
    assert truth.boxes.tolist() == [[1, 2, 11, 22], [5, 6, 12.5, 14], [0, 0, 9, 9]]
    assert truth.labels.tolist() == [0, 1, 0]
    assert truth.difficult.tolist() == [False] * 3
    assert truth.warnings == ()


def test_predictions_by_name(tmp_path: Path) -> None:
    write(tmp_path, b="with mask .5 1 2 10 20\nno_mask 1 -5 6 7 8", a="")
    found = predictions_of(tmp_path)
    assert found.images == ("a", "b")
    rows = found.detections
    assert rows.photo.tolist() == [1, 1]
    assert rows.boxes.tolist() == [[1, 2, 11, 22], [-5, 6, 2, 14]]
    assert rows.labels.tolist() == [0, 1]
    assert rows.scores.tolist() == rows.detection.tolist() == [0.5, 1]
    assert rows.probabilities is None


def test_relative_coordinates(tmp_path: Path) -> None:
    size = SizeSource(fixed=(200, 100))
    box = [[50, 25, 150, 35]]
    write(tmp_path / "t", a="with_mask 0.5 0.3 0.5 0.1")
    write(tmp_path / "p", a="with_mask 0.25 0.5 0.3 0.5 0.1")
    write(tmp_path / "u", a="0 0.5 0.3 0.5 0.1 0.25")
    np.testing.assert_allclose(truth_of(tmp_path / "t", "yolo", sizes=size).boxes, box)
    first = predictions_of(tmp_path / "p", "yolo", sizes=size).detections
    second = predictions_of(tmp_path / "u", "ultralytics", names=MASK_IDS, sizes=size).detections
    np.testing.assert_allclose(first.boxes, box)
    np.testing.assert_array_equal(first.boxes, second.boxes)
    assert first.scores.tolist() == second.scores.tolist() == [0.25]


def test_sizes_from_photos(tmp_path: Path) -> None:
    write(tmp_path / "t", a="with_mask 0.5 0.5 1 1", b="no_mask 0.25 0.25 0.5 0.5", c="")
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (40, 20)).save(photos / "a.png")
    Image.new("RGB", (80, 60)).save(photos / "b.jpg")
    truth = truth_of(tmp_path / "t", "yolo", sizes=SizeSource(photos=photos))
    assert truth.boxes.tolist() == [[0, 0, 40, 20], [0, 0, 40, 30]]
    # One photo is missing; a face on it can't be told the size of.
    (photos / "b.jpg").unlink()
    with pytest.raises(InputError, match=r"b\.txt, line 1: relative .* \(--photos FOLDER"):
        truth_of(tmp_path / "t", "yolo", sizes=SizeSource(photos=photos))


def test_ids(tmp_path: Path) -> None:
    write(tmp_path, a="2 1 2 10 20\nwith_mask 0 0 5 5\n1 0 0 6 6", classes="with_mask\nno_mask\n")
    truth = truth_of(tmp_path, names=MASK_IDS)
    assert truth.labels.tolist() == [2, 0, 1]
    assert truth.photos == ("a",)
    with pytest.raises(DatasetError, match=r"line 1: class id 2 without names; .*--names FILE"):
        truth_of(tmp_path)
    # A class may be called by a number.
    write(tmp_path, a="7 1 2 10 20\ngrade 2 1 2 10 20")
    grades = Vocabulary(classes=("7", "grade 2"), aliases={})
    assert truth_of(tmp_path, vocabulary=grades).labels.tolist() == [0, 1]


def test_folders_in_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "one", a="with_mask 1 2 10 20")
    write(tmp_path / "two", a="")
    write(tmp_path / ".hidden", a="nonsense")
    assert truth_of(tmp_path).photos == ("one/a", "two/a")


def test_annotated_boxes_are_clipped(tmp_path: Path) -> None:
    lines = [
        "with_mask -2 5 10 10",
        "with_mask 95 0 10 10",
        "with_mask 100 0 9 9",
        "no_mask 5 5 0 9",
    ]
    write(tmp_path, a="\n".join([*lines, "no_mask 1 1 9 9"]))
    truth = truth_of(tmp_path, sizes=SizeSource(fixed=(100, 50)))
    assert truth.boxes.tolist() == [[0, 5, 8, 15], [95, 0, 100, 10], [1, 1, 10, 10]]
    assert len(truth.warnings) == 2
    assert re.match(r"2 annotated boxes reach over .*a\.txt, line 1$", truth.warnings[0])
    assert re.match(r"2 annotations are left out.*a\.txt, line 3: .*outside", truth.warnings[1])
    # Without a size only what is left of 0 can be told; predictions stay as they are.
    assert len(truth_of(tmp_path).boxes) == 4
    write(tmp_path, a="with_mask 0.5 -20 0 300 10\nwith_mask 0.5 5 5 0 0")
    rows = predictions_of(tmp_path, sizes=SizeSource(fixed=(100, 50))).detections
    assert rows.boxes.tolist() == [[-20, 0, 280, 10], [5, 5, 5, 5]]
    # Rounding is no clipping.
    write(tmp_path, a="with_mask 0.500001 0.5 1.000000 1")
    truth = truth_of(tmp_path, "yolo", sizes=SizeSource(fixed=(1000, 500)))
    assert (truth.boxes[0, 2], truth.warnings) == (1000, ())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("with_mask 1 2 3", r"line 2: 4 values; expected are class, x, y, width, height\."),
        ("with_mask 0.9 1 2 3 4", r"'with_mask 0\.9'.*If '0\.9' is not part .* more values than"),
        ("with_mask 1 2 3 4 5 6", "If '2' is not part of the class"),
        ("with_mask 1 2 nan 4", "line 2: width is nan"),
        ("with_mask one 2 3 4", "line 2: 'one' for x is not a number"),
        ("with_mask 1,5 2 3 4", "'1,5' for x is not a number; write a point, not a comma"),
        ("with_mask 1 2 -3 4", r"line 2: box \(1, 2, -2, 6\) is inverted; .*layout xyxy"),
        ("with_mask 1e308 2 1e308 4", "line 2: the box is not finite"),
        ("with_msk 1 2 3 4", "line 2: .*did you mean 'with_mask'"),
        ("3 1 2 3 4", r"line 2: class id .* not in masks\.names, .* 0 to 2"),
        ("-1 1 2 3 4", "line 2: class id -1 is not in"),
        ("1" * 5000 + " 1 2 3 4", "is not in"),
    ],
)
def test_bad_annotations_are_named(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path, a=f"with_mask 1 2 10 20\n{line}\n")
    with pytest.raises(UserError, match=message) as caught:
        truth_of(tmp_path, names=MASK_IDS)
    assert str(tmp_path / "a.txt") in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("with_mask 1 2 3 4", "line 2: 5 values; expected are class, score, x, y, width, height"),
        ("with mask 1 2 3 4", "line 2: 'mask' for score is not a number"),
        ("with_mask nan 1 2 3 4", "line 2: score is nan"),
        ("with_mask 88 1 2 3 4", "line 2: score is 88; .*Divide percentages by 100"),
    ],
)
def test_bad_predictions_are_named(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path, a=f"with_mask 0.5 1 2 10 20\n{line}\n")
    with pytest.raises(InputError, match=message) as caught:
        predictions_of(tmp_path)
    assert str(tmp_path / "a.txt") in str(caught.value)


def test_corners(tmp_path: Path) -> None:
    write(tmp_path / "t", a="with_mask 1 2 10 20")
    write(tmp_path / "p", a="with_mask 0.25 1 2 10 20")
    assert truth_of(tmp_path / "t", "xyxy").boxes.tolist() == [[1, 2, 10, 20]]
    assert predictions_of(tmp_path / "p", "xyxy").detections.boxes.tolist() == [[1, 2, 10, 20]]
    write(tmp_path / "t", a="with_mask 100 100 20 30")
    with pytest.raises(InputError, match=r"is inverted; the order is xmin.*layout xywh"):
        truth_of(tmp_path / "t", "xyxy")


def test_pixels_and_shares_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "shares", a="with_mask 0.5 0.3 0.25 0.1\nwith_mask 0.1 0.2 0.3 0.4")
    write(tmp_path / "pixels", a="with_mask 0.5 0.3 0.2 0.1\nwith_mask 50 30 20 10")
    with pytest.raises(InputError, match="all coordinates lie between 0 and 1"):
        truth_of(tmp_path / "shares")
    with pytest.raises(InputError, match=r"line 2: 50 is no relative coordinate"):
        truth_of(tmp_path / "pixels", "yolo", sizes=SizeSource(fixed=(100, 100)))
    assert len(truth_of(tmp_path / "pixels").boxes) == 1


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no text files"):
        truth_of(tmp_path)
    (tmp_path / "a.txt").write_text("with_mask 1 2 3 4", encoding="utf-16-le")
    with pytest.raises(InputError, match=r"a\.txt, line 1: not text in UTF-8"):
        truth_of(tmp_path)
    write(tmp_path, a="")
    (tmp_path / "a.TXT").write_text("")
    with pytest.raises(InputError, match=r"a\.(txt|TXT): a\.(txt|TXT) is there too"):
        truth_of(tmp_path)


OPTIONS = EvaluateOptions(classes="with mask,without")
WORDS = OPTIONS.vocabulary


def test_photos_whose_faces_an_alias_leaves_out_are_not_those_without(tmp_path):
    folder = write(tmp_path / "t", a="with_mask 1 2 30 40", b="hat 1 2 30 40", c="")
    vocabulary = Vocabulary(aliases={"hat": ""})
    assert truth_of(folder, vocabulary=vocabulary).photos == ("a", "c")


def test_predictions_of_a_class_that_an_alias_leaves_out_are_told(tmp_path):
    truth = truth_of(write(tmp_path / "t", a="with_mask 1 2 30 40"))
    folder = write(tmp_path / "p", a="with_mask 0.9 1 2 30 40\nhat 0.8 1 2 30 40")
    options = EvaluateOptions(alias=["hat="])
    placed = read_predicted(folder, truth, options)
    assert (len(placed.detections), placed.warnings) == (
        *(1, (f"{folder}: 1 face of the class 'hat' is left out, as --alias hat= says.",)),
    )


CENTRED = [(0.2, 0.3, 0.2, 0.3), (0.7, 0.7, 0.3, 0.4), (0.5, 0.2, 0.1, 0.2), (0.8, 0.3, 0.2, 0.2)]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (lambda x, y, w, h: f"0 {x} {y} {w} {h} {100 * x}", "divide percentages by 100"),
        (lambda x, y, w, h: f"0 {100 * x} {x} {y} {w} {h}", "divide percentages by 100"),
        (lambda x, y, w, h: f"0 .5 {x - w / 2} {y - h / 2} {x + w / 2} {y + h / 2}", "corners as"),
        (lambda x, y, w, h: f"0 {x - w / 2} {y - h / 2} {x + w / 2} {y + h / 2} .5", "corners as"),
        (lambda x, y, w, h: f"0 {x} {y} {w} {h} .5", ""),
        (lambda x, y, w, h: f"0 .5 {x} {y} {w} {h}", ""),
    ],
)
def test_shares_that_are_no_centres_or_have_scores_in_percent(tmp_path, line, told):
    folder = write(tmp_path / "p", a="\n".join(line(*box) for box in CENTRED))
    if told:
        with pytest.raises(InputError, match=told):
            guess_layout(folder, None, scored=True)
    else:
        assert guess_layout(folder, None, scored=True) in RELATIVE
