"""The same two faces, however their files were named, written and put into folders."""

from __future__ import annotations

import json
import unicodedata

import pytest

from data_prep.base.errors import UserError
from data_prep.base.records import Box
from data_prep.formats.registry import read_dataset
from evaluate.inputs.truth import read_truth
from tests.data_prep.formats.test_other_tools import CVAT, labelme, via
from tests.makers import make_photo, make_voc

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
