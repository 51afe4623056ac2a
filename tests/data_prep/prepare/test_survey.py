"""The pass over the photos."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.base.crop import crop_face, crop_name
from data_prep.base.files import OutputError
from data_prep.base.photo import read_photo
from data_prep.base.records import AnnotatedPhoto, Box, Face
from data_prep.formats.registry import read_dataset
from data_prep.prepare.blur import blur_score
from data_prep.prepare.survey import survey_photos
from tests.makers import add_example, make_dataset


@pytest.fixture
def crops(tmp_path):
    folder = tmp_path / "crops"
    folder.mkdir()
    return folder


def survey_one(tmp_path, crops, objects, **annotation):
    add_example(tmp_path / "set", "a", 0, objects)
    (photo,) = read_dataset(tmp_path / "set").photos
    photo = AnnotatedPhoto(**{**photo.__dict__, **annotation})
    (surveyed,) = survey_photos([photo], crops=crops, scale=1.5, workers=1)
    return surveyed


def test_crop_on_disk_is_the_crop_of_the_photo(tmp_path, crops):
    surveyed = survey_one(tmp_path, crops, [("face", (20, 15, 60, 55))])
    (face,) = surveyed.faces
    pixels = read_photo(tmp_path / "set" / "images" / "a.jpg").pixels
    crop = crop_face(pixels, Box(20, 15, 60, 55), 1.5)
    written = cv2.imread(str(crops / face.crop))[:, :, ::-1]
    assert written.shape == crop.shape == (60, 60, 3)
    assert np.abs(written.astype(int) - crop).mean() < 2
    assert face.blur == blur_score(crop)
    assert face.face == Face(0, "without_mask", Box(20, 15, 60, 55))
    assert (surveyed.width, surveyed.height, surveyed.findings) == (120, 90, ())


def test_clipped_box_is_recorded(tmp_path, crops):
    surveyed = survey_one(tmp_path, crops, [("face", (80, 15, 121, 55))])
    assert surveyed.faces[0].face.box == Box(80, 15, 120, 55)
    (finding,) = surveyed.findings
    assert (finding.kind, finding.dropped) == ("clipped-box", False)
    assert finding.file == "set/annotations/a.xml"


def test_stated_size_that_differs_is_recorded(tmp_path, crops):
    surveyed = survey_one(tmp_path, crops, [("face", (20, 15, 60, 55))], width=240, height=180)
    (finding,) = surveyed.findings
    assert finding.kind == "size-differs"
    assert "240 × 180" in finding.message
    assert "120 × 90" in finding.message


def test_unstated_size_is_fine(tmp_path, crops):
    surveyed = survey_one(tmp_path, crops, [("face", (20, 15, 60, 55))], width=None, height=None)
    assert surveyed.findings == ()


def test_several_threads_give_the_same_in_the_same_order(tmp_path, crops):
    photos = read_dataset(make_dataset(tmp_path / "set", photos=12)).photos
    alone = survey_photos(photos, crops=crops, scale=1.5, workers=1)
    written = {path.name: path.read_bytes() for path in crops.iterdir()}
    together = survey_photos(photos, crops=crops, scale=1.5, workers=2)
    assert [item.photo for item in together] == list(photos)
    assert [item.faces for item in together] == [item.faces for item in alone]
    assert {path.name: path.read_bytes() for path in crops.iterdir()} == written
    assert len(written) == 24


def test_folder_that_cannot_be_written(tmp_path):
    photos = read_dataset(make_dataset(tmp_path / "set", photos=1)).photos
    with pytest.raises(OutputError, match="can't be written"):
        survey_photos(photos, crops=tmp_path / "nowhere", scale=1.5, workers=1)


def name_of(source, image, index=0):
    return crop_name(AnnotatedPhoto(source, Path("x"), image, "a.xml", None, None, ()), index)


def test_crop_names_are_readable_stable_and_unique():
    assert name_of("set", "images/a.jpg", 3).startswith("a_3_")
    names = {
        name_of("set", "images/a.jpg"),
        name_of("set", "images/a.jpg", 1),
        name_of("set", "images/a.png"),
        name_of("set", "other/a.jpg"),
        name_of("other", "images/a.jpg"),
    }
    assert len(names) == 5
    assert name_of("set", "images/a.jpg") in names


def test_longest_name_a_system_allows_still_gives_a_file(tmp_path):
    name = name_of("set", "口" * 80 + ".jpg")
    (tmp_path / name).write_bytes(b"x")
    assert name.endswith(".jpg")
