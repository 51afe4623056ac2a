"""What labelling tools export, as they write it: the same faces from each."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from functools import reduce
from operator import getitem

import pytest

from data_prep.base.errors import DatasetError, UserError
from data_prep.base.labels import UnknownLabelError, parse_aliases
from data_prep.base.records import Box, Face
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.photo_match import list_dataset
from data_prep.formats.registry import read_dataset, recognise
from evaluate.inputs.truth import read_truth
from tests.makers import make_photo

SIZE = (200, 100)
FACES = (Face(0, "with_mask", Box(20, 10, 60, 50)), Face(1, "without_mask", Box(100, 30, 140, 90)))
"""The second is drawn as a polygon where that can be."""
CORNERS = [[100, 30], [140, 60], [120, 90]]


def labelme(**changes):
    shapes = [
        {"label": "mask", "points": [[60, 50], [20, 10]], "shape_type": "rectangle"},
        {"label": "no_mask", "points": CORNERS, "shape_type": "polygon"},
    ]
    content = {"version": "5", "shapes": shapes, "imagePath": "..\\a.jpg", "imageData": None}
    return {**content, "imageHeight": 100, "imageWidth": 200, **changes}


RECT = {"name": "rect", "x": 20, "y": 10, "width": 40, "height": 40}
XS, YS = zip(*CORNERS, strict=True)
POLYGON = {"name": "polygon", "all_points_x": XS, "all_points_y": YS}


def via(shapes=(RECT, POLYGON)):
    names = ({"kind": "mask"}, {"kind": "no_mask"})
    regions = [
        {"shape_attributes": shape, "region_attributes": told}
        for shape, told in zip(shapes, names, strict=True)
    ]
    return {"a.jpg9": {"filename": "a.jpg", "size": 9, "regions": regions, "file_attributes": {}}}


def old_via():
    (entry,) = via().values()
    return {"_via_img_metadata": {"x": {**entry, "regions": dict(enumerate(entry["regions"]))}}}


def via3(**changes):
    """A rectangle whose class is an option, a polygon whose class is a ticked box."""
    record = {"vid": "1", "flg": 0, "z": []}
    attribute = {"anchor_id": "FILE1_Z0_XY1", "desc": "", "default_option_id": ""}
    polygon = [number for corner in CORNERS for number in corner]
    content = {
        "project": {"pid": "__VIA_PROJECT_ID__", "data_format_version": "3.1.1"},
        "attribute": {
            "1": {**attribute, "aname": "kind", "type": 4, "options": {"1": "mask", "2": "no_mask"}}
        },
        "file": {"1": {"fid": "1", "fname": "a.jpg", "type": 2, "loc": 1, "src": ""}},
        "metadata": {
            "1_a": {**record, "xy": [2, 20, 10, 40, 40], "av": {"1": "1"}},
            "1_b": {**record, "xy": [7, *polygon], "av": {"1": "2"}},
        },
        "view": {"1": {"fid_list": ["1"]}},
    }
    return {**content, **changes}


def vott():
    regions = [
        {
            **{"id": "x", "type": "RECTANGLE", "tags": ["mask"]},
            "boundingBox": {"left": 20, "top": 10, "width": 40, "height": 40},
        },
        {"type": "POLYGON", "tags": ["no_mask"], "points": [{"x": x, "y": y} for x, y in CORNERS]},
    ]
    asset = {"name": "a.jpg", "path": "file:/home/me/a.jpg", "size": {"width": 200, "height": 100}}
    return {"asset": {**asset, "state": 2}, "regions": regions, "version": "2.2.0"}


PERCENT = {"x": 10, "y": 10, "width": 20, "height": 40, "rotation": 0, "rectanglelabels": ["mask"]}
SHARES = {"points": [[50, 30], [70, 60], [60, 90]], "polygonlabels": ["no_mask"]}
ORIGINAL = {"original_width": 200, "original_height": 100}


def label_studio():
    regions = [{"value": value, **ORIGINAL} for value in (PERCENT, SHARES)]
    regions.insert(1, {"type": "relation", "from_id": "x"})
    data = {"image": "/data/upload/1/0a1b2c3d-a.jpg"}
    done = [{"result": [], "was_cancelled": True}, {"result": regions}]
    return [{"id": 1, "data": data, "annotations": done}]


def label_studio_min():
    faces = [{**value, **ORIGINAL} for value in (PERCENT, SHARES)]
    image = "/data/local-files/?d=set/a.jpg"
    return [{"annotator": "who@where.org", "image": image, "id": 1, "label": faces}]


def supervisely():
    shapes = (("mask", "rectangle", [[20, 10], [60, 50]]), ("no_mask", "polygon", CORNERS))
    objects = [
        {"classTitle": name, "geometryType": kind, "points": {"exterior": points}, "tags": []}
        for name, kind, points in shapes
    ]
    return {"size": {"height": 100, "width": 200}, "objects": objects}


def medical_mask():
    faces = [
        {"BoundingBox": box, "classname": name, "Confidence": 1}
        for name, box in (("mask", [20, 10, 60, 50]), ("no_mask", [100, 30, 140, 90]))
    ]
    return {"FileName": "a.jpg", "NumOfAnno": 2, "Annotations": faces}


def fiftyone():
    """As its documentation shows it, the label by name or by its place in the classes."""
    faces = [
        {"label": 0, "bounding_box": [0.1, 0.1, 0.2, 0.4], "confidence": 0.9},
        {"label": "no_mask", "bounding_box": [0.5, 0.3, 0.2, 0.6], "attributes": {"seen": 1}},
    ]
    return {"classes": ["mask", "no_mask"], "labels": {"a": faces}}


def createml():
    """As labelImg writes it: x and y are the centre."""
    faces = [
        {"label": name, "coordinates": dict(zip(("x", "y", "width", "height"), box, strict=True))}
        for name, box in (("mask", [40, 30, 40, 40]), ("no_mask", [120.0, 60.0, 40.0, 60.0]))
    ]
    return [{"image": "a.jpg", "verified": False, "annotations": faces}]


CVAT = """<?xml version="1.0"?><annotations><version>1.1</version><meta/>
<image id="0" name="a.jpg" width="200" height="100">
<box label="mask" xtl="20" ytl="10" xbr="60" ybr="50" occluded="0" rotation="35.0">
<attribute name="wearing">badly</attribute></box>
<polygon label="no_mask" points="100,30;140,60;120,90"/></image></annotations>"""

FILES = {
    Format.LABELME: {"a.json": labelme()},
    Format.VIA: {"via.json": via()},
    "old via": {"via.json": old_via()},
    Format.VIA3: {"project.json": via3()},
    Format.VOTT: {"vott-json-export/set-export.json": {"name": "set", "assets": {"1f": vott()}}},
    "file of vott": {"1f-asset.json": vott()},
    Format.LABEL_STUDIO: {"project.json": label_studio()},
    "label-studio-min": {"project.json": label_studio_min()},
    Format.SUPERVISELY: {"ann/a.jpg.json": supervisely()},
    Format.MEDICAL_MASK: {"notes/a.jpg.json": medical_mask()},
    Format.CVAT: {"annotations.xml": CVAT},
    Format.FIFTYONE: {"labels.json": fiftyone()},
    Format.CREATEML: {"train/_annotations.createml.json": createml()},
}
KINDS = {
    "old via": Format.VIA,
    "file of vott": Format.VOTT,
    "label-studio-min": Format.LABEL_STUDIO,
}


def write(root, files):
    if not (root / "a.jpg").exists():
        make_photo(root / "a.jpg", *SIZE)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return root


@pytest.mark.parametrize("kind", FILES)
def test_same_faces_from_each(tmp_path, kind):
    root = write(tmp_path / "set", FILES[kind])
    assert recognise(list_dataset(root), ReadOptions()) is KINDS.get(kind, kind)
    (photo,) = read_dataset(root).photos
    assert (photo.image, photo.faces) == ("a.jpg", FACES)
    truth = read_truth(root)
    assert (truth.photos, truth.labels.tolist()) == (("a.jpg",), [0, 1])
    assert truth.boxes.tolist() == [list(face.box) for face in FACES]


def test_what_is_not_read_is_named(tmp_path):
    (note, outlined) = read_dataset(write(tmp_path, {"a.xml": CVAT})).findings
    assert note.message.endswith("not carried on: attribute wearing of 1 face, rotation of 1 face.")
    assert outlined.kind == "outlined-faces"


def test_faces_without_a_class_are_told_also_where_any_name_is_one(tmp_path):
    root = write(tmp_path / "set", {"a.xml": CVAT.replace('label="mask"', 'label=" "')})
    for options in (ReadOptions(), ReadOptions(classes=None)):
        read = read_dataset(root, options)
        assert [face.object for face in read.photos[0].faces] == [1]
        assert [one.kind for one in read.findings if one.dropped] == ["unnamed-object"]


def via3_with(**changes):
    """A record more, like the first but for changes."""
    records = via3()["metadata"]
    return via3(metadata={**records, "1_c": {**records["1_a"], **changes}})


def test_check_boxes_and_whole_photos_of_via3(tmp_path):
    """A box ticked is a class, two are none; what is said of a whole photo is named."""
    attribute = {"1": {"aname": "kind", "type": 2, "options": {"1": "mask", "2": "no_mask"}}}
    records = via3()["metadata"]
    odd = {"1_c": {**records["1_a"], "av": {"1": "1,2"}}, "1_d": {**records["1_a"], "xy": []}}
    content = via3(attribute=attribute, metadata={**records, **odd})
    content["file"]["2"], content["view"]["2"] = {"fname": "b.jpg"}, {"fid_list": ["2"]}
    make_photo(tmp_path / "b.jpg", *SIZE)
    read = read_dataset(write(tmp_path, {"v.json": content}))
    assert [(photo.image, len(photo.faces)) for photo in read.photos] == [
        ("a.jpg", 2),
        ("b.jpg", 0),
    ]
    told = " ".join(finding.message for finding in read.findings)
    assert "several classes ticked: mask, no_mask" in told
    assert "attribute of a whole photo" in told


def test_two_classes_ticked_cost_one_face(tmp_path):
    content = via()
    content["a.jpg9"]["regions"][0]["region_attributes"] = {"kind": {"mask": True, "no": True}}
    (photo,) = read_dataset(write(tmp_path, {"v.json": content})).photos
    assert (photo.left_out, photo.faces) == (1, FACES[1:])


def test_extreme_points_and_options_as_numbers_of_via3(tmp_path):
    """Four points on the sides of a box; programs write options as numbers."""
    points = [20, 30, 40, 10, 60, 20, 30, 50]
    read = read_dataset(write(tmp_path, {"v.json": via3_with(xy=[8, *points], av={"1": 1})}))
    assert read.photos[0].faces[2] == replace(FACES[0], object=2)


@pytest.mark.parametrize(
    ("kind", "empty"),
    [
        (Format.SUPERVISELY, {**supervisely(), "objects": []}),
        (Format.MEDICAL_MASK, {"FileName": "b.jpg", "NumOfAnno": 0, "Annotations": []}),
        (Format.CREATEML, [{"image": "b.jpg", "verified": True, "annotations": []}]),
    ],
)
def test_a_photo_without_faces_in_a_file_of_its_own(tmp_path, kind, empty):
    """Such a file has none of the keys of faces; others that are no annotations are no matter."""
    make_photo(tmp_path / "b.jpg", *SIZE)
    ((name, content),) = FILES[kind].items()
    folder = name.rpartition("/")[0]
    files = {name: content, f"{folder}/b.jpg.json": empty, "meta.json": {"objects": {"a": 1}}}
    read = read_dataset(write(tmp_path, files))
    assert [(photo.image, len(photo.faces)) for photo in read.photos] == [
        ("a.jpg", 2),
        ("b.jpg", 0),
    ]
    assert not any(finding.dropped for finding in read.findings)


def test_two_photos_in_a_view_of_via3_are_refused(tmp_path):
    content = via3(view={"1": {"fid_list": ["1", "1"]}})
    with pytest.raises(DatasetError, match="view 1: not of one photo"):
        read_dataset(write(tmp_path, {"v.json": content}))


def test_faces_of_a_view_that_is_gone_are_told(tmp_path):
    read = read_dataset(write(tmp_path, {"v.json": via3_with(vid="7")}))
    (finding,) = [finding for finding in read.findings if finding.kind == "unnamed-photo"]
    assert "no view 7" in finding.message
    assert [len(photo.faces) for photo in read.photos] == [2]


def test_photos_of_vott_not_looked_at_are_none_without_faces(tmp_path):
    seen, unseen = ({**vott(), "regions": []} for _ in range(2))
    seen["asset"], unseen["asset"] = ({**vott()["asset"], "state": state} for state in (1, 0))
    unseen["asset"]["name"] = "b.jpg"
    make_photo(tmp_path / "b.jpg", *SIZE)
    assets = {"1": seen, "2": unseen}
    read = read_dataset(write(tmp_path, {"v.json": {"assets": assets}}))
    assert [photo.image for photo in read.photos] == ["a.jpg"]


def add(content, key, **changes):
    """One face more, like the first but for changes."""
    return {**content, key: [*content[key], {**content[key][0], **changes}]}


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.json", add(labelme(), "shapes", points=[[1, 2]]), "one point has no box"),
        ("a.json", add(labelme(), "shapes", points="x"), "no numbers of a box"),
        ("v.json", via(({"name": "rect", "x": 1}, RECT)), "without its numbers"),
        ("v.json", via(({"name": "point", "cx": 1}, RECT)), "the shape 'point', which has no box"),
        ("v.json", via3_with(xy=[1, 5, 5]), "the shape 'point', which has no box"),
        ("v.json", via3_with(xy=[2, 5, 5]), "a rect without its numbers"),
        ("v.json", via3_with(xy=[9, 1, 2, 3]), "the shape 'shape 9', which has no box"),
        ("v.json", add(vott(), "regions", tags=["mask", "no_mask"]), "several classes"),
        ("v.json", add(vott(), "regions", boundingBox={"left": 1}), "no numbers of a box"),
        ("a.jpg.json", add(supervisely(), "objects", points=None), "points has no box"),
        ("c.json", [add(*createml(), "annotations", coordinates={"x": 1})], "no numbers of a box"),
        ("a.xml", CVAT.replace('xtl="20"', 'xtl="left"'), "'left' for xtl is not a number"),
    ],
)
def test_faces_that_can_not_be_used_are_left_out(tmp_path, name, content, fault):
    read = read_dataset(write(tmp_path, {name: content}))
    (finding,) = [finding for finding in read.findings if finding.dropped]
    assert fault in finding.message
    assert finding.kind == "bad-box"
    assert read.photos[0].left_out == 1


@pytest.mark.parametrize(
    ("shapes", "told"),
    [*((one, "no LabelMe JSON that can be read") for one in ({}, None, "x")), ([1], "none of its")],
)
def test_files_that_can_not_be_used(tmp_path, shapes, told):
    with pytest.raises(DatasetError, match=rf"{told}.*a\.json"):
        read_dataset(write(tmp_path, {"a.json": labelme(shapes=shapes)}))


def list_places(content, place=()):
    yield place
    if isinstance(content, dict | list):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield from list_places(content[key], (*place, key))


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind != Format.CVAT])
def test_whatever_stands_in_a_file_is_no_crash(tmp_path, kind):
    ((name, content),) = FILES[kind].items()
    text = json.dumps(content)
    options = ReadOptions(format=KINDS.get(kind, kind))
    for *way, last in filter(None, list_places(json.loads(text))):
        for value in (None, 7, 1e400, "x", [], {"a": 1}):
            changed = json.loads(text)
            reduce(getitem, way, changed)[last] = value
            write(tmp_path, {name: changed})
            with suppress(UserError):
                read_dataset(tmp_path, options)


def test_tracks_of_a_video_are_told(tmp_path):
    text = "<annotations><track id='0' label='mask'></track></annotations>"
    with pytest.raises(DatasetError, match="tracks of a video; export it as CVAT for images"):
        read_dataset(write(tmp_path, {"a.xml": text}))


def test_turned_rectangle_of_label_studio(tmp_path):
    """By 90 degrees about its corner (20, 10): it lies to the left of it."""
    turned = {**PERCENT, "x": 40, "rotation": 90}
    task = {"image": "a.jpg", "label": [{**turned, **ORIGINAL}]}
    (photo,) = read_dataset(write(tmp_path, {"p.json": [task]})).photos
    assert photo.faces[0].box == pytest.approx(Box(80 - 40, 10, 80, 50))
    task["label"][0]["rotation"] = None
    (photo,) = read_dataset(write(tmp_path, {"p.json": [task]})).photos
    assert photo.faces[0].box == pytest.approx(Box(80, 10, 120, 50))


WIDER = """0--Parade/a.jpg
2
20 10 40 40 0 0 0 0 0 0
100 30 40 60 2 0 0 1 2 0
b.jpg
0
0 0 0 0 0 0 0 0 0 0
"""
RETINA = "# 0--Parade/a.jpg\n20 10 40 40 1 2 0\n100 30 40 60 -1 -1\n# b.jpg\n"


@pytest.mark.parametrize("text", [WIDER, RETINA])
def test_lists_of_faces_without_classes(tmp_path, text):
    make_photo(tmp_path / "WIDER_train" / "images" / "0--Parade" / "a.jpg", *SIZE)
    make_photo(tmp_path / "WIDER_train" / "images" / "b.jpg", *SIZE, seed=1)
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "train_bbx_gt.txt").write_text(text)
    with pytest.raises(UnknownLabelError, match=r"unknown class 'face_of_any_class' \(2 times"):
        read_dataset(tmp_path)
    aliases = parse_aliases(["face_of_any_class=without_mask"])
    first, second = read_dataset(tmp_path, ReadOptions(aliases=aliases)).photos
    assert [face.box for face in first.faces] == [face.box for face in FACES]
    assert [face.difficult for face in first.faces] == [False, text is WIDER]
    assert second.faces == ()
    as_written = read_dataset(tmp_path, ReadOptions(classes=None)).photos[0]
    assert {face.label for face in as_written.faces} == {"face"}
