"""The ledger: appending, reading, settling, and several as one."""

import hashlib
import itertools
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.base.files import OutputError
from data_prep.base.records import Box
from data_prep.decisions.ledger import (
    Decision,
    LedgerError,
    append_decision,
    merge_ledgers,
    read_ledger,
    read_ledgers,
    settle,
    utc_now,
)
from tests.data_prep.deciding import as_file, write_ledger

KEEP = Decision(
    at="2026-11-20T10:00:00.123Z",
    by="ann",
    source="faces",
    image="images/ñ.jpg",
    object=0,
    photo_sha256="ab" * 32,
    box=Box(10.0, 12.0, 30.0, 40.0),
    given="with_mask",
    action="keep",
    to=None,
    to_box=None,
)

LEDGERS = Path(__file__).parents[3] / "data_prep" / "ledgers"
RELABEL = replace(KEEP, action="relabel", to="without_mask")
DROP = replace(KEEP, action="drop")
SKIP = replace(KEEP, action="skip")
UNDO = replace(KEEP, action="undo")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "decisions.jsonl"


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(lines))
    return path


def line_of(decision):
    return decision.to_json().encode() + b"\n"


def test_what_is_appended_is_read_in_order(path):
    for decision in (KEEP, RELABEL, UNDO):
        append_decision(path, decision)
    assert read_ledger(path).decisions == (KEEP, RELABEL, UNDO)
    assert read_ledger(path).warnings == ()
    assert path.read_bytes() == line_of(KEEP) + line_of(RELABEL) + line_of(UNDO)


