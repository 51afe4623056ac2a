"""COCO: annotations, read leniently as a dataset and strictly to be measured by, and results."""

import json
import time
from pathlib import Path

import pytest

from data_prep.base.errors import DatasetError
from data_prep.base.labels import UnknownLabelError
from data_prep.base.records import Box, Face
from data_prep.formats.coco import read_coco, read_coco_index, read_coco_results
from data_prep.formats.contracts import Faults, ReadOptions
from data_prep.formats.input_files import InputError
from data_prep.formats.registry import read_dataset
from tests.makers import make_photo

CATEGORIES = [
    {"id": 0, "name": "things", "supercategory": "none"},
    {"id": 7, "name": "With Mask"},
    {"id": "x", "name": "no_mask"},
]


def image(key, name, **more):
    return {"id": key, "file_name": name, "width": 120, "height": 90, **more}


def face(photo=1, category=7, bbox=(10, 12, 20, 28), **more):
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
            face(ignore=1),
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
        entries = [image(1, "a.jpg")], [face(1, ["x", 7][index])]
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
    save(tmp_path / "all.json", [image(1, "a.jpg")], [face()])
    (finding, *_) = read_dataset(tmp_path).findings
    assert finding.kind == "ambiguous-photo"
    assert "could be any of 2 photos" in finding.message


def test_photo_of_another_folder_is_not_taken_for_a_missing_one(tmp_path):
    make_photo(tmp_path / "train" / "b.jpg")
    make_photo(tmp_path / "valid" / "a.jpg", seed=1)
    save(tmp_path / "all.json", [image(1, "train/a.jpg"), image(2, "train/b.jpg")], [face()])
    read = read_dataset(tmp_path)
    assert [photo.image for photo in read.photos] == ["train/b.jpg"]
    assert kinds(read) == ["missing-photo", "photo-without-annotation"]


@pytest.mark.parametrize("written", ["/home/me/shots/a.png", "C:\\shots\\A.jpg", "shots/a.jpg"])
def test_name_alone_counts_where_no_path_fits(root, written):
    save(root / "coco.json", [image(1, written)], [face()])
    assert [photo.image for photo in read_dataset(root).photos] == ["images/a.jpg"]


def test_faulty_entries_are_left_out_alone(root):
    images = [image(1, "a.jpg"), {"id": 2}, image(3, "images/a.jpg"), image(4, "lost.jpg")]
    save(root / "coco.json", images, ["face", face(), face(bbox=(1, 2, -3, 4)), face(3)])
    save(root / "more.json", [image(1, "b.jpg"), image(2, "a.jpg")], [face()])
    read = read_dataset(root)
    assert [(p.image, len(p.faces)) for p in read.photos] == [
        ("images/a.jpg", 1),
        ("images/b.jpg", 1),
    ]
    assert kinds(read) == [
        *("bad-image", "bad-annotation", "bad-annotation"),
        *("second-annotation", "missing-photo", "second-annotation", "photo-without-annotation"),
    ]
    assert read.findings[1].message.startswith("set/coco.json, annotations[0]: ")
    assert "annotated in coco.json" in read.findings[3].message


def test_ids_that_mean_two_things_stop(root):
    save(root / "coco.json", [image(1, "a.jpg"), image(1, "b.jpg")], [])
    with pytest.raises(DatasetError, match=r"images\[1\]: id 1 is that of 'a.jpg' too"):
        read_dataset(root)
    categories = [{"id": 7, "name": "mask"}, {"id": 7, "name": "no_mask"}]
    save(root / "coco.json", [image(1, "a.jpg")], [], categories)
    with pytest.raises(DatasetError, match=r"categories\[1\]: id 7 is that of 'mask' too"):
        read_dataset(root)


def test_unknown_class_stops_only_where_it_is_used(root):
    save(root / "coco.json", [image(1, "a.jpg")], [face(), face(1, 0)])
    with pytest.raises(UnknownLabelError, match=r"set/coco.json, annotations\[1\].*'things'"):
        read_dataset(root)
    read = read_dataset(root, ReadOptions(classes=None))
    assert [face.label for face in read.photos[0].faces] == ["With Mask", "things"]


def test_broken_file_and_no_photos(root, tmp_path):
    path = save(root / "coco.json", [image(1, "a.jpg")], [face()])
    (root / "half.json").write_text(path.read_text()[:-5])
    read = read_dataset(root)
    assert kinds(read)[0] == "broken-json"
    assert "half.json, line 1: broken JSON" in read.findings[0].message
    assert len(read.photos) == 1
    path.unlink()
    with pytest.raises(DatasetError, match=r"no COCO annotations.*half.json, line 1: broken JSON"):
        read_dataset(root)
    save(tmp_path / "bare" / "coco.json", [image(1, "a.jpg")], [face()])
    with pytest.raises(DatasetError, match=r"annotations \(bare/coco.json\) but no photo"):
        read_dataset(tmp_path / "bare")


