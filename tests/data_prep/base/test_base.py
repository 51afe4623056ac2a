"""Labels, records, files that are written, and progress."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from data_prep.base import progress
from data_prep.base.files import OutputError, make_folder, sha256_of, write_atomically, write_json
from data_prep.base.labels import (
    ALIASES,
    CLASSES,
    UnknownLabelError,
    canonical_label,
    parse_aliases,
)
from data_prep.base.progress import LINES, show_progress
from data_prep.base.records import Box


@pytest.mark.parametrize("label", CLASSES)
def test_canonical_names_stay(label):
    assert canonical_label(label) == label


@pytest.mark.parametrize("name", ["With Mask", " with-mask ", "WITH_MASK", "with  mask"])
def test_spelling_does_not_matter(name):
    assert canonical_label(name) == "with_mask"


def test_every_alias_leads_to_a_class():
    assert set(ALIASES.values()) <= set(CLASSES)
    assert all(canonical_label(alias) == target for alias, target in ALIASES.items())


def test_unknown_name_gets_a_suggestion():
    with pytest.raises(UnknownLabelError, match=r"'wiht_mask'.*did you mean 'with_mask'"):
        canonical_label("wiht_mask")


def test_name_unlike_any_gets_the_list():
    with pytest.raises(UnknownLabelError, match=r"known names: with_mask, .*--alias"):
        canonical_label("zebra")


def test_aliases_are_added_to_the_known_ones():
    aliases = parse_aliases(["Nose Out = mask_weared_incorrect"])
    assert canonical_label("nose-out", aliases) == "mask_weared_incorrect"
    assert canonical_label("no_mask", aliases) == "without_mask"


@pytest.mark.parametrize("pair", ["nose_out", "nose_out=", "nose_out=mask", "=x"])
def test_bad_alias_is_refused(pair):
    with pytest.raises(UnknownLabelError, match="write NAME=CLASS"):
        parse_aliases([pair])


def test_box_sides():
    box = Box(10, 20, 25.5, 30)
    assert (box.width, box.height, box.short_side) == (15.5, 10, 10)


def test_inverted_box_has_a_negative_side():
    assert Box(10, 0, 5, 4).short_side == -5


def test_text_and_bytes_are_written_with_parents(tmp_path):
    write_atomically(tmp_path / "a" / "b" / "ñ.txt", "año")
    write_atomically(tmp_path / "c.bin", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "ñ.txt").read_text(encoding="utf-8") == "año"
    assert (tmp_path / "c.bin").read_bytes() == b"\x00\xff"


def test_mode_is_that_of_any_new_file(tmp_path):
    write_atomically(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("step", ["fdopen", "replace"])
def test_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((os, "fdopen") if step == "fdopen" else (Path, "replace")), fail)
    with pytest.raises(OutputError, match=r"a\.txt.*No space left.*free some space"):
        write_atomically(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_path_below_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="can't be written"):
        write_atomically(tmp_path / "file" / "a.txt", "x")


def test_json_keeps_order_and_letters_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"z": "ñ", "a": 1})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "z": "ñ",\n  "a": 1\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", {"a": float("nan")})


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 1000)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc" * 1000).hexdigest()


def test_make_folder_names_what_is_in_the_way(tmp_path):
    (tmp_path / "a").write_text("a file")
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(OutputError, match="can't be written"):
            make_folder(path)
    assert (tmp_path / "a").read_text() == "a file"


@pytest.fixture
def slow(monkeypatch):
    """Every pass counts as long."""
    monkeypatch.setattr(progress, "QUIET", 0.0)


def test_quick_work_says_nothing(capsys):
    assert list(show_progress("abc", 3, "reading")) == list("abc")
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("slow")
def test_items_pass_unchanged_and_standard_output_stays_clean(capsys):
    assert list(show_progress(iter(range(100)), 100, "reading")) == list(range(100))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == LINES
    assert shown.err.splitlines()[-1].startswith("reading: 100/100 in ")


@pytest.mark.usefixtures("slow")
def test_few_items_give_few_lines(capsys):
    list(show_progress("abc", 3, "reading"))
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_nothing_to_do_says_nothing(capsys):
    assert list(show_progress([], 0, "reading")) == []
    assert capsys.readouterr().err == ""
