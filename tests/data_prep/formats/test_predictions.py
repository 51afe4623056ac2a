"""`predictions.csv`, written, read back, and kept in memory."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.base.labels import CLASSES
from data_prep.base.records import Box
from data_prep.base.tables import TableError, write_csv
from data_prep.formats.predictions import (
    COLUMNS,
    PhotoRow,
    PredictionRow,
    read_photos,
    read_prediction_table,
    tabulate_predictions,
    write_photos,
    write_predictions,
)

ROWS = (
    PredictionRow('a, "b".jpg', Box(0, 1 / 3, 10.126, 20), "with_mask", 0.81, 0.9, (0.9, 0.1, 0)),
    PredictionRow("ü.jpg", Box(-1, 2, 3, 4), CLASSES[2], 2 / 3, 1, (0, 1 / 3, 2 / 3), 6, 12, 0.48),
)


def test_written_to_the_byte(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.csv", ROWS)
    assert (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines() == [
        "image,xmin,ymin,xmax,ymax,label,score,detection,p_with_mask,p_without_mask,"
        "p_mask_weared_incorrect,orientation",
        '"a, ""b"".jpg",0.00,0.33,10.13,20.00,with_mask,0.81000,0.90000,0.90000,0.10000,0.00000,1',
        "ü.jpg,-1.00,2.00,3.00,4.00,mask_weared_incorrect,0.66667,1.00000,0.00000,0.33333,0.66667,6",
    ]


def test_photos_there_and_back(tmp_path: Path) -> None:
    rows = (
        PhotoRow("a b,c.jpg", 90, 120, 6, 3, "near"),
        PhotoRow("d.jpg", 0, 0, reason='d.jpg: "empty",\nsays nobody'),
        PhotoRow("e\rf\r\ng.jpg", 9, 9, salvaged=4),
    )
    write_photos(tmp_path / "photos.csv", rows)
    text = (tmp_path / "photos.csv").read_text()
    assert text.splitlines()[:2] == [
        "image,width,height,orientation,faces,learnt,reason,salvaged",
        '"a b,c.jpg",90,120,6,3,near,,0',
    ]
    assert read_photos(tmp_path / "photos.csv") == rows
    before = "".join(f"{line.rpartition(',')[0]}\n" for line in text.splitlines()[:2])
    (tmp_path / "photos.csv").write_text(before)
    assert read_photos(tmp_path / "photos.csv") == rows[:1], "as written before this column was"
    (tmp_path / "photos.csv").write_text(text.replace("near", "maybe"))
    with pytest.raises(TableError, match=r"line 2: learnt is 'maybe'; use exact"):
        read_photos(tmp_path / "photos.csv")


def test_rows_of_a_video_tell_frame_time_and_track(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.csv", ROWS, video=True)
    header, first, second = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()
    assert header == ",".join([*COLUMNS, "frame", "time_s", "track"])
    assert first.endswith(",1,,,")
    assert second.endswith(",6,12,0.480,")
    assert read_prediction_table(tmp_path / "p.csv").images == ('a, "b".jpg', "ü.jpg")


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), min_size=1))
def test_any_text_is_read_by_csv_as_it_was_written(tmp_path_factory, rows) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    rows = [[cell.encode(errors="replace").decode() for cell in row] for row in rows]
    for spreadsheet in (False, True):
        write_csv(path, rows, spreadsheet=spreadsheet)
        with path.open(newline="", encoding="utf-8") as file:
            read = list(csv.reader(file))
        if not spreadsheet:
            assert read == rows
        for cell in (cell for row in read for cell in row if spreadsheet):
            number = cell.startswith("-") and cell[1:].replace(".", "", 1).isdigit()
            assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("rows", [ROWS, ()])
def test_in_memory_as_from_the_file(tmp_path: Path, rows: tuple[PredictionRow, ...]) -> None:
    write_predictions(tmp_path / "p.csv", rows)
    read = read_prediction_table(tmp_path / "p.csv", probabilities=True)
    made = tabulate_predictions(rows)
    for name, values in vars(read).items():
        np.testing.assert_array_equal(getattr(made, name), values, err_msg=name)