def test_shares_are_not_taken_for_pixels(root):
    save(root / "coco.json", [image(1, "a.jpg")], [face(bbox=(0.1, 0.2, 0.3, 0.3))])
    with pytest.raises(DatasetError, match="no pixels"):
        read_dataset(root)


def test_many_annotations_are_read_in_seconds(root):
    images = [image(n, f"{n}.jpg") for n in range(2_000)] + [image("a", "a.jpg")]
    save(root / "coco.json", images, [face("a") for _ in range(10_000)])
    start = time.perf_counter()
    read = read_dataset(root)
    assert time.perf_counter() - start < 10
    assert len(read.photos[0].faces) == 10_000


def test_what_other_tools_write(root):
    """No bbox but polygons, numbers in quotes, attributes of CVAT."""
    polygons = [[10, 12, 30, 12, 20, 40], [11, 50, 12, 60]]
    bare = {"image_id": "1", "category_id": "7", "segmentation": polygons}
    entries = [bare, {**bare, "bbox": []}, face(bbox=["1", "2", "30", "40"]), face(1, "8")]
    entries += [{**bare, "segmentation": {"counts": "abc", "size": [9, 9]}}]
    entries += [face(attributes={"rotation": 30.0, "occluded": False}, segmentation=polygons)]
    categories = [*CATEGORIES, {"id": "8", "name": "no_mask"}]
    save(root / "coco.json", [image(1, "a.jpg")], entries, categories)
    read = read_dataset(root)
    around = Box(10, 12, 30, 60)
    assert [(face.object, face.box) for face in read.photos[0].faces] == [
        *((0, around), (1, around), (2, Box(1, 2, 31, 42))),
        *((3, Box(10, 12, 30, 40)), (5, Box(10, 12, 30, 40))),
    ]
    assert kinds(read) == [
        *("bad-annotation", "not-read", "outlined-faces"),
        *["photo-without-annotation"] * 2,
    ]
    told = read.findings[1].message
    assert told.endswith("attribute rotation of 1 face, segmentation of 1 face.")


def test_absurd_length_is_told_unread(tmp_path):
    make_photo(tmp_path / "a.jpg")
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(5 << 30)  # Takes no room on the disk.
    with pytest.raises(DatasetError, match=r"a.json: 5.0 GiB, too long"):
        read_dataset(tmp_path)


def strictly(path):
    """Faults raised."""
    options = ReadOptions()
    read = read_coco(path, Faults(str(path), strict=True), options)
    options.check_labels()
    return read


@pytest.mark.parametrize("name", ["iscrowd", "difficult", "ignore"])
@pytest.mark.parametrize(
    ("value", "difficult"), [(1, True), (True, True), (0, False), (None, False)]
)
def test_difficult_faces(tmp_path, name, value, difficult):
    path = save(tmp_path / "a.json", [image(1, "a.jpg")], [face(**{name: value})])
    assert strictly(path)[0].faces[0].difficult is difficult


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n", "the file is empty"),
        ('{"images": [\n}', "line 2: broken JSON"),
        ("[" * 100_000, "nested too deep"),
        ("1" * 5000, "JSON that can't be read"),
        ("[]", "a list of 0 instead of COCO annotations"),
        ("3", "3 instead of"),
        ("{}", "an object with nothing in it instead of"),
        ('{"images": [], "\\ud800": 1}', r"an object with 'images', '\\ud800' instead of"),
        ('{"images": [], "annotations": {}, "categories": []}', "instead of COCO annotations"),
    ],
)
def test_files_that_are_no_annotations(tmp_path, text, message):
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        strictly(tmp_path / "boxes.json")
    assert str(tmp_path / "boxes.json") in str(caught.value)


def test_encodings(tmp_path):
    path = save(tmp_path / "a.json", [image(1, "a.jpg")], [face()])
    text = path.read_text()
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_text(text, encoding=encoding)
        assert len(strictly(path)[0].faces) == 1
    path.write_text(text, encoding="utf-16-le")
    with pytest.raises(InputError, match="not text in UTF-8"):
        strictly(path)
    with pytest.raises(InputError, match="can't be read"):
        strictly(tmp_path / "missing.json")


