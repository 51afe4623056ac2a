"""faces.csv, folders of VOC files and predictions.csv as they are measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.base.errors import DatasetError
from data_prep.base.tables import COLUMNS, TableError
from data_prep.formats.input_files import InputError
from evaluate.inputs.predictions import Predictions, place_predictions, read_predictions
from evaluate.inputs.truth import read_truth
from evaluate.options import EvaluateOptions
from tests.evaluate.voc_files import voc_xml

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


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(("encoding", "newline"), [("utf-8", "\n"), ("utf-8-sig", "\r\n")])
def test_delimiters_marks_and_line_ends(
    tmp_path: Path, delimiter: str, encoding: str, newline: str
) -> None:
    """A quoted name with every delimiter, blanks around cells, a blank line, more columns."""
    path = tmp_path / "table.csv"
    rows = [f"{HEADER},size", "NAME, 0 ,0,10,10,With Mask,0.8,0.9,3"]
    rows += ["", "ü.jpg,1,2,3.5,4,no-mask,0,1e-3,4"]
    text = newline.join(rows).replace(",", delimiter).replace("NAME", '"a; b, c\td.jpg"')
    path.write_bytes(text.encode(encoding))
    table = read_predictions(path)
    assert table.images == ("a; b, c\td.jpg", "ü.jpg")
    assert table.detections.labels.tolist() == [0, 1]
    assert table.detections.boxes[1].tolist() == [1, 2, 3.5, 4]
    assert table.detections.probabilities is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg,0,0,10,10,with_mask,nan,0.9", "line 3: score is nan"),
        ("a.jpg,0,0,10,10,with_mask,0.8,-0.1", "line 3: detection is -0.1; scores .* between"),
        ("a.jpg,0,0,10,10,with_mask,80,0.9", "line 3: score is 80; scores"),
        ("a.jpg,0,0,10,10,with_mask,,0.9", "line 3: '' for score is not a number"),
        ("a.jpg,0,0,ten,10,with_mask,0.8,0.9", "line 3: 'ten' for xmax is not a number"),
        ('a.jpg,"0,5",0,10,10,with_mask,0.8,0.9', "'0,5' for xmin .* a point, not a comma"),
        ("a.jpg,10,0,0,10,with_mask,0.8,0.9", r"line 3: box \(10, 0, 0, 10\) is inverted"),
        ("a.jpg,0,0,10,10,with_msk,0.8,0.9", "line 3: .*did you mean 'with_mask'"),
        (",0,0,10,10,with_mask,0.8,0.9", "line 3: image is empty"),
        ("a.jpg,0,0,10,10,with_mask,0.8", "line 3: 7 cells .* 8; repair the row or"),
        ("a.jpg,0,0,10,10,with_mask,0,8,0,9", r"10 cells .* \(decimals take points"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(TableError, match=message) as caught:
        read(tmp_path, HEADER, ROW, line)
    assert str(tmp_path / "table.csv") in str(caught.value)


def test_a_whole_table_in_another_order_is_told_the_one_that_fits(tmp_path: Path) -> None:
    rows = [f"a.jpg,{90 * n},200,{40 + n},60,with_mask,0.8,0.9" for n in range(1, 6)]
    with pytest.raises(
        TableError, match=r"5 of 5 boxes are inverted\. Are they x, y, width, height"
    ):
        read(tmp_path, HEADER, *rows)


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


@pytest.mark.parametrize("value", ["nan", "-0.2", "1.2"])
def test_probabilities(tmp_path: Path, value: str) -> None:
    columns = "p_with_mask,p_without_mask,p_mask_weared_incorrect"
    with pytest.raises(TableError, match="line 2: p_without_mask is"):
        read(tmp_path, f"{HEADER},{columns}", f"{ROW},0.5,{value},0.5")
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
    path.write_text(",,,\n,,,\n")
    with pytest.raises(TableError, match="the file is empty"):
        read_predictions(path)
    path.write_text(HEADER, encoding="utf-16-le")
    with pytest.raises(TableError, match="not text in UTF-8"):
        read_predictions(path)
    path.write_text(f'{HEADER}\n"{"a" * 200_000}')
    with pytest.raises(TableError, match="line 2: not CSV"):
        read_predictions(path)


def test_repeated_rows_are_counted(annotations: Path, tmp_path: Path) -> None:
    other = ROW.replace("with_mask", "no mask")
    away = ROW.replace("a.jpg", "elsewhere.jpg")
    table = read(tmp_path, HEADER, ROW, other, ROW, ROW, away, away)
    placed = place_predictions(table, read_truth(annotations))
    assert len(placed.detections) == 4
    assert len(placed.warnings) == 2
    assert placed.warnings[1].endswith("at most one of them can be a hit.")
    assert "table.csv: 2 rows repeat the photo" in placed.warnings[1]


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
    placed = place_predictions(read(tmp_path, HEADER, row), read_truth(annotations))
    assert len(placed.detections) == 1
    assert any(": 1 box reaches over" in warning for warning in placed.warnings) is warned
    if warned:
        assert "a.png, 100 × 100 px" in placed.warnings[0]


def test_placed_by_photo_then_row(annotations: Path, tmp_path: Path) -> None:
    truth = read_truth(annotations)
    lines = [
        ROW.replace("a.jpg", name).replace("0.9", detection)
        for name, detection in [("b", "0.1"), ("a", "0.2"), ("zz", "0.3"), ("b", "0.4")]
    ]
    placed = place_predictions(read(tmp_path, HEADER, *lines), truth)
    assert placed.detections.photo.tolist() == [0, 1, 1]
    assert placed.detections.detection.tolist() == [0.2, 0.1, 0.4]
    assert placed.left_out == 1
    assert "1 prediction is left out, on 1 photo not among" in "".join(placed.warnings)
    by_name = place_predictions(
        read(tmp_path, HEADER, ROW.replace("a.jpg", "images/a.jpg")),
        read_truth(annotations.parent, EvaluateOptions(truth_boxes="xywh")),
    )
    assert by_name.warnings[0].startswith("1 photo is found by file name alone")
    none = place_predictions(read(tmp_path, HEADER), truth)
    assert "no prediction on the 2 photos" in none.warnings[0]
    assert none.detections.boxes.shape == (0, 4)
    with pytest.raises(
        TableError,
        match=r"no photo in it is annotated: it has 1 photo such as 'zz\.jpg'.* 'a\.png'",
    ):
        place_predictions(read(tmp_path, HEADER, ROW.replace("a.jpg", "zz.jpg")), truth)


def write_faces(folder: Path, *rows: str) -> Path:
    path = folder / "faces.csv"
    path.write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    return path


def test_photos_are_called_by_their_files(annotations: Path) -> None:
    truth = read_truth(annotations)
    assert truth.photos == ("a.png", "b.png")
    assert truth.photo.tolist() == [0, 0, 1, 1]
    assert truth.labels.tolist() == [0, 1, 2, 0]
    assert truth.boxes[3].tolist() == [40, 40, 60, 60]
    assert (truth.difficult.any(), truth.warnings) == (False, ())
    images = annotations.parent / "images"
    images.mkdir()
    Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(images / "a.jpg")
    truth = read_truth(annotations.parent)
    # The photo of b.xml is not there: its faces still count.
    assert truth.photos == ("annotations/b.png", "images/a.jpg")
    assert truth.labels.tolist() == [2, 0, 0, 1]


def test_boxes_are_clipped_where_the_size_is_known(tmp_path: Path) -> None:
    faces = [("with_mask", (-2, 0, 101, 50)), ("no mask", (200, 0, 210, 9))]
    (tmp_path / "a.xml").write_text(voc_xml("a.png", faces, (100, 60)))
    (tmp_path / "b.xml").write_text(voc_xml("b.png", faces, None))
    truth = read_truth(tmp_path)
    assert truth.boxes.tolist() == [[0, 0, 100, 50], [0, 0, 101, 50], [200, 0, 210, 9]]
    assert len(truth.warnings) == 1
    assert truth.warnings[0].startswith("1 annotation is left out")


def test_difficult_photos_without_faces_and_bad_files(tmp_path: Path) -> None:
    text = voc_xml("a.png", [("with_mask", (0, 0, 9, 9))], (10, 10))
    (tmp_path / "a.xml").write_text(text.replace("<bndbox>", "<difficult>1</difficult><bndbox>"))
    (tmp_path / "empty.xml").write_text(voc_xml("empty.png", [], (10, 10)))
    (tmp_path / "broken.xml").write_text("<annotation>")
    (tmp_path / ".hidden.xml").write_text("<annotation>")
    truth = read_truth(tmp_path)
    assert truth.photos == ("a.png", "empty.png")
    assert truth.difficult.tolist() == [True]
    assert "1 annotation is left out" in truth.warnings[0]
    assert "broken.xml" in truth.warnings[0]


def test_file_names_written_in_the_xml(tmp_path: Path) -> None:
    face = [("with_mask", (0, 0, 9, 9))]
    (tmp_path / "a.xml").write_text(voc_xml("C:\\photos\\one.png", face, None))
    # Both call their photo two.png; the second is told apart by its own name.
    (tmp_path / "b.xml").write_text(voc_xml("two.png", face, None))
    (tmp_path / "c.xml").write_text(voc_xml("two.png", face, None))
    (tmp_path / "d.xml").write_text(voc_xml("", face, None))
    assert read_truth(tmp_path).photos == ("c.png", "d", "one.png", "two.png")


def test_folders_that_hold_no_ground_truth(tmp_path: Path, annotations: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: nothing that is known"):
        read_truth(tmp_path / "empty")
    (tmp_path / "empty" / "a.xml").write_text("")
    with pytest.raises(InputError, match=r"not known: a\.xml"):
        read_truth(tmp_path / "empty")
    with pytest.raises(InputError, match="but these are VOC XML files"):
        read_truth(annotations, EvaluateOptions(split="valid"))


ROWS = (
    "i/1.jpg,100,50,0,with_mask,0,0,10,10,0,one,0,valid,3.5,1,c.jpg",
    "i/1.jpg,100,50,1,without_mask,20,0,30,10,1,one,0,valid,3.5,0,",
    "i/1.jpg,100,50,0,mask_weared_incorrect,5,5,9,9,0,two,1,valid,,1,",
    "i/2.jpg,100,50,0,with_mask,5,5,9,9,False,two,2,train,,1,",
)


def test_faces_csv(tmp_path: Path) -> None:
    path = write_faces(tmp_path, *ROWS)
    truth = read_truth(path)
    assert truth.photos == ("one/i/1.jpg", "two/i/1.jpg", "two/i/2.jpg")
    assert truth.difficult.tolist() == [False, True, False, False]
    assert read_truth(tmp_path).photos == truth.photos
    valid = read_truth(path, EvaluateOptions(split="valid"))
    assert valid.photos == ("one/i/1.jpg", "two/i/1.jpg")
    assert valid.labels.tolist() == [0, 1, 2]
    assert read_truth(path, EvaluateOptions(split="valid", source="two")).photos == ("two/i/1.jpg",)
    with pytest.raises(InputError, match="no rows with source 'three'; in the file: one, two"):
        read_truth(path, EvaluateOptions(source="three"))
    with pytest.raises(InputError, match="no rows with split 'train'; in the file: valid"):
        read_truth(path, EvaluateOptions(source="one", split="train"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROWS[0], "line 6: object 0 of one/i/1.jpg is there twice"),
        (ROWS[0].replace("with_mask", "hat"), "line 6: unknown class 'hat'"),
        (ROWS[0].replace(",100,50,0", ",100,50,7").replace("0,0,10,10", "200,0,210,10"), "line 6"),
        (ROWS[0].replace(",0,one", ",maybe,one"), "line 6: 'maybe' for difficult"),
    ],
)
def test_bad_rows_in_faces_csv(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_truth(write_faces(tmp_path, *ROWS, row))


def test_faces_csv_without_rows_or_of_another_kind(tmp_path: Path, predictions: Path) -> None:
    with pytest.raises(InputError, match="no faces below the header"):
        read_truth(write_faces(tmp_path))
    with pytest.raises(InputError, match=r"predictions.csv: .* the order looks turned"):
        read_truth(predictions)
    table = tmp_path / "boxes.csv"
    table.write_text("image,xmin,ymin,xmax,ymax,label\na.jpg,1,2,30,40,with_mask\n")
    with pytest.raises(DatasetError, match="no photo beside it or below"):
        read_truth(table)
    Image.new("RGB", (60, 50)).save(tmp_path / "a.jpg")
    assert read_truth(table).boxes.tolist() == [[1, 2, 30, 40]]