def test_every_append_is_on_the_disk_before_it_returns(path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    append_decision(path, KEEP)
    append_decision(path, DROP)
    sizes = [len(line_of(KEEP)), len(line_of(KEEP)) + len(line_of(DROP))]
    assert synced[0] == sizes[0]
    assert synced[-1] == sizes[1]
    assert len(synced) == 3  # A new file's folder as well.


@pytest.mark.parametrize(
    "faulty", [replace(KEEP, by=""), replace(KEEP, to="with_mask"), replace(KEEP, by="\udc80")]
)
def test_what_could_not_be_read_again_is_not_written(path, faulty):
    append_decision(path, KEEP)
    with pytest.raises(LedgerError):
        append_decision(path, faulty)
    assert read_ledger(path).decisions == (KEEP,)


APPENDER = """
import sys
from dataclasses import replace
from pathlib import Path
from data_prep.decisions.ledger import Decision, append_decision
path, by, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
decision = replace(Decision.from_json(sys.argv[4]), by=by)
for number in range(count):
    append_decision(path, replace(decision, object=number, image="x" * (number * 37 % 5000 + 1)))
"""


def start_appender(path, by, count):
    command = [sys.executable, "-c", APPENDER, str(path), by, str(count), KEEP.to_json()]
    return subprocess.Popen(command)


def test_several_processes_interleave_whole_lines(path):
    names, count = ("ann", "bob", "cem"), 60
    running = [start_appender(path, name, count) for name in names]
    assert [process.wait() for process in running] == [0, 0, 0]
    ledger = read_ledger(path)
    assert ledger.warnings == ()
    for name in names:
        objects = [decision.object for decision in ledger.decisions if decision.by == name]
        assert objects == list(range(count))


def test_kill_loses_nothing_that_was_done(path):
    killed, seen = 0, 0
    for number in range(3):
        process = start_appender(path, f"by{number}", 10**6)
        deadline = time.monotonic() + 300
        while not path.exists() or len(path.read_bytes().splitlines()) < seen + 20:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        killed += process.wait() == -9
        seen = len(read_ledger(path).decisions)
    assert killed == 3
    append_decision(path, DROP)
    ledger = read_ledger(path)
    assert ledger.decisions[-1] == DROP
    assert len(ledger.decisions) == seen + 1
    for _, group in itertools.groupby(ledger.decisions[:-1], key=lambda decision: decision.by):
        objects = [decision.object for decision in group]
        assert objects == list(range(len(objects)))


def test_torn_last_line_is_skipped_and_the_next_starts_afresh(path):
    whole, torn = line_of(KEEP), line_of(RELABEL)
    for cut in {*range(1, len(torn) - 1, 23), len(torn) - 2}:
        write(path, whole, torn[:cut])
        ledger = read_ledger(path)
        assert ledger.decisions == (KEEP,)
        (warning,) = ledger.warnings
        assert warning == f"{path}:2: the last line is cut short; it is skipped."
        append_decision(path, DROP)
        append_decision(path, SKIP)
        ledger = read_ledger(path)
        assert ledger.decisions == (KEEP, DROP, SKIP)
        (warning,) = ledger.warnings
        assert warning.startswith(f"{path}:2: half a line")
        assert path.read_bytes().startswith(whole + torn[:cut])


def test_last_line_that_only_lacks_its_end_counts(path):
    write(path, line_of(KEEP), line_of(RELABEL)[:-1])
    assert read_ledger(path) == type(read_ledger(path))((KEEP, RELABEL), ())
    append_decision(path, DROP)
    assert path.read_bytes() == line_of(KEEP) + line_of(RELABEL) + line_of(DROP)


@pytest.mark.parametrize("fault", [b"{no json", b'{"at": "20', b"[]", b"\xff\xfe", b"null"])
def test_bad_line_in_the_middle_is_an_error_that_names_it(path, fault):
    write(path, line_of(KEEP), fault + b"\n", line_of(DROP))
    with pytest.raises(LedgerError, match=r"decisions\.jsonl:2: .*mend or remove the line"):
        read_ledger(path)


def test_bad_line_with_an_end_is_an_error_though_the_last(path):
    write(path, line_of(KEEP), b"{no json\n")
    with pytest.raises(LedgerError, match=r"decisions\.jsonl:2"):
        read_ledger(path)


def test_unknown_action_names_the_line(path):
    write(path, line_of(KEEP), line_of(DROP).replace(b'"drop"', b'"burn"'))
    with pytest.raises(LedgerError, match=r"decisions\.jsonl:2: 'action'"):
        read_ledger(path)


def test_ledger_from_an_editor_of_another_system(path):
    lines = line_of(KEEP) + b"\n  \n" + line_of(DROP)
    write(path, b"\xef\xbb\xbf", lines.replace(b"\n", b"\r\n"))
    assert read_ledger(path).decisions == (KEEP, DROP)


def test_empty_ledger(path):
    assert read_ledger(write(path)).decisions == ()


def test_missing_ledger_and_folder_in_its_place(path, tmp_path):
    with pytest.raises(LedgerError, match=r"decisions\.jsonl: .*No such file"):
        read_ledger(path)
    with pytest.raises(LedgerError, match="directory"):
        read_ledger(tmp_path)


def test_ledger_that_can_not_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be written"):
        append_decision(tmp_path / "file" / "decisions.jsonl", KEEP)


def test_half_a_write_is_an_error(path, monkeypatch):
    append_decision(path, KEEP)
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:50]))
    with pytest.raises(OutputError, match="50 of"):
        append_decision(path, DROP)
    monkeypatch.undo()
    append_decision(path, RELABEL)
    assert read_ledger(path).decisions == (KEEP, RELABEL)


def test_hundred_thousand_lines_are_read_in_about_a_second(path):
    line = KEEP.to_json().encode()
    lines = [line.replace(b'"object": 0', b'"object": %d' % n) + b"\n" for n in range(100_000)]
    write(path, *lines)
    start = time.process_time()
    ledger = read_ledger(path)
    settled = settle(ledger.decisions)
    assert time.process_time() - start < 5  # About 1 s; a busy machine has its time.
    assert len(settled) == 100_000
    start = time.process_time()
    append_decision(path, DROP)
    assert time.process_time() - start < 0.1


