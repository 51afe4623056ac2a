"""Several ledgers as one."""

import hashlib
from dataclasses import replace

import pytest

from data_prep.decisions.ledger import LedgerError, merge_ledgers, read_ledgers
from tests.data_prep.deciding import as_file, write_ledger
from tests.data_prep.decisions.test_ledger import DROP, KEEP, RELABEL, UNDO


def at(decision, second, **changes):
    return replace(decision, at=f"2026-01-01T00:00:{second:02}Z", **changes)


def merge(*ledgers):
    return merge_ledgers([as_file(ledger) for ledger in ledgers])


def test_files_are_read_with_their_hashes(tmp_path):
    path = write_ledger(tmp_path / "a.jsonl", KEEP)
    (file,) = read_ledgers([path])
    assert file.ledger.decisions == (KEEP,)
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(LedgerError, match=r"b\.jsonl"):
        read_ledgers([path, tmp_path / "b.jsonl"])


def test_time_decides_not_the_order_of_ledgers():
    early, late = [at(RELABEL, 1)], [at(DROP, 2)]
    assert merge(early, late) == merge(late, early) == [*early, *late]


def test_times_are_compared_as_times_not_as_text():
    first = replace(RELABEL, at="2026-01-01T00:00:01Z")
    second = replace(DROP, at="2026-01-01T00:00:01.5Z")
    assert merge([second], [first]) == [first, second]


def test_undo_reaches_over_ledgers():
    assert merge([at(RELABEL, 1)], [at(UNDO, 2)]) == []
    assert merge([at(UNDO, 1)], [at(RELABEL, 2)]) == [at(RELABEL, 2)]


def test_ledger_and_its_longer_copy():
    short = [at(KEEP, 1), at(RELABEL, 2)]
    assert merge(short, [*short, at(UNDO, 3)]) == [at(KEEP, 1)]
    assert merge(short, short) == short


def test_same_line_twice_in_one_ledger_is_said_twice():
    line = at(RELABEL, 1)
    assert merge([line, at(UNDO, 1), line]) == [line]


def test_clock_that_goes_back_does_not_reorder_a_ledger():
    ledger = [at(RELABEL, 30), at(DROP, 10)]
    assert merge(ledger) == ledger
    assert merge(ledger, [at(KEEP, 20, by="bob")]) == [at(KEEP, 20, by="bob"), *ledger]
