"""The same two faces, however their files were named, written and put into folders."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.base.errors import UserError
from data_prep.base.labels import parse_aliases
from data_prep.base.photo import PhotoError, read_frame, read_photo
from data_prep.base.records import Box
from data_prep.base.tables import TableError
from data_prep.formats.contracts import ReadOptions
from data_prep.formats.predictions import AlarmRule
from data_prep.formats.registry import read_dataset
from evaluate.inputs.truth import read_truth
from tests.data_prep.formats.test_other_tools import CVAT, ORIGINAL, PERCENT, labelme, via
from tests.makers import make_photo, make_pixels, make_voc

BOXES = [(20, 10, 60, 50), (100, 30, 140, 90)]
NAMES = ("mask", "no_mask")
FACES = tuple(zip(NAMES, BOXES, strict=True))
YOLO = "0 0.2 0.3 0.2 0.4\n1 0.6 0.6 0.2 0.6\n"
LIST = "mask\nno_mask\n"
YAML = "names: [mask, no_mask]\n"
TABLE = "filename,class,xmin,ymin,xmax,ymax\na.jpg,mask,20,10,60,50\na.jpg,no_mask,100,30,140,90\n"


def voc(tmp_path, name="a.jpg"):
    return make_voc(tmp_path / "draft" / "a.xml", name, FACES, (200, 100)).read_text()


def coco(name="a.jpg", **changes):
    annotations = [
        {"id": n, "image_id": 1, "category_id": n, "bbox": [x, y, right - x, bottom - y]}
        for n, (x, y, right, bottom) in enumerate(BOXES, 1)
    ]
    annotations[0] |= changes
    return {
        "images": [{"id": 1, "file_name": name}],
        "categories": [{"id": n, "name": name} for n, name in enumerate(NAMES, 1)],
        "annotations": annotations,
    }


def write(root, photo, files):
    make_photo(root / photo, 200, 100)
    for name, content in files.items():
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return root


def check(root, photo):
    read = read_dataset(root)
    (found,) = read.photos
    assert [face.box for face in found.faces] == [pytest.approx(Box(*box)) for box in BOXES]
    assert [face.label for face in found.faces] == ["with_mask", "without_mask"]
    assert (found.image, found.left_out) == (photo, 0)
    assert not any(finding.dropped for finding in read.findings)
    truth = read_truth(root)
    assert truth.boxes.tolist() == [pytest.approx(box) for box in BOXES]
    assert len(truth.photos) == 1


NAMED = {
    "my photo.jpg": ("my%2520photo.jpg", "my+photo.jpg", "C:\\x\\my%20photo.jpg", "MY PHOTO.JPEG"),
    "a.jpg": ('"a.jpg"', "/files/a.jpg?token=1", "https://x.y/z/a.jpg#part", "s3://b/k/a.jpg"),
    "a&b.jpg": ("a&amp;b.jpg", "a%26b.jpg", "0a1b2c3d-a%26b.jpg"),
    "é.jpg": (unicodedata.normalize("NFD", "é.jpg"), "%C3%A9.jpg"),
}


@pytest.mark.parametrize(
    ("photo", "name"), [(photo, name) for photo, names in NAMED.items() for name in names]
)
def test_names_of_photos(tmp_path, photo, name):
    check(write(tmp_path / "set", photo, {"n.json": coco(name)}), photo)


def test_some_names_are_coded_and_some_are_not(tmp_path):
    for name in ("a.jpg", "a+b c.jpg"):
        make_photo(tmp_path / "images" / name, 200, 100)
    found = coco("images/a.jpg")
    found["images"].append({"id": 2, "file_name": "images/a%2Bb+c.jpg"})
    (tmp_path / "annotations.json").write_text(json.dumps(found))
    assert [photo.image for photo in read_dataset(tmp_path).photos] == [
        "images/a+b c.jpg",
        "images/a.jpg",
    ]


def test_lost_photo_is_no_other_whose_name_is_alike_when_decoded(tmp_path):
    for name in ("a b.jpg", "c.jpg"):
        make_photo(tmp_path / name, 200, 100)
    found = coco("a+b.jpg")
    found["images"] += [
        {"id": number, "file_name": name}
        for number, name in enumerate(("0a1b2c3d-c.jpg", "a b.jpg", "c.jpg"), start=2)
    ]
    (tmp_path / "annotations.json").write_text(json.dumps(found))
    read = read_dataset(tmp_path)
    assert [(photo.image, len(photo.faces)) for photo in read.photos] == [
        ("a b.jpg", 0),
        ("c.jpg", 0),
    ]
    assert [finding.kind for finding in read.findings] == ["missing-photo"] * 2


def test_photo_that_may_not_be_opened_is_told(tmp_path, monkeypatch):
    make_photo(tmp_path / "a.jpg", 200, 100)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PhotoError, match=r"a\.jpg.*Permission denied"):
        read_frame(tmp_path / "a.jpg")


def test_name_that_only_looks_like_an_address(tmp_path):
    """What follows a # or ? may be part of a name, and then another photo's."""
    root = write(tmp_path / "set", "a.jpg", {"n.json": coco("a#1.jpg")})
    (finding, _) = read_dataset(root).findings
    assert finding.kind == "missing-photo"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_ends_of_lines(tmp_path, encoding, end):
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    for form, photo, files in (
        ("voc", "a.jpg", {"a.xml": voc(tmp_path).replace("><", ">\n<")}),
        ("yolo", "images/a.jpg", {"labels/a.txt": YOLO, "classes.txt": LIST}),
        ("yaml", "images/a.jpg", {"labels/a.txt": YOLO, "data.yaml": YAML}),
        ("coco", "a.jpg", {"a.json": json.dumps(coco(), indent=1)}),
        ("labelme", "a.jpg", {"a.json": json.dumps(labelme(), indent=1)}),
        ("table", "a.jpg", {"a.csv": TABLE}),
    ):
        coded = {
            name: mark + text.replace("\n", end).encode(encoding) for name, text in files.items()
        }
        check(write(tmp_path / form, photo, coded), photo)


