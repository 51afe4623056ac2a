"""Labels, files that are written, progress, and `faces.csv`."""

import errno
import time
from pathlib import Path

import pandas as pd
import pytest

from data_prep.base import progress
from data_prep.base.files import OutputError, make_folder, write_atomically, write_json
from data_prep.base.labels import (
    ALIASES,
    CLASSES,
    UnknownLabelError,
    canonical_label,
    explain_unknown,
    parse_aliases,
)
from data_prep.base.progress import LINES, show_progress
from data_prep.base.tables import COLUMNS, TableError, read_faces, select_sources, write_faces


@pytest.mark.parametrize("name", ["With Mask", " with-mask ", "WITH_MASK", "with  mask"])
def test_spelling_does_not_matter(name):
    assert canonical_label(name) == "with_mask"


def test_every_alias_leads_to_a_class():
    assert set(ALIASES.values()) <= set(CLASSES)
    for name, target in {**ALIASES, **dict(zip(CLASSES, CLASSES, strict=True))}.items():
        assert canonical_label(name) == target


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wiht_mask", r"'wiht_mask'.*did you mean 'with_mask'"),
        ("zebra", r"known names: with_mask, .*--alias"),
    ],
)
def test_unknown_name_gets_a_suggestion_or_the_list(name, reason):
    with pytest.raises(UnknownLabelError, match=reason):
        canonical_label(name)


def test_aliases_are_added_to_the_known_ones():
    aliases = parse_aliases(["Nose Out = mask_weared_incorrect"])
    assert canonical_label("nose-out", aliases) == "mask_weared_incorrect"
    assert canonical_label("no_mask", aliases) == "without_mask"
    assert canonical_label("hat", parse_aliases(["hat="])) == ""


def test_all_unknown_names_are_told_and_hints_keep_the_meaning():
    names = {"face_mask": 3, "NoFaceMask": 1, "mask_under_nose": 1, "wthout_mask": 1, "zebra": 2}
    told = explain_unknown(names, ALIASES, CLASSES)
    assert "'face_mask' (3 times): if it means with_mask: --alias 'face_mask=with_mask'" in told
    assert "--alias 'NoFaceMask=without_mask'" in told
    assert "--alias 'mask_under_nose=mask_weared_incorrect'" in told
    assert "'wthout_mask': did you mean 'without_mask'?" in told
    assert "'zebra' (2 times). There are these known names: with_mask," in told
    assert "evaluate --classes" in told
    assert "--classes" not in explain_unknown({"zebra": 1}, {}, ("cat", "dog"))


@pytest.mark.parametrize("pair", ["nose_out", "nose_out=mask", "=x"])
def test_bad_alias_is_refused(pair):
    with pytest.raises(UnknownLabelError, match="write NAME=CLASS"):
        parse_aliases([pair])


def test_text_and_bytes_are_written_with_parents_and_the_usual_mode(tmp_path):
    write_atomically(tmp_path / "a" / "b" / "ñ.txt", "año")
    write_atomically(tmp_path / "c.bin", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "ñ.txt").read_text(encoding="utf-8") == "año"
    assert (tmp_path / "c.bin").read_bytes() == b"\x00\xff"
    (tmp_path / "d").write_text("x")
    assert (tmp_path / "c.bin").stat().st_mode == (tmp_path / "d").stat().st_mode


@pytest.mark.parametrize("step", ["open", "replace"])
def test_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, step, fail)
    with pytest.raises(OutputError, match=r"a\.txt.*No space left.*free some space"):
        write_atomically(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match=r"written \([^)]*\); choose another output folder"):
        write_atomically(path / "b.txt", "below a file")


def test_json_keeps_order_and_letters_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"z": "ñ", "a": 1})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "z": "ñ",\n  "a": 1\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", {"a": float("nan")})


def test_file_in_the_way_is_named(tmp_path):
    (tmp_path / "a").write_text("a file")
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(OutputError, match="can't be written"):
            make_folder(path)
    with pytest.raises(OutputError, match="can't be written"):
        write_atomically(tmp_path / "a" / "b", "x")
    assert (tmp_path / "a").read_text() == "a file"


@pytest.mark.parametrize(("items", "quiet"), [("abc", progress.QUIET), ("", 0.0)])
def test_quick_work_and_none_say_nothing(capsys, monkeypatch, items, quiet):
    monkeypatch.setattr(progress, "QUIET", quiet)
    assert list(show_progress(items, len(items), "reading")) == list(items)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("count", "lines"), [(100, LINES), (3, 3)])
def test_items_pass_unchanged_and_standard_output_stays_clean(capsys, monkeypatch, count, lines):
    monkeypatch.setattr(progress, "QUIET", 0.0)
    assert list(show_progress(iter(range(count)), count, "reading")) == list(range(count))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == lines
    assert shown.err.splitlines()[-1].startswith(f"reading: {count}/{count} in ")


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


@pytest.mark.parametrize("source", [["fête 口罩", "007"], ["null", "1e5"]])
def test_round_trip(tmp_path, source):
    table = make_table(source=source)
    write_faces(tmp_path / "faces.csv", table)
    assert read_faces(tmp_path).equals(table)
    assert read_faces(tmp_path / "faces.csv").equals(table)


def test_columns_are_the_contracted_ones_in_order_and_flags_0_and_1(tmp_path):
    write_faces(tmp_path / "faces.csv", make_table(short_side=[1, 2]))
    head = (tmp_path / "faces.csv").read_text().splitlines()[0]
    assert head == ",".join(COLUMNS)
    assert head == (
        "image,width,height,object,label,xmin,ymin,xmax,ymax,difficult,source,group,split,blur,"
        "kept,crop"
    )
    raw = pd.read_csv(tmp_path / "faces.csv")
    assert raw["kept"].tolist() == [1, 0]
    assert raw["difficult"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"label": ["with_mask", "zebra"]}, "unknown class 'zebra'"),
        ({"xmin": ["left", 3]}, "line 2: 'left' for xmin is not a number"),
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


def test_missing_table_is_made_by_build(tmp_path):
    with pytest.raises(TableError, match="python -m data_prep build"):
        read_faces(tmp_path)


def test_sources_that_are_not_there_are_named():
    table = pd.DataFrame({"source": ["a", "b", "a"], "object": [0, 1, 2]})
    assert select_sources(table, ["a"])["object"].tolist() == [0, 2]
    assert select_sources(table, []).equals(table)
    with pytest.raises(TableError, match=r"'c'; there are: a, b\."):
        select_sources(table, ["a", "c"])


@pytest.mark.parametrize(("silence", "told"), [(0.0, True), (60.0, False)])
def test_loading_is_told_where_it_takes_long(monkeypatch, capsys, silence, told):
    monkeypatch.setattr(progress, "SILENCE", silence)
    progress._say_loading.cache_clear()
    for _ in range(2):
        with progress.tell_loading():
            time.sleep(0.2)
    assert capsys.readouterr().err.count("loading libraries") == told
