"""Atomic writing."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from data_prep.base.files import OutputError, make_folder, sha256_of, write_atomically, write_json


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


def test_make_folder_is_there_and_empty(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_make_folder_names_what_is_in_the_way(tmp_path):
    (tmp_path / "a").write_text("a file")
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(OutputError, match="can't be written"):
            make_folder(path)
    assert (tmp_path / "a").read_text() == "a file"
