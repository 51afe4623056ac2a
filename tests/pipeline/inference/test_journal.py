"""What was done is known again, and only that."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.base.files import OutputError
from data_prep.base.records import Box
from data_prep.formats.predictions import PhotoRow
from pipeline.inference.records import Face, Frame
from pipeline.inference.sinks import JOURNAL, Entry, Journal

SETTINGS = {"thresh": 0.3, "detector": "abc"}
FACE = Face(Box(1.25, 2.0, 30.1, 40.7), 0.123456789, (0.7, 0.2, 0.1))


def entry(image="a.jpg", faces=(FACE,), reason=""):
    size = (0, 0) if reason else (64, 48)
    photo = PhotoRow(image, *size, 6, len(faces), "near", reason)
    return Entry(photo, faces, (100, 1_700_000_000_123_456_789))


def write(folder, *entries, settings=SETTINGS):
    journal = Journal(folder, settings)
    for one in entries:
        to = one.photo
        pixels = None if to.reason else np.zeros((to.height, to.width, 3), np.uint8)
        frame = Frame(to.image, 0, pixels, to.reason, to.orientation, None, one.stamp)
        journal.add(Entry.of(replace(frame, learnt=to.learnt), one.faces))
    journal.close()


def read(folder, settings=SETTINGS):
    journal = Journal(folder, settings)
    journal.close()
    return journal.entries


def test_entries_come_back_exactly(tmp_path):
    entries = [
        entry(),
        entry("b.jpg", ()),
        entry("c.jpg", (), "c.jpg: the file is empty."),
        entry("d.jpg", (FACE, FACE)),
    ]
    write(tmp_path, *entries)
    assert list(read(tmp_path).values()) == entries


@pytest.mark.parametrize(
    "name",
    ["año 口罩 😷.jpg", "a\nb.jpg", 'a"b\\c.jpg', "a\u2028b.jpg", "a\x85b.jpg", "a\udce9.jpg"],
)
def test_names_of_any_kind(tmp_path, name):
    write(tmp_path, entry(name), entry("z.jpg"))
    assert list(read(tmp_path)) == [name, "z.jpg"]


def test_added_later_comes_behind_and_counts_more(tmp_path):
    write(tmp_path, entry(), entry("b.jpg"))
    write(tmp_path, entry(faces=()), entry("c.jpg"))
    entries = read(tmp_path)
    assert sorted(entries) == ["a.jpg", "b.jpg", "c.jpg"]
    assert entries["a.jpg"].faces == ()


def test_other_settings_start_anew(tmp_path):
    write(tmp_path, entry())
    assert read(tmp_path, {**SETTINGS, "thresh": 0.5}) == {}
    assert read(tmp_path) == {}, "nor do the old ones come back"


GARBAGE = ["", "3", "null", '"text"', "[]", "{}", "\0\0", '{"image": "x.jpg"}']
GARBAGE += [
    f'{{"image": "x.jpg", "faces": {faces}}}' for faces in ('[{"box": [1, 2]}]', "7", '[], "a": 1')
]


def test_garbage_between_the_lines_and_a_torn_end_are_passed_over(tmp_path):
    write(tmp_path, entry(), entry("b.jpg"))
    head, *rest = (tmp_path / JOURNAL).read_text().splitlines()
    (tmp_path / JOURNAL).write_text("\n".join([head, *GARBAGE, *rest, rest[0][:-30]]))
    assert list(read(tmp_path)) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00garbage", b"{" * 5000])
def test_journal_that_is_none(tmp_path, content):
    (tmp_path / JOURNAL).write_bytes(content)
    assert read(tmp_path) == {}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_full_disk_is_told_once_and_closing_does_not_fail(tmp_path):
    journal = Journal(tmp_path, SETTINGS)
    journal._file.close()
    journal._file = Path("/dev/full").open("a")  # noqa: SIM115
    with pytest.raises(OutputError, match=r"\.journal\.jsonl: can't be written \(No space left"):
        journal.add(Entry.of(Frame("a.jpg"), [FACE] * 9))
    assert journal.entries == {}
    journal.close()
