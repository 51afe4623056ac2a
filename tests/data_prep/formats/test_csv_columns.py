"""Which column means what."""

import pytest

from data_prep.base.records import Box
from data_prep.formats.csv_columns import ColumnError, find_layout, parse_columns


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


def test_sizes_are_those_of_the_photo_beside_far_corners():
    found = read("image,width,height,label,xmin,ymin,xmax,ymax", "a,120,x,m,1,2,4,6")
    assert found.size is None
    assert read("image,width,height,label,xmin,ymin,xmax,ymax", "a,120,90,m,1,2,4,6").size == (
        120,
        90,
    )


def test_makesense_without_a_header():
    found = read("m,1,2,3,4,a.jpg,120,90", "m,1,2,3,4,a.jpg,120,90")
    assert (found.image, found.label, found.box) == ("a.jpg", "m", Box(1, 2, 4, 6))
    assert found.size == (120, 90)


@pytest.mark.parametrize(
    "header", ["image,label", "a,b,c", "image,xmin,ymin,xmax,ymax", "m,1,2,3,4,a.txt,120,90"]
)
def test_other_tables(header):
    assert find_layout(header.split(","), {}) is None


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("a,m,4,2,1,6", r"a:2: box \(4, 2, 1, 6\) is inverted"),
        ("a,m,1,2,inf,6", "xmax is inf"),
        ("a,m,1,2,,6", "'' for xmax is not a number"),
    ],
)
def test_boxes_with_faults(cells, message):
    found = read("image,label,xmin,ymin,xmax,ymax", cells)
    assert found.box is None
    assert pytest.raises(ValueError, match=message).matches(ValueError(found.fault))


@pytest.mark.parametrize(
    ("text", "message"), [("image", "not FIELD=COLUMN"), ("img=a", "fields are image, label, xmin")]
)
def test_options_that_can_not_be_understood(text, message):
    with pytest.raises(ColumnError, match=message):
        parse_columns(text)