TREES = {
    "default namespace": ("<annotation>", '<annotation xmlns="http://x.y">'),
    "document type": ("<annotation>", "<!DOCTYPE annotation><annotation>"),
    "upper case": ("object>", "OBJECT>"),
    "objects in a list": ("</size>", "</size><objects>"),
    "all in one": ("<annotation>", "<annotations><annotation>"),
    "all in one of another": ("<annotation>", "<dataset><annotation>"),
    "its source": ("<size>", "<source><annotation>PASCAL VOC</annotation></source><size>"),
}


@pytest.mark.parametrize("kind", TREES)
def test_trees_of_voc(tmp_path, kind):
    old, new = TREES[kind]
    text = voc(tmp_path).replace(old, new)
    if new.startswith("</size><objects"):
        text = text.replace("</annotation>", "</objects></annotation>")
    if new.endswith("><annotation>") and new[1] != "!":
        text += new.partition("><")[0].replace("<", "</") + ">"
    check(write(tmp_path / "set", "a.jpg", {"a.xml": text}), "a.jpg")


def test_prefixed_namespaces(tmp_path):
    text = voc(tmp_path).replace("</", "</v:").replace("<", "<v:").replace("<v:/v:", "</v:")
    text = text.replace("<v:annotation", '<v:annotation xmlns:v="u"')
    check(write(tmp_path / "voc", "a.jpg", {"a.xml": text}), "a.jpg")
    text = CVAT.replace("<annotations>", '<annotations xmlns="u">')
    assert len(read_dataset(write(tmp_path / "c", "a.jpg", {"a.xml": text})).photos[0].faces) == 2


def test_annotations_of_several_photos_in_one_file(tmp_path):
    make_photo(tmp_path / "set" / "b.jpg", 200, 100, seed=1)
    text = f"<annotations>{voc(tmp_path)}{voc(tmp_path, 'b.jpg')}</annotations>"
    root = write(tmp_path / "set", "a.jpg", {"all.xml": text})
    assert [len(photo.faces) for photo in read_dataset(root).photos] == [2, 2]
    assert read_truth(root).photos == ("a.jpg", "b.jpg")


@pytest.mark.parametrize(
    ("photo", "label"),
    [
        ("JPEGImages/a.jpg", "labels/a.txt"),
        ("train/imgs/a.jpg", "train/labels/a.txt"),
        ("images/a.jpg", "labels/0a1b2c3d-a.txt"),
        ("images/a b.jpg", "labels/a%20b.txt"),
        ("images/a%20b.jpg", "labels/a b.txt"),
        ("images/a.jpg", "labels/a.jpg.txt"),
        ("Images/a.jpg", "Labels/a.txt"),
    ],
)
def test_places_of_labels(tmp_path, photo, label):
    check(write(tmp_path / "set", photo, {label: YOLO, "data.yaml": YAML}), photo)


def test_darknet_export_of_roboflow(tmp_path):
    files = {"train/a.txt": YOLO, "train/_darknet.labels": LIST}
    check(write(tmp_path / "set", "train/a.jpg", files), "train/a.jpg")