NAN = float("nan")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (face(8), r"annotations\[0\]: image_id 8 is not in 'images'"),
        (face(True), "image_id is true, not a whole number or a text"),
        (face(None), "image_id is missing"),
        (face(1, 2), "category_id 2 is not in 'categories'.*there are 0, 7, 'x'"),
        ({**face(), "bbox": None}, "bbox is missing, not 4 numbers"),
        (face(bbox=(1, 2, 3)), "bbox is a list of 3"),
        (face(bbox=(1, 2, True, 4)), "a number of bbox is true"),
        (face(bbox=(1, 2, NAN, 4)), "a number of bbox is not a finite number"),
        (face(bbox=(1, 2, 10**400, 4)), "not a finite number"),
        (face(bbox=(1, 2, -3, 4)), r"box \(1, 2, -2, 6\) is inverted; bbox is x, y, width, height"),
        (face(bbox=(1e308, 2, 1e308, 4)), "the box is not finite"),
        (face(iscrowd=2), "iscrowd is 2, neither 0 nor 1"),
        (face(ignore={}), "ignore is an object with nothing in it, neither 0 nor 1"),
        ([], r"annotations\[0\]: a list of 0, not an object"),
        (face(1, 0), r"annotations\[0\]: category_id 0: unknown class 'things'"),
    ],
)
def test_bad_annotations_are_named(tmp_path, entry, message):
    path = save(tmp_path / "a.json", [image(1, "a.jpg")], [entry])
    with pytest.raises((InputError, UnknownLabelError), match=message) as caught:
        strictly(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("images", "categories", "message"),
    [
        ([None], [], r"images\[1\]: missing, not an object"),
        ([image(2, "\ud800")], [], "file_name is .*not a text"),
        ([], [{"id": 1}], r"categories\[0\]: name is missing"),
    ],
)
def test_bad_images_and_categories_are_named(tmp_path, images, categories, message):
    path = save(tmp_path / "a.json", [image(1, "s/a.jpg"), *images], [], categories)
    with pytest.raises(InputError, match=message):
        strictly(path)


@pytest.fixture
def results_of(tmp_path):
    """Photos with faces and scores, by the ids of annotations or by the names of photos."""
    index = read_coco_index(save(tmp_path / "a.json", [image(1, "a.jpg"), image("y", "b.jpg")], []))

    def read(*entries, photos=None):
        path = tmp_path / "results.json"
        path.write_text(json.dumps(entries))
        known = {"index": index} if photos is None else {"photos": photos}
        options = ReadOptions()
        read = read_coco_results(path, options, **known)
        options.check_labels()
        return read

    return read


def test_results_by_ids(results_of):
    last = face("y", "x", (-5, 0, 9.5, 0), score=1)
    found = results_of(face(score=0.5), last, face(1, 7.0, score=0.25))
    assert [(photo.image, photo.scores) for photo in found] == [
        ("a.jpg", (0.5, 0.25)),
        ("b.jpg", (1,)),
    ]
    assert found[0].faces[1].label == "with_mask"
    assert found[1].faces == (Face(0, "without_mask", Box(-5, 0, 4.5, 0)),)
    assert results_of() == []


def test_results_of_a_class_to_leave_out(tmp_path):
    index = read_coco_index(save(tmp_path / "a.json", [image(1, "a.jpg")], []))
    path = tmp_path / "results.json"
    path.write_text(json.dumps([face(score=0.5), face(1, 0, score=0.25)]))
    (photo,) = read_coco_results(path, ReadOptions(aliases={"things": ""}), index=index)
    assert (len(photo.faces), photo.scores) == (1, (0.5,))


def test_results_without_coco_annotations(results_of):
    photos = ["d/000012.jpg", "12b.jpg", "007.png", "7.png", "e/5.jpg", "f/5.jpg", "crowd.2"]
    entries = [face(i, 3, score=0.5) for i in (12, "12b", 7, 5, 99, "crowd.2")]
    found = results_of(*entries, photos=photos)
    assert [p.image for p in found] == ["d/000012.jpg", "12b", "7.png", "5", "99", "crowd.2"]
    assert {photo.faces[0].label for photo in found} == {"mask_weared_incorrect"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": 1.5}, r"entry \[1\]: score is 1\.5; scores lie between 0 and 1"),
        ({"score": NAN}, "score is not a finite number"),
        ({"score": "high"}, 'score is "high", not a number'),
        ({"bbox": [1, 2, 3, -4]}, "is inverted"),
        ({"image_id": 8}, r"image_id 8 is not in 'images' of .*a\.json; check that the files"),
        ({"category_id": 4}, "category_id 4 is not in 'categories'"),
        ({"category_id": 0}, r"entry \[1\]: category_id 0: unknown"),
    ],
)
def test_bad_results_are_named(results_of, changes, message):
    good = face(score=0.5)
    with pytest.raises((InputError, UnknownLabelError), match=message):
        results_of(good, {**good, **changes})


@pytest.mark.parametrize(
    ("photo", "category", "message"),
    [
        (7, 0, r"category_id 0; .* 1 with_mask, 2 without_mask, 3 mask_weared"),
        (7, 4, "category_id 4; without COCO annotations"),
        (7, "with_mask", "category_id 'with_mask'; without COCO"),
        (" ", 1, "image_id ' ' is no name of a photo"),
        ("\ud800", 1, "is no name of a photo"),
    ],
)
def test_ids_that_stand_for_nothing(results_of, photo, category, message):
    with pytest.raises(InputError, match=message):
        results_of(face(photo, category, score=0.5), photos=["7.jpg"])


def test_annotations_are_no_results(tmp_path: Path):
    path = save(tmp_path / "a.json", [image(1, "a.jpg")], [])
    with pytest.raises(InputError, match=r"an object with 'images', .* instead of COCO results"):
        read_coco_results(path, ReadOptions())
    path.write_text("[3]")
    with pytest.raises(InputError, match=r"entry \[0\]: 3, not an object"):
        read_coco_results(path, ReadOptions())
