from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_prep.base.strict_csv import TableError
from evaluate.inputs.predictions import Predictions, place_predictions, read_predictions
from evaluate.inputs.truth import read_ground_truth

HEADER = "image,xmin,ymin,xmax,ymax,label,score,detection"
ROW = "a.jpg,0,0,10,10,with_mask,0.8,0.9"


def write(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def read(folder: Path, *lines: str) -> Predictions:
    return read_predictions(write(folder, *lines))


def test_reads_rows(predictions: Path) -> None:
    table = read_predictions(predictions, probabilities=True)
    rows = table.detections
    assert table.images == ("a.jpg", "b.jpg")
    assert rows.photo.tolist() == [0, 0, 1, 1]
    assert rows.boxes[1].tolist() == [20, 0, 30, 10]
    assert rows.labels.tolist() == [0, 0, 2, 1]
    assert rows.scores.tolist() == [0.81, 0.48, 0.7, 0.3]
    assert rows.detection.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert rows.probabilities is not None
    assert rows.probabilities[3].tolist() == [0.3, 0.5, 0.2]
    assert table.warnings == ()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_delimiters_marks_and_line_ends(
    tmp_path: Path, delimiter: str, encoding: str, newline: str
) -> None:
    path = tmp_path / "table.csv"
    # A quoted name with every delimiter in it, blanks around cells, a blank line, more columns.
    rows = [
        f"{HEADER},size",
        '"a; b, c.jpg", 0 ,0,10,10,With Mask,0.8,0.9,3',
        "",
        "ü.jpg,1,2,3.5,4,no-mask,0,1e-3,4",
    ]
    name = rows[1].partition('",')[0] + '"'
    lines = [rows[0].replace(",", delimiter), name + rows[1][len(name) :].replace(",", delimiter)]
    lines += [rows[2], rows[3].replace(",", delimiter)]
    path.write_bytes(newline.join(lines).encode(encoding))
    table = read_predictions(path)
    assert table.images == ("a; b, c.jpg", "ü.jpg")
    assert table.detections.labels.tolist() == [0, 1]
    assert table.detections.boxes[1].tolist() == [1, 2, 3.5, 4]
    assert table.detections.probabilities is None


def test_header_only_has_no_rows(tmp_path: Path) -> None:
    table = read(tmp_path, HEADER)
    assert len(table.detections) == 0
    assert table.detections.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg,0,0,10,10,with_mask,nan,0.9", "line 3: score is nan"),
        ("a.jpg,0,0,10,10,with_mask,0.8,-0.1", "line 3: detection is -0.1; scores .* between"),
        ("a.jpg,0,0,10,10,with_mask,80,0.9", "line 3: score is 80; scores"),
        ("a.jpg,0,0,10,10,with_mask,,0.9", "line 3: '' for score is not a number"),
        ("a.jpg,0,0,inf,10,with_mask,0.8,0.9", "line 3: xmax is inf"),
        ("a.jpg,0,0,ten,10,with_mask,0.8,0.9", "line 3: 'ten' for xmax is not a number"),
        ('a.jpg,"0,5",0,10,10,with_mask,0.8,0.9', "'0,5' for xmin .* a point, not a comma"),
        ("a.jpg,10,0,0,10,with_mask,0.8,0.9", r"line 3: box \(10, 0, 0, 10\) is inverted"),
        ("a.jpg,0,10,10,0,with_mask,0.8,0.9", "is inverted; the order is xmin, ymin, xmax, ymax"),
        ("a.jpg,0,0,10,10,with_msk,0.8,0.9", "line 3: .*did you mean 'with_mask'"),
        (",0,0,10,10,with_mask,0.8,0.9", "line 3: image is empty"),
        ("a.jpg,0,0,10,10,with_mask,0.8", "line 3: 7 cells where the header has 8"),
        ("a.jpg,0,0,10,10,with_mask,0.8,0.9,1", "line 3: 9 cells where the header has 8"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(TableError, match=message) as caught:
        read(tmp_path, HEADER, ROW, line)
    assert str(tmp_path / "table.csv") in str(caught.value)


@pytest.mark.parametrize("value", ["nan", "-0.2", "1.2"])
def test_bad_probabilities_are_named(tmp_path: Path, value: str) -> None:
    columns = "p_with_mask,p_without_mask,p_mask_weared_incorrect"
    with pytest.raises(TableError, match="line 2: p_without_mask is"):
        read(tmp_path, f"{HEADER},{columns}", f"{ROW},0.5,{value},0.5")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER.replace(",score", ""), "line 1: no column score"),
        ("file,box", r"no column image, xmin, .*\(found: file, box\)"),
        (f"{HEADER},score", "column score is there more than once"),
        (f"{HEADER},p_with_mask", "p_with_mask but no p_mask_weared_incorrect, p_without_mask"),
    ],
)
def test_bad_headers(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read(tmp_path, header)


def test_probabilities_can_be_required(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no column p_with_mask"):
        read_predictions(write(tmp_path, HEADER, ROW), probabilities=True)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"missing\.csv: can't be read"):
        read_predictions(tmp_path / "missing.csv")
    with pytest.raises(TableError, match="can't be read"):
        read_predictions(tmp_path)
    path = tmp_path / "table.csv"
    path.write_text(" \n")
    with pytest.raises(TableError, match="the file is empty"):
        read_predictions(path)
    path.write_text(HEADER, encoding="utf-16")
    with pytest.raises(TableError, match="not text in UTF-8"):
        read_predictions(path)
    path.write_text(f'{HEADER}\n"{"a" * 200_000}')
    with pytest.raises(TableError, match="line 2: not CSV"):
        read_predictions(path)


def test_repeated_rows_are_counted(annotations: Path, tmp_path: Path) -> None:
    other = ROW.replace("with_mask", "no mask")
    away = ROW.replace("a.jpg", "elsewhere.jpg")
    table = read(tmp_path, HEADER, ROW, other, ROW, ROW, away, away)
    placed = place_predictions(table, read_ground_truth(annotations))
    assert len(placed.detections) == 4
    assert len(placed.warnings) == 2
    assert placed.warnings[1].startswith("2 rows of ")


@pytest.mark.parametrize(
    ("box", "warned"),
    [
        ("-1,0,10,101", False),
        ("-3,0,10,10", True),
        ("0,0,10,103", True),
        ("50,50,9000,60", True),
    ],
)
def test_boxes_outside_are_counted(
    annotations: Path, tmp_path: Path, box: str, warned: bool
) -> None:
    row = ",".join(["a.jpg", box, *ROW.split(",")[5:]])
    placed = place_predictions(read(tmp_path, HEADER, row), read_ground_truth(annotations))
    assert len(placed.detections) == 1
    assert any("1 boxes of " in warning for warning in placed.warnings) is warned
    if warned:
        assert "a.png, 100 × 100 px" in placed.warnings[0]


def test_nothing_predicted_is_said(annotations: Path, tmp_path: Path) -> None:
    placed = place_predictions(read(tmp_path, HEADER), read_ground_truth(annotations))
    assert "no prediction on any of the 2 photos" in placed.warnings[0]


def test_placed_by_photo_then_row(annotations: Path, tmp_path: Path) -> None:
    truth = read_ground_truth(annotations)
    lines = [
        ROW.replace("a.jpg", name).replace("0.9", detection)
        for name, detection in [("b", "0.1"), ("a", "0.2"), ("zz", "0.3"), ("b", "0.4")]
    ]
    placed = place_predictions(read(tmp_path, HEADER, *lines), truth)
    assert placed.detections.photo.tolist() == [0, 1, 1]
    assert placed.detections.detection.tolist() == [0.2, 0.1, 0.4]
    assert placed.left_out == 1
    assert any(
        "1 predictions on 1 photos that are not among those measured" in w for w in placed.warnings
    )


def test_order_of_photos_in_the_table_does_not_matter(annotations: Path, predictions: Path) -> None:
    truth = read_ground_truth(annotations)
    first = place_predictions(read_predictions(predictions), truth).detections
    header, *rows = predictions.read_text().splitlines()
    predictions.write_text("\n".join([header, *rows[2:], *rows[:2]]))
    second = place_predictions(read_predictions(predictions), truth).detections
    np.testing.assert_array_equal(first.photo, second.photo)
    np.testing.assert_array_equal(first.boxes, second.boxes)


def test_no_photo_in_common(annotations: Path, tmp_path: Path) -> None:
    truth = read_ground_truth(annotations)
    table = read(tmp_path, HEADER, ROW.replace("a.jpg", "zz.jpg"))
    with pytest.raises(TableError, match=r"none of its 1 photos .*'zz\.jpg'.* 'a\.png'"):
        place_predictions(table, truth)


def test_names_alone_are_mentioned(annotations: Path, tmp_path: Path) -> None:
    truth = read_ground_truth(annotations.parent)
    placed = place_predictions(read(tmp_path, HEADER, ROW.replace("a.jpg", "images/a.jpg")), truth)
    assert placed.warnings[0].startswith("1 photos are found by their file name alone")
