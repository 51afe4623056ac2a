"""`faces.csv`."""

import pandas as pd
import pytest

from data_prep.base.tables import (
    COLUMNS,
    TableError,
    read_faces,
    select_sources,
    write_faces,
)


def make_table(**columns):
    rows = {
        "image": ['images/a, b "c".jpg', "NA.jpg"],
        "width": [400, 300],
        "height": [300, 200],
        "object": [0, 3],
        "label": ["with_mask", "mask_weared_incorrect"],
        "xmin": [10.0, 0.123456789],
        "ymin": [11.5, 2.0],
        "xmax": [20.0, 30.0],
        "ymax": [21.0, 31.0],
        "difficult": [False, True],
        "source": ["fête 口罩", "007"],
        "group": ["fête 口罩/images/a.jpg", "007"],
        "split": ["train", "valid"],
        "blur": [123.456, 0.5],
        "kept": [True, False],
        "crop": ["crops/train/with_mask/a.jpg", "crops/valid/x/b.jpg"],
    }
    return pd.DataFrame(rows | columns)


def test_round_trip(tmp_path):
    table = make_table()
    write_faces(tmp_path / "faces.csv", table)
    assert read_faces(tmp_path).equals(table)
    assert read_faces(tmp_path / "faces.csv").equals(table)


def test_columns_are_the_contracted_ones_in_order(tmp_path):
    write_faces(tmp_path / "faces.csv", make_table(short_side=[1, 2]))
    head = (tmp_path / "faces.csv").read_text().splitlines()[0]
    assert head == ",".join(COLUMNS)
    assert head == (
        "image,width,height,object,label,xmin,ymin,xmax,ymax,difficult,source,group,split,blur,"
        "kept,crop"
    )


def test_names_that_look_like_numbers_or_nothing_stay_text(tmp_path):
    write_faces(tmp_path / "faces.csv", make_table(source=["null", "1e5"]))
    assert read_faces(tmp_path)["source"].tolist() == ["null", "1e5"]


def test_flags_are_written_as_0_and_1(tmp_path):
    write_faces(tmp_path / "faces.csv", make_table())
    raw = pd.read_csv(tmp_path / "faces.csv")
    assert raw["kept"].tolist() == [1, 0]
    assert raw["difficult"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"label": ["with_mask", "zebra"]}, "unknown class 'zebra'"),
        (
            {"image": ["a.jpg"] * 2, "object": [1, 1], "source": ["s"] * 2},
            r"csv, line 3: object 1 of s/a\.jpg is there twice",
        ),
    ],
)
def test_wrong_content_is_refused(tmp_path, change, reason):
    write_faces(tmp_path / "faces.csv", make_table(**change))
    with pytest.raises(TableError, match=reason):
        read_faces(tmp_path)


def test_missing_column_is_named(tmp_path):
    make_table(difficult=0).drop(columns=["group", "kept"]).to_csv(
        tmp_path / "faces.csv", index=False
    )
    with pytest.raises(TableError, match=r"line 1: no column group, kept .*data_prep build"):
        read_faces(tmp_path)


@pytest.mark.parametrize("content", [b"", b'a,b\n"1,2\n', b"\xff\xfe\x00\xd8"])
def test_unreadable_table(tmp_path, content):
    (tmp_path / "faces.csv").write_bytes(content)
    with pytest.raises(TableError, match=r"faces\.csv"):
        read_faces(tmp_path)


def test_text_in_place_of_a_number(tmp_path):
    make_table(xmin=["left", 3], kept=1, difficult=0).to_csv(tmp_path / "faces.csv", index=False)
    with pytest.raises(TableError, match="line 2: 'left' for xmin is not a number"):
        read_faces(tmp_path)


def test_missing_table_says_how_to_make_it(tmp_path):
    with pytest.raises(TableError, match="python -m data_prep build"):
        read_faces(tmp_path)


def test_sources_that_are_not_there_are_named():
    table = pd.DataFrame({"source": ["a", "b", "a"], "object": [0, 1, 2]})
    assert select_sources(table, ["a"])["object"].tolist() == [0, 2]
    assert select_sources(table, []).equals(table)
    with pytest.raises(TableError, match=r"'c'; there are: a, b\."):
        select_sources(table, ["a", "c"])
