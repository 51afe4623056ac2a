"""Ready crops in folders called after the classes."""

import pytest

from data_prep.base.errors import DatasetError
from data_prep.base.labels import UnknownLabelError
from data_prep.base.records import Box, Face
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.registry import read_dataset
from tests.makers import make_photo


@pytest.mark.parametrize("split", ["", "train/"])
def test_the_folder_is_the_class(tmp_path, split):
    make_photo(tmp_path / f"{split}With Mask" / "a.jpg", 60, 40)
    make_photo(tmp_path / f"{split}no_mask" / "b.png", 50, 50, seed=1)
    read = read_dataset(tmp_path)
    assert read.findings == ()
    assert [(p.image, p.annotation, p.width, p.height, p.faces) for p in read.photos] == [
        (name, name, *size, (Face(0, label, Box(0, 0, *size)),))
        for name, size, label in (
            (f"{split}With Mask/a.jpg", (60, 40), "with_mask"),
            (f"{split}no_mask/b.png", (50, 50), "without_mask"),
        )
    ]


def test_the_face_is_the_middle_of_a_wider_crop(tmp_path):
    make_photo(tmp_path / "mask" / "a.jpg", 60, 30)
    read = read_dataset(tmp_path, ReadOptions(crop_scale=1.5))
    assert read.photos[0].faces[0].box == pytest.approx(Box(10, 5, 50, 25))
    with pytest.raises(DatasetError, match="crop-scale"):
        read_dataset(tmp_path, ReadOptions(crop_scale=0.5))


def test_recognised_only_when_all_folders_are_classes(tmp_path):
    make_photo(tmp_path / "mask" / "a.jpg")
    make_photo(tmp_path / "others" / "b.jpg", seed=1)
    with pytest.raises(DatasetError, match="no VOC annotation"):
        read_dataset(tmp_path)
    with pytest.raises(UnknownLabelError, match=r"/others: unknown class 'others'"):
        read_dataset(tmp_path, ReadOptions(format=Format.CROPS))
    read = read_dataset(tmp_path, ReadOptions(aliases={"mask": "with_mask", "others": "with_mask"}))
    assert len(read.photos) == 2


def test_any_name_is_a_class_when_the_format_is_given(tmp_path):
    make_photo(tmp_path / "mask" / "a.jpg")
    make_photo(tmp_path / "others" / "b.jpg", seed=1)
    with pytest.raises(DatasetError, match="no VOC annotation"):
        read_dataset(tmp_path, ReadOptions(classes=None))
    read = read_dataset(tmp_path, ReadOptions(classes=None, format=Format.CROPS))
    assert [photo.faces[0].label for photo in read.photos] == ["mask", "others"]


def test_photos_that_are_no_crops(tmp_path):
    make_photo(tmp_path / "set" / "mask" / "a.jpg")
    (tmp_path / "set" / "mask" / "b.jpg").write_bytes(b"no photo")
    make_photo(tmp_path / "set" / "c.jpg", seed=1)
    read = read_dataset(tmp_path / "set", ReadOptions(format=Format.CROPS))
    assert [photo.image for photo in read.photos] == ["mask/a.jpg"]
    assert [(f.file, f.kind, f.dropped) for f in read.findings] == [
        ("set/mask/b.jpg", "unreadable-photo", True),
        ("set/c.jpg", "photo-without-annotation", False),
    ]
