"""Encodings, separators and lines of CSV files."""

import pytest

from data_prep.formats.csv import decode_csv, list_rows, read_start
from data_prep.formats.input_files import InputError

TEXT = "image,label\nniño.jpg,mask\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(tmp_path, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes(TEXT.encode(encoding))
    assert decode_csv(path, "a.csv") == TEXT
    assert read_start(path)[","] == ["image", "label"]


@pytest.mark.parametrize(
    ("data", "line"), [(TEXT.encode("latin-1"), 2), ("image,label\n".encode("utf-16-le"), 1)]
)
def test_other_encodings_name_the_line(tmp_path, data, line):
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"^a.csv:{line}: not text in UTF-8; save the file again"):
        decode_csv(path, "a.csv")


def test_empty_file(tmp_path):
    (tmp_path / "a.csv").write_text("\n \n")
    with pytest.raises(InputError, match="the file is empty"):
        decode_csv(tmp_path / "a.csv", "a.csv")
    assert read_start(tmp_path / "a.csv") == {}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_know_their_line(end):
    text = end.join(["a;b", "", " 1 ; 2 ", '"x;y";3', ";"])
    rows = list(list_rows(text, ";", "t"))
    assert [(row.where, row.cells) for row in rows] == [
        ("t:1", ["a", "b"]),
        ("t:3", ["1", "2"]),
        ("t:4", ["x;y", "3"]),
    ]


def test_wrong_quotes_are_told_and_the_rest_is_read():
    text = 'a,b\n"x"y,1\nc,2\n"d,3\ne",4\nf,5\n"g,6\nh,7\n'
    rows = list(list_rows(text, ",", "t"))
    assert [row.where for row in rows if not row.fault] == ["t:1", "t:3", "t:6"]
    assert [row.where for row in rows if row.fault] == ["t:2", "t:4", "t:7"]
    assert "before line 5" in rows[3].fault
    assert "down to line 8" in rows[5].fault


def test_line_that_tells_excel_the_separator(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"sep=;\r\na;b\r\n1;2\r\n")
    assert read_start(path)[";"] == ["a", "b"]
    rows = list(list_rows(decode_csv(path, "t"), ";", "t"))
    assert [(row.where, row.cells) for row in rows] == [("t:2", ["a", "b"]), ("t:3", ["1", "2"])]


def test_absurd_length(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.truncate(5 << 30)  # Takes no room on the disk.
    with pytest.raises(InputError, match=r"a.csv: 5.0 GiB, too long .* split it"):
        decode_csv(path, "a.csv")