@pytest.mark.parametrize(
    ("made", "standing"),
    [
        ([], None),
        ([KEEP], KEEP),
        ([KEEP, RELABEL], RELABEL),
        ([KEEP, RELABEL, UNDO], KEEP),
        ([KEEP, RELABEL, UNDO, UNDO], None),
        ([KEEP, UNDO, UNDO, UNDO, DROP], DROP),
        ([UNDO, KEEP], KEEP),
        ([SKIP], None),
        ([KEEP, SKIP], None),
        ([KEEP, SKIP, UNDO], KEEP),
        ([KEEP, UNDO, RELABEL, SKIP, DROP], DROP),
    ],
)
def test_one_reviewer(made, standing):
    assert settle(made) == ({KEEP.key: standing} if standing else {})
    assert settle(made, by="ann") == settle(made)
    assert settle(made, by="bob") == {}


def by_bob(decision):
    return replace(decision, by="bob")


@pytest.mark.parametrize(
    ("made", "standing"),
    [
        ([KEEP, by_bob(DROP)], by_bob(DROP)),
        ([KEEP, by_bob(DROP), UNDO], by_bob(DROP)),
        ([KEEP, by_bob(DROP), by_bob(UNDO)], KEEP),
        ([KEEP, by_bob(SKIP)], KEEP),
        ([by_bob(DROP), KEEP, SKIP], by_bob(DROP)),
        ([KEEP, by_bob(UNDO)], KEEP),
        ([by_bob(DROP), RELABEL, KEEP, UNDO], RELABEL),
    ],
)
def test_two_reviewers(made, standing):
    assert settle(made) == {KEEP.key: standing}


def settle_slowly(decisions, by):
    """By striking out lines: each undo strikes its own reviewer's last line on the face."""
    lines = [(d, True) for d in decisions]
    for i, (decision, _) in enumerate(lines):
        if decision.action != "undo":
            continue
        lines[i] = (decision, False)
        for j in range(i - 1, -1, -1):
            other, stands = lines[j]
            if stands and (other.key, other.by) == (decision.key, decision.by):
                lines[j] = (other, False)
                break
    standing = [d for d, stands in lines if stands and by in (None, d.by)]
    result = {}
    for key in {d.key for d in standing}:
        last_of_each = {d.by: d for d in standing if d.key == key}
        final = [d for d in standing if d in last_of_each.values() and d.key == key]
        final = [d for d in final if d.action != "skip"]
        if final:
            result[key] = final[-1]
    return result


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            lambda base, by, number, at: replace(base, by=by, object=number, at=at),
            st.sampled_from([KEEP, RELABEL, DROP, SKIP, UNDO]),
            st.sampled_from(["ann", "bob"]),
            st.integers(0, 2),
            st.just(""),
        ),
        max_size=14,
    ),
    st.sampled_from([None, "ann", "bob"]),
)
def test_settling_is_striking_out(made, by):
    numbered = [replace(d, at=f"2026-11-20T10:00:{n:02}Z") for n, d in enumerate(made)]
    assert settle(numbered, by) == settle_slowly(numbered, by)


def test_order_of_what_stands_is_that_of_the_decisions():
    first, second = replace(KEEP, object=1), replace(KEEP, object=2)
    again = replace(DROP, object=1)
    assert list(settle([first, second, again]).values()) == [second, again]
    bob = by_bob(replace(DROP, object=1))
    assert list(settle([first, second, bob]).values()) == [second, bob]


def test_time_can_be_read_again():
    decision = replace(KEEP, at=utc_now())
    assert Decision.from_json(decision.to_json()) == decision


@pytest.mark.parametrize("path", sorted(LEDGERS.glob("*.jsonl")), ids=lambda path: path.name)
def test_shipped_ledgers_hold(path):
    ledger = read_ledger(path)
    assert ledger.decisions
    assert ledger.warnings == ()
    assert {decision.source for decision in ledger.decisions} == {"facemask", "ilc"}
    assert all(len(decision.photo_sha256) == 64 for decision in ledger.decisions)


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