def test_table_with_further_columns_is_evaluated(tmp_path):
    """As data_prep reads it; those of faces.csv are told by more than one of their columns."""
    for name in ("split", "detection_id", "my_split"):
        rows = [f"{row},1" for row in TABLE.splitlines()]
        rows[0] = rows[0].removesuffix("1") + name
        root = write(tmp_path / name, "a.jpg", {"t.csv": "\n".join(rows)})
        for path in (root, root / "t.csv"):
            assert len(read_truth(path).boxes) == 2


def test_photos_whose_labels_may_be_called_otherwise_are_not_without_faces(tmp_path):
    files = {"labels/x1.txt": YOLO, "labels/b.txt": YOLO, "data.yaml": YAML}
    root = write(tmp_path / "set", "images/a.jpg", files)
    make_photo(root / "images" / "b.jpg", seed=1)
    read = read_dataset(root)
    assert [photo.image for photo in read.photos] == ["images/b.jpg"]
    assert [finding.kind for finding in read.findings if finding.dropped] == [
        *("missing-photo", "photo-without-labels")
    ]


TWICE = {
    "a list of COCO": ("a.json", json.dumps(coco())[:-1] + ', "annotations": []}'),
    "a box of COCO": (
        "a.json",
        json.dumps(coco()).replace('"bbox"', '"bbox": [1, 1, 5, 5], "bbox"'),
    ),
    "shapes of LabelMe": ("a.json", json.dumps(labelme())[:-1] + ', "shapes": []}'),
    "a photo of VIA": ("a.json", json.dumps(via())[:-1] + ', "a.jpg9": {"filename": "a.jpg"}}'),
    "names": ("data.yaml", f"{YAML}names: [no_mask, mask]\n"),
    "a name": ("data.yaml", "names:\n  0: mask\n  1: no_mask\n  1: mask\n"),
}


@pytest.mark.parametrize("kind", TWICE)
def test_keys_that_are_there_twice(tmp_path, kind):
    """One of the values would be lost without a word."""
    name, text = TWICE[kind]
    root = write(tmp_path / "set", "images/a.jpg", {name: text, "labels/a.txt": YOLO})
    if name == "a.json":
        (root / "labels" / "a.txt").unlink()
    for read in (read_dataset, read_truth):
        with pytest.raises(UserError, match="twice"):
            read(root)


def test_several_documents_in_a_json_file(tmp_path):
    root = write(tmp_path / "set", "a.jpg", {"a.json": f"{json.dumps(coco())}\n" * 2})
    with pytest.raises(UserError, match=r"a\.json, line 2: several JSON documents, as of JSON Lin"):
        read_dataset(root)


