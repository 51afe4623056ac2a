"""Tables of faces: rows, columns, regions of VIA, whole folders."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest

from data_prep.base.errors import DatasetError, OptionError
from data_prep.base.labels import UnknownLabelError
from data_prep.base.records import Box, Face
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.csv import (
    find_layout,
    parse_columns,
)
from data_prep.formats.input_files import decode_csv, list_rows, read_start
from data_prep.formats.registry import read_dataset
from tests.makers import make_photo

OWN = "image,width,height,object,label,xmin,ymin,xmax,ymax,difficult\n"
SHORT = "image,label,xmin,ymin,xmax,ymax\n"


VIA = [
    *("filename", "file_size", "file_attributes", "region_count", "region_id"),
    *("region_shape_attributes", "region_attributes"),
]


@pytest.fixture
def root(tmp_path):
    for index, name in enumerate("ab"):
        make_photo(tmp_path / "set" / "images" / f"{name}.jpg", seed=index)
    return tmp_path / "set"


def save(root, text, name="faces.csv", encoding="utf-8"):
    (root / name).write_text(text, encoding=encoding)


def faults(read):
    return [(f.kind, f.message.split(": ", 1)[0]) for f in read.findings if f.dropped]


def test_our_own_table(root):
    save(
        root,
        OWN
        + "images/a.jpg,120,90,3,with_mask,1,2,30.5,40,True\n"
        + "images/b.jpg,120,90,,,,,,,\n"
        + "images/a.jpg,120,90,1,no mask,5,6,70,80,0\n",
    )
    read = read_dataset(root)
    assert read.findings == ()
    first, second = read.photos
    assert first.faces == (
        Face(3, "with_mask", Box(1, 2, 30.5, 40), True),
        Face(1, "without_mask", Box(5, 6, 70, 80)),
    )
    assert (second.image, second.faces) == ("images/b.jpg", ())
    assert (first.annotation, first.width, first.height) == ("faces.csv", 120, 90)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separators_and_encodings(root, separator, encoding):
    text = SHORT + "a.jpg,mask,1,2,3.5,4\n"
    save(root, text.replace(",", separator), "any.csv", encoding)
    assert read_dataset(root).photos[0].faces == (Face(0, "with_mask", Box(1, 2, 3.5, 4)),)


def test_photos_named_with_separators(root):
    make_photo(root / "c;d;e;f;g;h.jpg", seed=5)
    save(root, SHORT + "c;d;e;f;g;h.jpg,mask,1,2,3,4\n")
    assert len(read_dataset(root).photos[0].faces) == 1


def test_rows_with_faults_are_left_out_alone(root):
    save(
        root,
        SHORT
        + "a.jpg,mask,1,2,3,4\n"  # line 2
        + "a.jpg,mask,,,,\n"
        + "a.jpg,,1,2,3,4\n"
        + "a.jpg,mask,9,2,3,4\n"
        + "a.jpg,mask,nan,2,3,4\n"  # line 6
        + "a.jpg,mask,1,2\n"
        + ",mask,1,2,3,4\n"
        + "lost.jpg,mask,1,2,3,4\n"
        + '"a.jpg"x,mask,1,2,3,4\n'  # line 10
        + "a.jpg,mask,5,6,7,8\n",
    )
    read = read_dataset(root)
    assert faults(read) == [
        ("no-box", "set/faces.csv:3"),
        ("unnamed-object", "set/faces.csv:4"),
        ("bad-box", "set/faces.csv:5"),
        ("bad-box", "set/faces.csv:6"),
        ("bad-row", "set/faces.csv:7"),
        ("unnamed-photo", "set/faces.csv:8"),
        ("bad-row", "set/faces.csv:10"),
        ("missing-photo", "set/faces.csv:9"),
    ]
    assert [face.object for face in read.photos[0].faces] == [0, 5]


def test_photo_in_two_tables(root):
    save(root, SHORT + "a.jpg,mask,1,2,3,4\n", "a.csv")
    save(root, SHORT + "b.jpg,mask,1,2,3,4\nimages/a.jpg,mask,1,2,3,4\n", "b.csv")
    save(root, "day,weather\n1,rain\n", "c.csv")
    read = read_dataset(root)
    assert faults(read) == [("second-annotation", "set/b.csv:3")]
    assert [photo.annotation for photo in read.photos] == ["a.csv", "b.csv"]


def test_columns_by_name(root):
    save(root, "wer,was,x0,y0,x9,y9\na.jpg,mask,1,2,3,4\n")
    with pytest.raises(DatasetError, match=r"faces.csv:1: no column for image, label, xmin, ymin"):
        read_dataset(root, ReadOptions(format=Format.CSV))
    names = {"image": "wer", "label": "was", "xmin": "x0", "ymin": "y0", "xmax": "x9", "ymax": "y9"}
    assert read_dataset(root, ReadOptions(columns=names)).photos[0].faces[0].box == Box(1, 2, 3, 4)


def test_unknown_class_names_the_line(root):
    save(root, SHORT + "a.jpg,mask,1,2,3,4\n\na.jpg,masc,1,2,3,4\n")
    with pytest.raises(UnknownLabelError, match=r"^set/faces.csv:4: unknown class 'masc'"):
        read_dataset(root)


def test_other_encoding(root):
    text = SHORT + "a.jpg,mask,1,2,3,4\nniño.jpg,mask,1,2,3,4\n"
    save(root, text, "latin.csv", "latin-1")
    with pytest.raises(
        DatasetError, match=r"set/latin.csv, line 3: not text in UTF-8; save the file"
    ):
        read_dataset(root)
    save(root, SHORT + "b.jpg,mask,1,2,3,4\n", "good.csv")
    assert faults(read_dataset(root)) == [("broken-csv", "set/latin.csv, line 3")]
    for path in root.glob("*.csv"):
        path.unlink()
    save(root, "\n \n")
    with pytest.raises(DatasetError, match="the file is empty"):
        read_dataset(root, ReadOptions(format=Format.CSV))
    save(root, SHORT, encoding="utf-16-le")
    with pytest.raises(DatasetError, match="not text in UTF-8; save the file"):
        read_dataset(root)


def test_via(root):
    save(
        root,
        ",".join(VIA) + "\n"
        'a.jpg,1,"{}",2,0,"{""name"":""rect"",""x"":1,""y"":2,""width"":3,""height"":4}",'
        '"{""type"":""mask""}"\n'
        'a.jpg,1,"{}",2,1,"{""name"":""point"",""cx"":1,""cy"":2}","{""type"":""mask""}"\n'
        'b.jpg,1,"{}",0,0,"{}","{}"\n',
        "via_region_data.csv",
    )
    read = read_dataset(root)
    assert [photo.faces for photo in read.photos] == [
        (Face(0, "with_mask", Box(1, 2, 4, 6)),),
        (),
    ]
    assert faults(read) == [("bad-box", "set/via_region_data.csv:3")]


def test_many_rows_are_read_in_seconds(root):
    with (root / "faces.csv").open("w") as file:
        file.write(SHORT)
        for number in range(20_000):
            file.write(f"a.jpg,mask,1,2,3,{4 + number}\n")
    # A name of a column longer than a cell may be.
    (root / "b.csv").write_text(f"{SHORT.strip()},{'x' * 200_000}\nb.jpg,mask,1,2,30,40,z\n")
    start = time.perf_counter()
    assert [len(photo.faces) for photo in read_dataset(root).photos] == [20_000, 1]
    assert time.perf_counter() - start < 10


def test_wrong_quotes_are_told_and_the_rest_is_read():
    text = 'a,b\n"x"y,1\nc,2\n"d,3\ne",4\nf,5\n"g,6\nh,7\n'
    rows = list(list_rows(text, ",", "t"))
    assert [row.where for row in rows if not row.fault] == ["t:1", "t:3", "t:6"]
    assert [row.where for row in rows if row.fault] == ["t:2", "t:4", "t:7"]
    assert "before line 5" in rows[3].fault
    assert "down to line 8" in rows[5].fault


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_know_their_line(tmp_path, end):
    """The first may tell Excel the separator."""
    (tmp_path / "a.csv").write_bytes(
        b"sep=;\r\n" + end.join(["a;b", "", " 1 ; 2 ", '"x;y";3']).encode()
    )
    assert read_start(tmp_path / "a.csv")[";"] == ["a", "b"]
    rows = list(list_rows(decode_csv(tmp_path / "a.csv", "t"), ";", "t"))
    assert [(row.where, row.cells) for row in rows] == [
        ("t:2", ["a", "b"]),
        ("t:4", ["1", "2"]),
        ("t:5", ["x;y", "3"]),
    ]


def read(header, row, **columns):
    layout = find_layout(header.split(","), columns)
    return layout and layout.parse(row.split(","), "a:2")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("image,label,xmin,ymin,xmax,ymax", "a,m,1,2,4,6"),
        ("filename,width,height,class,xmin,ymin,xmax,ymax", "a,9,9,m,1,2,4,6"),
        ("FileName,Class,X1,X2,Y1,Y2", "a,m,1,4,2,6"),
        ("path,category,left,top,right,bottom", "a,m,1,2,4,6"),
        ("Image Name,Class-Name,Bbox X,bbox_y,bbox_width,bbox_height", "a,m,1,2,3,4"),
        ("file,label,x,y,w,h", "a,m,1,2,3,4"),
        ("file,label,x,y,width,height", "a,m,1,2,3,4"),
        ("file,label,xmin,ymin,xmax,ymax,w,h", "a,m,1,2,4,6,0,0"),
    ],
)
def test_known_headers(header, row):
    found = read(header, row)
    assert (found.image, found.label, found.box, found.fault) == ("a", "m", Box(1, 2, 4, 6), "")


def test_named_columns_go_first():
    header = "image,who,label,mask,a,b,xmax,ymax"
    row = "no,a,no,m,1,2,3,4"
    names = {"image": "WHO", "label": "mask", "xmin": "a", "ymin": "b"}
    assert read(header, row, **names).box == Box(1, 2, 3, 4)
    sized = read(header, row, **names, box_width="xmax", box_height="ymax")
    assert (sized.image, sized.label, sized.box) == ("a", "m", Box(1, 2, 4, 6))


def test_makesense_without_a_header_and_sizes():
    found = read("m,1,2,3,4,a.jpg,120,90", "m,1,2,3,4,a.jpg,120,90")
    assert (found.image, found.label, found.box) == ("a.jpg", "m", Box(1, 2, 4, 6))
    assert found.size == (120, 90)
    header = "image,width,height,label,xmin,ymin,xmax,ymax"
    assert read(header, "a,120,90,m,1,2,4,6").size == (120, 90)
    assert read(header, "a,120,x,m,1,2,4,6").size is None


@pytest.mark.parametrize(
    "header", ["image,label", "a,b,c", "image,xmin,ymin,xmax,ymax", "m,1,2,3,4,a.txt,120,90"]
)
def test_other_tables(header):
    assert find_layout(header.split(","), {}) is None


@pytest.mark.parametrize(
    ("text", "message"), [("image", "not FIELD=COLUMN"), ("img=a", "fields are image, label, xmin")]
)
def test_options_that_can_not_be_understood(text, message):
    with pytest.raises(OptionError, match=message):
        parse_columns(text)


def read_via_regions(shape, attributes=None, **columns):
    layout = find_layout(VIA, columns)
    texts = [json.dumps(value) for value in (shape, attributes or {})]
    return layout.parse(["a.jpg", "1", "{}", "1", "0", *texts], "v:2")


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ({"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4}, Box(1, 2, 4, 6)),
        ({"name": "circle", "cx": 5, "cy": 6, "r": 2}, Box(3, 4, 7, 8)),
        ({"name": "ellipse", "cx": 5, "cy": 6, "rx": 2, "ry": 1}, Box(3, 5, 7, 7)),
        (
            {"name": "polygon", "all_points_x": [3, 1, 2], "all_points_y": [4, 9, 2]},
            Box(1, 2, 3, 9),
        ),
    ],
)
def test_shapes(shape, box):
    assert read_via_regions(shape).box == pytest.approx(box)


def test_turned_ellipse():
    turn, angles = 0.7, np.linspace(0, 2 * math.pi, 100_000)
    xs = 50 + 20 * np.cos(angles) * math.cos(turn) - 8 * np.sin(angles) * math.sin(turn)
    ys = 40 + 20 * np.cos(angles) * math.sin(turn) + 8 * np.sin(angles) * math.cos(turn)
    found = read_via_regions(
        {"name": "ellipse", "cx": 50, "cy": 40, "rx": 20, "ry": 8, "theta": turn}
    ).box
    assert found == pytest.approx((xs.min(), ys.min(), xs.max(), ys.max()), abs=1e-4)


@pytest.mark.parametrize(
    ("attributes", "columns", "label"),
    [
        ({"any": " mask "}, {}, "mask"),
        ({"kind": {"mask": True, "no_mask": False}}, {}, "mask"),
        ({"kind": "mask", "age": "9"}, {"label": "kind"}, "mask"),
        ({"age": "9"}, {"label": "kind"}, ""),
        ({}, {}, ""),
    ],
)
def test_class(attributes, columns, label):
    assert read_via_regions({}, attributes, **columns).label == label


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"name": "point", "cx": 1, "cy": 2}, "the shape 'point'"),
        ({"name": "rect", "x": 1}, "a rect without its numbers"),
        ({"name": "circle", "cx": 1, "cy": 1, "r": -1}, "is inverted"),
        ({"name": "polygon", "all_points_x": [], "all_points_y": []}, "without its numbers"),
        ([], "not an object"),
    ],
)
def test_faults(shape, message):
    assert message in read_via_regions(shape, {"a": "mask"}).fault
    with pytest.raises(DatasetError, match=r"v:2: several attributes \(a, b\).*--columns label="):
        read_via_regions({}, {"a": "1", "b": "2"})
