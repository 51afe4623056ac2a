"""COCO annotations, whole and with faults."""

import json
import time

import pytest

from data_prep.base.errors import DatasetError
from data_prep.base.labels import UnknownLabelError
from data_prep.base.records import Box, Face
from data_prep.formats.contracts import ReadOptions
from data_prep.formats.registry import read_dataset
from tests.makers import make_photo

CATEGORIES = [
    {"id": 0, "name": "things", "supercategory": "none"},
    {"id": 7, "name": "With Mask"},
    {"id": "x", "name": "no_mask"},
]


def image(key, name, **more):
    return {"id": key, "file_name": name, "width": 120, "height": 90, **more}


def face(photo, category=7, bbox=(10, 12, 20, 28), **more):
    return {"image_id": photo, "category_id": category, "bbox": list(bbox), **more}


def save(path, images, annotations, categories=CATEGORIES):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def root(tmp_path):
    for index, name in enumerate(("a", "b", "c")):
        make_photo(tmp_path / "set" / "images" / f"{name}.jpg", seed=index)
    return tmp_path / "set"


def kinds(read):
    return [finding.kind for finding in read.findings]


def test_faces_flags_and_photos_without_faces(root):
    save(
        root / "coco.json",
        [image(1, "a.jpg"), image("two", "images\\b.jpg"), image(3, "C.png", width=None)],
        [
            face("two", "x", iscrowd=1),
            face(1, ignore=1),
            face(1, "x", (0.5, 1, 2, 3.25), difficult=0),
        ],
    )
    read = read_dataset(root)
    assert read.findings == ()
    first, second, third = read.photos
    assert [photo.image for photo in read.photos] == [f"images/{n}.jpg" for n in "abc"]
    assert first.faces == (
        Face(0, "with_mask", Box(10, 12, 30, 40), True),
        Face(1, "without_mask", Box(0.5, 1, 2.5, 4.25)),
    )
    assert second.faces == (Face(0, "without_mask", Box(10, 12, 30, 40), True),)
    assert third.faces == ()
    assert (first.annotation, first.width, first.height) == ("coco.json", 120, 90)
    assert third.width is None


def test_a_file_per_split_with_the_same_names(tmp_path):
    for index, split in enumerate(("train", "valid")):
        make_photo(tmp_path / "near" / split / "a.jpg", seed=index)
        make_photo(tmp_path / "far" / "images" / split / "a.jpg", seed=index)
        label = ["x", 7][index]
        entries = [image(1, "a.jpg")], [face(1, label)]
        save(tmp_path / "near" / split / "_annotations.coco.json", *entries)
        save(tmp_path / "far" / "annotations" / f"instances_{split}.json", *entries)
    for name in ("near", "far"):
        read = read_dataset(tmp_path / name)
        assert read.findings == ()
        assert [(p.path.parent.name, p.faces[0].label) for p in read.photos] == [
            ("train", "without_mask"),
            ("valid", "with_mask"),
        ]


def test_name_that_fits_several_photos(tmp_path):
    for index, part in enumerate("xy"):
        make_photo(tmp_path / part / "a.jpg", seed=index)
    save(tmp_path / "all.json", [image(1, "a.jpg")], [face(1)])
    (finding, *_) = read_dataset(tmp_path).findings
    assert finding.kind == "ambiguous-photo"
    assert "could be any of 2 photos" in finding.message


def test_photo_of_another_folder_is_not_taken_for_a_missing_one(tmp_path):
    make_photo(tmp_path / "train" / "b.jpg")
    make_photo(tmp_path / "valid" / "a.jpg", seed=1)
    save(tmp_path / "all.json", [image(1, "train/a.jpg"), image(2, "train/b.jpg")], [face(1)])
    read = read_dataset(tmp_path)
    assert [photo.image for photo in read.photos] == ["train/b.jpg"]
    assert kinds(read) == ["missing-photo", "photo-without-annotation"]