TABLES = {
    "centres": "filename,class,x_center,y_center,width,height\na.jpg,mask,40,30,40,40\n"
    "a.jpg,no_mask,120,60,40,60\n",
    "short ones": "file,class,cx,cy,w,h\na.jpg,mask,40,30,40,40\na.jpg,no_mask,120,60,40,60\n",
    "no header": "x/a.jpg,20,10,60,50,mask\nx/a.jpg,100,30,140,90,no_mask\n",
}
OTHERS = {
    "a box of zeros": {"a.json": coco(bbox=[0, 0, 0, 0], segmentation=[[20, 10, 60, 10, 60, 50]])},
    "masks of CVAT": {
        "a.xml": '<annotations><image name="a.jpg"><mask label="mask" left="20" top="10" width="40"'
        ' height="40" rle="1"/><mask label="no_mask" left="100" top="30" width="40" height="60"/>'
        "</image></annotations>"
    },
    "commas": {"labels/a.txt": YOLO.replace(" ", ", "), "data.yaml": YAML},
    "commas alone": {"labels/a.txt": YOLO.replace(" ", ","), "data.yaml": YAML},
    **{kind: {"a.csv": text} for kind, text in TABLES.items()},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_ways_to_write_boxes(tmp_path, kind):
    check(write(tmp_path / "set", "a.jpg", OTHERS[kind]), "a.jpg")


REGION = {"value": PERCENT, **ORIGINAL}
UNNAMED = {"id": "y", "value": {"x": 50, "y": 30, "width": 20, "height": 60}, **ORIGINAL}


def tasks(*regions, **more):
    return {"p.json": [{"data": {"image": "a.jpg"}, "annotations": [{"result": regions}], **more}]}


LOST = {
    "a shape without a class": ({"a.json": labelme(shapes=[*labelme()["shapes"], {}])}, "no class"),
    "no shape": ({"a.json": labelme(shapes=[*labelme()["shapes"], None])}, "not an object"),
    "a region without a class": (tasks(REGION, UNNAMED), "no class name"),
    "a cuboid": (
        {"a.xml": CVAT.replace("<box", '<cuboid label="mask"/><box')},
        "cuboid has no box",
    ),
    "a count": ({"a.txt": "a.jpg\n3\n20 10 40 40\n"}, "a.jpg: no lines of 2 faces"),
    "a line": ({"a.txt": "a.jpg\n2\n20 10 40 40\n1;2;3;4\n"}, "'1;2;3;4' for a number of the box"),
}


@pytest.mark.parametrize("kind", LOST)
def test_no_face_is_lost_without_a_word(tmp_path, kind):
    files, told = LOST[kind]
    root = write(tmp_path / "set", "a.jpg", files)
    options = ReadOptions(aliases=parse_aliases(["face_of_any_class=with_mask"]))
    read = read_dataset(root, options)
    (finding,) = [finding for finding in read.findings if finding.dropped]
    assert told in finding.message
    assert read.photos[0].left_out > 0


@pytest.mark.parametrize(
    "files",
    [
        {"a.xml": "<annotations><image name='a.jpg'><cuboid label='mask'/></image></annotations>"},
        {"a.json": coco() | {"annotations": [coco()["annotations"][0] | {"image_id": 77}]}},
        {"a.txt": "a.jpg\n2\n"},
        {"a.csv": TABLE.replace("ymax\n", "ymax,xmin\n").replace("0\n", "0,5\n")},
        tasks(UNNAMED),
    ],
)
def test_photo_of_which_all_is_lost_is_none_without_faces(tmp_path, files):
    root = write(tmp_path / "set", "a.jpg", files)
    with pytest.raises(UserError):
        read_dataset(root)


def test_tasks_that_nobody_did_are_no_photos_without_faces(tmp_path):
    make_photo(tmp_path / "set" / "b.jpg", seed=1)
    files = tasks(REGION, {**UNNAMED, "id": 1}, {**REGION, "id": 1})
    for more in (
        {"annotations": []},
        {"annotations": [{"was_cancelled": True, "result": [REGION]}]},
    ):
        files["p.json"].append({"data": {"image": "b.jpg"}, **more})
    read = read_dataset(write(tmp_path / "set", "a.jpg", files))
    assert [(photo.image, len(photo.faces)) for photo in read.photos] == [("a.jpg", 2)]
    assert [finding.kind for finding in read.findings] == ["photo-without-annotation"]


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "avif", "tif"])
def test_turned_photos_of_each_format(tmp_path, ending):
    """What is read has the sides that the header tells, and is upright as it should be."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = make_pixels(48, 32)
    path = tmp_path / f"a.{ending}"
    Image.fromarray(pixels).save(path, exif=exif)
    frame, stored, upright = read_frame(path), read_photo(path), read_photo(path, upright=True)
    assert stored.size == frame.size
    assert upright.size == (32, 48)
    turns = 1 if frame.orientation == 6 else 0
    assert (np.rot90(stored.pixels, -turns) == upright.pixels).all()
    assert abs(np.rot90(pixels, -1).astype(float) - upright.pixels).mean() < 15


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "a HEIC photo, whatever its ending; write it as JPEG"),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp41", "a video, no photo; run.py takes it"),
        (b"\x1aE\xdf\xa3\x01\0\0\0", "a video, no photo"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"\n<!DOCTYPE html><html>", "a web page or a drawing"),
        (b"\x1f\x8b\x08", "not a"),
    ],
)
def test_what_is_saved_under_the_name_of_a_photo(tmp_path, start, told):
    (tmp_path / "a.jpg").write_bytes(start + bytes(80))
    for read in (read_photo, read_frame):
        with pytest.raises(PhotoError, match=rf"a\.jpg: {told}"):
            read(tmp_path / "a.jpg")


def test_shares_where_pixels_are_expected_are_no_faces_to_evaluate(tmp_path):
    """Of few boxes, too, by which a whole can't be judged."""
    for (label, _), shares in zip(FACES, ([0.1, 0.1, 0.3, 0.5], [0.5, 0.3, 0.7, 0.9]), strict=True):
        make_voc(tmp_path / f"{label}.xml", f"{label}.jpg", [(label, shares)], (200, 100))
    with pytest.raises(UserError, match="no face that can be used"):
        read_truth(tmp_path)


@pytest.mark.parametrize("number", ["9" * 400, "1e400", "NaN", '"x"'])
def test_numbers_of_an_alarm(tmp_path, number):
    text = f'{{"threshold": {number}, "classes": ["with_mask"], "of": ["with_mask"], "thresh": 0}}'
    (tmp_path / "alarm.json").write_text(text)
    with pytest.raises(TableError, match="no rule of an alarm"):
        AlarmRule.read(tmp_path / "alarm.json")
