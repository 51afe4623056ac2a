"""Tables as datasets."""

import time

import pytest

from data_prep.base.errors import DatasetError
from data_prep.base.labels import UnknownLabelError
from data_prep.base.records import Box, Face
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.registry import read_dataset
from tests.makers import make_photo

OWN = "image,width,height,object,label,xmin,ymin,xmax,ymax,difficult\n"
SHORT = "image,label,xmin,ymin,xmax,ymax\n"


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
    with pytest.raises(DatasetError, match=r"set/latin.csv:3: not text in UTF-8"):
        read_dataset(root)
    save(root, SHORT + "b.jpg,mask,1,2,3,4\n", "good.csv")
    assert faults(read_dataset(root)) == [("broken-csv", "set/latin.csv:3")]


def test_via(root):
    save(
        root,
        "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
        "region_attributes\n"
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
        for number in range(200_000):
            file.write(f"a.jpg,mask,1,2,3,{4 + number}\n")
    start = time.perf_counter()
    assert len(read_dataset(root).photos[0].faces) == 200_000
    assert time.perf_counter() - start < 20


def test_name_of_a_column_longer_than_a_cell_may_be(root):
    save(root, f"{SHORT.strip()},{'x' * 200_000}\na.jpg,mask,1,2,30,40,z\n")
    assert len(read_dataset(root).photos[0].faces) == 1


@pytest.mark.parametrize(
    ("text", "encoding", "reason"),
    [
        ("bild,label,xmin,ymin,xmax,ymax\n", "utf-8", r"no column for image \(found: bild"),
        (SHORT, "utf-16-le", "not text in UTF-8; save the file again"),
    ],
)
def test_why_a_table_is_not_known(root, text, encoding, reason):
    save(root, text, encoding=encoding)
    with pytest.raises(DatasetError, match=reason):
        read_dataset(root)
