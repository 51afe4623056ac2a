from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.base.labels import UnknownLabelError, Vocabulary
from data_prep.base.strict_csv import TableError
from data_prep.formats.input_files import InputError
from evaluate.inputs.truth import read_ground_truth
from tests.evaluate.voc_files import voc_xml

COLUMNS = "image,width,height,object,label,xmin,ymin,xmax,ymax,difficult,source,group,split"
HEADER = f"{COLUMNS},blur,kept,crop"


def write_faces(folder: Path, *rows: str) -> Path:
    path = folder / "faces.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_annotations_without_photos(annotations: Path) -> None:
    truth = read_ground_truth(annotations)
    assert truth.photos == ("a.png", "b.png")
    assert truth.photo.tolist() == [0, 0, 1, 1]
    assert truth.labels.tolist() == [0, 1, 2, 0]
    assert truth.boxes[3].tolist() == [40, 40, 60, 60]
    assert not truth.difficult.any()
    assert truth.warnings == ()


def test_photos_are_called_by_their_files(annotations: Path) -> None:
    images = annotations.parent / "images"
    images.mkdir()
    Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(images / "a.jpg")
    truth = read_ground_truth(annotations.parent)
    # The photo of b.xml is not there: its faces still count.
    assert truth.photos == ("annotations/b.png", "images/a.jpg")
    assert truth.labels.tolist() == [2, 0, 0, 1]


def test_two_annotations_of_one_photo(annotations: Path) -> None:
    Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(annotations / "a.jpg")
    face = [("with_mask", (0, 0, 9, 9))]
    (annotations / "a2.xml").write_text(voc_xml("a.png", face, (100, 100)))
    truth = read_ground_truth(annotations)
    assert truth.photos == ("a.jpg", "b.png")
    assert "already annotated" in truth.warnings[0]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_that_are_no_text(annotations: Path) -> None:
    with open(os.fsencode(annotations) + b"/\xff.xml", "w") as file:  # noqa: PTH123 - bytes
        file.write(voc_xml("c.png", [], None))
    truth = read_ground_truth(annotations)
    assert truth.photos == ("a.png", "b.png")
    assert "not valid UTF-8" in truth.warnings[0]


def test_boxes_are_clipped_where_the_size_is_known(tmp_path: Path) -> None:
    faces = [("with_mask", (-2, 0, 101, 50)), ("no mask", (200, 0, 210, 9))]
    (tmp_path / "a.xml").write_text(voc_xml("a.png", faces, (100, 60)))
    (tmp_path / "b.xml").write_text(voc_xml("b.png", faces, None))
    truth = read_ground_truth(tmp_path)
    assert truth.boxes.tolist() == [[0, 0, 100, 50], [0, 0, 101, 50], [200, 0, 210, 9]]
    assert len(truth.warnings) == 1
    assert truth.warnings[0].startswith("1 annotation files or faces can't be used")


def test_difficult_photos_without_faces_and_bad_files(tmp_path: Path) -> None:
    text = voc_xml("a.png", [("with_mask", (0, 0, 9, 9))], (10, 10))
    (tmp_path / "a.xml").write_text(text.replace("<bndbox>", "<difficult>1</difficult><bndbox>"))
    (tmp_path / "empty.xml").write_text(voc_xml("empty.png", [], (10, 10)))
    (tmp_path / "broken.xml").write_text("<annotation>")
    (tmp_path / ".hidden.xml").write_text("<annotation>")
    truth = read_ground_truth(tmp_path)
    assert truth.photos == ("a.png", "empty.png")
    assert truth.difficult.tolist() == [True]
    assert "1 annotation files or faces" in truth.warnings[0]
    assert "broken.xml" in truth.warnings[0]


def test_file_names_written_in_the_xml(tmp_path: Path) -> None:
    face = [("with_mask", (0, 0, 9, 9))]
    (tmp_path / "a.xml").write_text(voc_xml("C:\\photos\\one.png", face, None))
    # Both call their photo two.png; the second is told apart by its own name.
    (tmp_path / "b.xml").write_text(voc_xml("two.png", face, None))
    (tmp_path / "c.xml").write_text(voc_xml("two.png", face, None))
    (tmp_path / "d.xml").write_text(voc_xml("", face, None))
    assert read_ground_truth(tmp_path).photos == ("c.png", "d", "one.png", "two.png")


def test_folders_that_hold_no_ground_truth(tmp_path: Path, annotations: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read_ground_truth(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no VOC annotation"):
        read_ground_truth(tmp_path / "empty")
    (tmp_path / "empty" / "a.xml").write_text("")
    with pytest.raises(InputError, match=r"1 annotation files .*a\.xml"):
        read_ground_truth(tmp_path / "empty")
    with pytest.raises(InputError, match="a single XML file"):
        read_ground_truth(annotations / "a.xml")
    with pytest.raises(InputError, match="but this is a folder"):
        read_ground_truth(annotations, split="valid")


def test_unknown_class_in_an_annotation(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(voc_xml("a.png", [("with_msk", (0, 0, 9, 9))], None))
    with pytest.raises(UnknownLabelError, match=r"a\.xml:1: .*did you mean 'with_mask'"):
        read_ground_truth(tmp_path)
    truth = read_ground_truth(tmp_path, vocabulary=Vocabulary(aliases={"with_msk": "with_mask"}))
    assert truth.labels.tolist() == [0]


ROWS = (
    "i/1.jpg,100,50,0,with_mask,0,0,10,10,0,one,0,valid,3.5,1,c.jpg",
    "i/1.jpg,100,50,1,without_mask,20,0,30,10,1,one,0,valid,3.5,0,",
    "i/1.jpg,100,50,0,mask_weared_incorrect,5,5,9,9,0,two,1,valid,,1,",
    "i/2.jpg,100,50,0,with_mask,5,5,9,9,False,two,2,train,,1,",
)


def test_faces_csv(tmp_path: Path) -> None:
    path = write_faces(tmp_path, *ROWS)
    truth = read_ground_truth(path)
    assert truth.photos == ("one/i/1.jpg", "two/i/1.jpg", "two/i/2.jpg")
    assert truth.difficult.tolist() == [False, True, False, False]
    assert read_ground_truth(tmp_path).photos == truth.photos
    valid = read_ground_truth(path, split="valid")
    assert valid.photos == ("one/i/1.jpg", "two/i/1.jpg")
    assert valid.labels.tolist() == [0, 1, 2]
    assert read_ground_truth(path, split="valid", source="two").photos == ("two/i/1.jpg",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "no rows with split 'test'; in the file: train, valid"),
        ({"source": "three"}, "no rows with source 'three'; in the file: one, two"),
        ({"source": "one", "split": "train"}, "no rows with split 'train'; in the file: valid"),
    ],
)
def test_rows_that_are_not_there(tmp_path: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_ground_truth(write_faces(tmp_path, *ROWS), **options)


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
        read_ground_truth(write_faces(tmp_path, *ROWS, row))


def test_faces_csv_without_rows_or_of_another_kind(tmp_path: Path, predictions: Path) -> None:
    with pytest.raises(InputError, match="no faces below the header"):
        read_ground_truth(write_faces(tmp_path))
    with pytest.raises(TableError, match=r"no column width, height, object.*data_prep"):
        read_ground_truth(predictions)