@pytest.mark.parametrize("written", ["/home/me/shots/a.png", "C:\\shots\\A.jpg", "shots/a.jpg"])
def test_name_alone_counts_where_no_path_fits(root, written):
    save(root / "coco.json", [image(1, written)], [face(1)])
    assert [photo.image for photo in read_dataset(root).photos] == ["images/a.jpg"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (face(9), "image_id 9 is not in 'images'"),
        (face(1, 8), "category_id 8 is not in 'categories'; there are 0, 7, 'x'"),
        (face(1, bbox=(1, 2, -3, 4)), "is inverted"),
        ({"image_id": 1, "category_id": 7}, "bbox is missing"),
        ("face", "not an object"),
    ],
)
def test_faulty_annotation_is_left_out_alone(root, entry, message):
    save(root / "coco.json", [image(1, "a.jpg")], [entry, face(1)])
    read = read_dataset(root)
    (finding,) = [finding for finding in read.findings if finding.dropped]
    assert finding.message.startswith("set/coco.json, annotations[0]")
    assert message in finding.message
    assert len(read.photos[0].faces) == 1


def test_faulty_images_and_photos_claimed_twice(root):
    images = [image(1, "a.jpg"), {"id": 2}, image(3, "images/a.jpg"), image(4, "lost.jpg")]
    save(root / "coco.json", images, [face(1), face(3)])
    save(root / "more.json", [image(1, "b.jpg"), image(2, "a.jpg")], [face(1)])
    read = read_dataset(root)
    assert [photo.image for photo in read.photos] == ["images/a.jpg", "images/b.jpg"]
    assert kinds(read) == [
        "bad-image",
        "second-annotation",
        "missing-photo",
        "second-annotation",
        "photo-without-annotation",
    ]
    assert "annotated in coco.json" in read.findings[1].message


def test_ids_that_mean_two_things_stop(root):
    save(root / "coco.json", [image(1, "a.jpg"), image(1, "b.jpg")], [])
    with pytest.raises(DatasetError, match=r"images\[1\]: id 1 is that of 'a.jpg' too"):
        read_dataset(root)
    categories = [{"id": 7, "name": "mask"}, {"id": 7, "name": "no_mask"}]
    save(root / "coco.json", [image(1, "a.jpg")], [], categories)
    with pytest.raises(DatasetError, match=r"categories\[1\]: id 7 is that of 'mask' too"):
        read_dataset(root)


def test_unknown_class_stops_only_where_it_is_used(root):
    save(root / "coco.json", [image(1, "a.jpg")], [face(1), face(1, 0)])
    with pytest.raises(UnknownLabelError, match=r"set/coco.json, annotations\[1\].*'things'"):
        read_dataset(root)
    read = read_dataset(root, ReadOptions(classes=None))
    assert [face.label for face in read.photos[0].faces] == ["With Mask", "things"]


def test_broken_file(root):
    path = save(root / "coco.json", [image(1, "a.jpg")], [face(1)])
    (root / "half.json").write_text(path.read_text()[:-5])
    read = read_dataset(root)
    assert kinds(read)[0] == "broken-json"
    assert "half.json, line 1: broken JSON" in read.findings[0].message
    assert len(read.photos) == 1
    path.unlink()
    with pytest.raises(DatasetError, match=r"no COCO annotations.*half.json, line 1: broken JSON"):
        read_dataset(root)


def test_no_photos(tmp_path):
    save(tmp_path / "set" / "coco.json", [image(1, "a.jpg")], [face(1)])
    with pytest.raises(DatasetError, match=r"annotations \(set/coco.json\) but no photo"):
        read_dataset(tmp_path / "set")


def test_shares_are_not_taken_for_pixels(root):
    save(root / "coco.json", [image(1, "a.jpg")], [face(1, bbox=(0.1, 0.2, 0.3, 0.3))])
    with pytest.raises(DatasetError, match="no pixels"):
        read_dataset(root)


def test_many_annotations_are_read_in_seconds(root):
    images = [image(n, f"{n}.jpg") for n in range(2_000)] + [image("a", "a.jpg")]
    save(root / "coco.json", images, [face("a") for _ in range(10_000)])
    start = time.perf_counter()
    read = read_dataset(root)
    assert time.perf_counter() - start < 10
    assert len(read.photos[0].faces) == 10_000


def test_absurd_length_is_told_unread(tmp_path):
    make_photo(tmp_path / "a.jpg")
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(5 << 30)  # Takes no room on the disk.
    with pytest.raises(DatasetError, match=r"a.json: 5.0 GiB, too long"):
        read_dataset(tmp_path)
