"""The ledger: its lines, appending, reading, settling, and several as one."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.base.files import OutputError
from data_prep.base.labels import CLASSES
from data_prep.base.records import Box
from data_prep.decisions.ledger import (
    Action,
    Decision,
    LedgerError,
    append_decision,
    merge_ledgers,
    read_ledger,
    settle,
    utc_now,
)
from tests.data_prep.deciding import as_file

LINE = {
    "at": "2026-11-20T10:00:00.123Z",
    "by": "ann",
    "source": "faces",
    "image": "images/ñ.jpg",
    "object": 3,
    "photo_sha256": "0123456789abcdef" * 4,
    "box": [10, 12.5, 30, 40],
    "from": "with_mask",
    "action": "rebox",
    "to": "without_mask",
    "to_box": [9.5, 12.5, 31, 44],
}

OWN = {key: value for key, value in LINE.items() if key != "from"}
REBOX = Decision(**{**OWN, "given": "with_mask", "box": Box(10, 12.5, 30, 40)})
REBOX = replace(REBOX, to_box=Box(9.5, 12.5, 31, 44))

KEEP = replace(REBOX, action="keep", to=None, to_box=None)

RELABEL = replace(KEEP, action="relabel", to="without_mask")

DROP, SKIP, UNDO = (replace(KEEP, action=action) for action in ("drop", "skip", "undo"))


def by_bob(decision):
    return replace(decision, by="bob")


def change(**changes):
    return json.dumps({**LINE, **changes})


def test_every_key_is_read_and_written_in_order_as_plain_json():
    assert Decision.from_json(json.dumps(LINE)) == REBOX
    decision = replace(REBOX, by="Zoë", image="a\nb\u2028.jpg", at=utc_now())
    line = decision.to_json()
    assert "\n" not in line
    assert "Zoë" in line
    assert list(json.loads(line)) == list(LINE)
    assert decision.key == ("faces", "a\nb\u2028.jpg", 3)
    assert Decision.from_json(line) == decision


boxes = st.tuples(*[st.floats(-1e6, 1e6)] * 2, *[st.floats(0.01, 1e6)] * 2).map(
    lambda b: Box(b[0], b[1], b[0] + b[2], b[1] + b[3])
)

texts = st.text(min_size=1, max_size=30)


@st.composite
def decisions(draw):
    action = draw(st.sampled_from(get_args(Action)))
    label = draw(st.sampled_from(CLASSES))
    others = [name for name in CLASSES if name != label]
    to = {"relabel": st.sampled_from(others), "rebox": st.sampled_from(CLASSES)}
    return Decision(
        at="2026-11-20T10:00:00Z",
        by=draw(texts),
        source=draw(texts),
        image=draw(texts),
        object=draw(st.integers(0, 2**40)),
        photo_sha256=f"{draw(st.integers(0, 2**256 - 1)):064x}",
        box=draw(boxes),
        given=label,
        action=action,
        to=draw(to[action]) if action in to else None,
        to_box=draw(boxes) if action == "rebox" else None,
    )


@settings(deadline=None, max_examples=40)
@given(decisions())
def test_whatever_is_written_is_read_back(decision):
    assert Decision.from_json(decision.to_json()) == decision


@pytest.mark.parametrize("key", LINE)
def test_missing_key_is_named(key):
    with pytest.raises(LedgerError, match=f"'{key}': Field required"):
        Decision.from_json(json.dumps({k: v for k, v in LINE.items() if k != key}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"colour": 1}, "'colour': Unexpected"),
        ({"action": "rename"}, "'action': .*'keep', 'relabel'"),
        ({"from": "mask"}, "'from': String should match .*with_mask"),
        ({"at": "2026-11-20T10:00:00+01:00"}, "'at': not a UTC time"),
        ({"at": "2026-13-20T10:00:00Z"}, "'at': month"),
        ({"by": ""}, "'by'"),
        ({"source": None}, "'source'"),
        ({"object": -1}, "'object'"),
        ({"object": 1.5}, "'object'"),
        ({"photo_sha256": "0123456789ABCDEF" * 4}, "'photo_sha256'"),
        ({"box": ["1", 2, 3, 4]}, "'box'"),
        ({"box": [3, 2, 1, 4]}, "'box': not a box"),
        ({"box": [1, 2, 3, float("nan")]}, "'box'"),
        ({"box": [1, 2, 3, 10**400]}, "'box'"),
        ({"to_box": [1, 4, 3, 4]}, "'to_box': not a box"),
        ({"to_box": None}, "'to_box' of 'rebox' must be a box"),
        ({"to": None}, "'to' of 'rebox' must be a class"),
        ({"action": "relabel"}, "'to_box' of 'relabel' must be null"),
        ({"action": "relabel", "to": None, "to_box": None}, "'to' of 'relabel' must be a class"),
        ({"action": "relabel", "to": "with_mask", "to_box": None}, "is 'keep'"),
        ({"action": "keep", "to_box": None}, "'to' of 'keep' must be null"),
        ({"action": "drop", "to": None}, "'to_box' of 'drop' must be null"),
    ],
)
def test_what_a_line_can_not_hold_is_named(changes, reason):
    with pytest.raises(LedgerError, match=reason):
        Decision.from_json(change(**changes))


@pytest.mark.parametrize("line", ["", "{", "[]", "1", "no json", '{"at": "', "{} {}"])
def test_no_json_object(line):
    with pytest.raises(LedgerError, match=r"Invalid JSON|an object|required"):
        Decision.from_json(line)


LEDGERS = Path(__file__).parents[3] / "data_prep" / "ledgers"


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
    ledger, data = read_ledger(path), line_of(KEEP) + line_of(RELABEL) + line_of(UNDO)
    assert path.read_bytes() == data
    assert (ledger.decisions, ledger.warnings) == ((KEEP, RELABEL, UNDO), ())
    assert (ledger.path, ledger.sha256) == (path, hashlib.sha256(data).hexdigest())


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
    ledger = read_ledger(path)
    assert (ledger.decisions, ledger.warnings) == ((KEEP, RELABEL), ())
    append_decision(path, DROP)
    assert path.read_bytes() == line_of(KEEP) + line_of(RELABEL) + line_of(DROP)


BURN = line_of(DROP).replace(b'"drop"', b'"burn"').rstrip()


@pytest.mark.parametrize("after", [line_of(DROP), b""], ids=["middle", "last"])
@pytest.mark.parametrize("fault", [b"{no json", b'{"at": "20', b"[]", b"\xff\xfe", b"null", BURN])
def test_bad_line_is_an_error_that_names_it(path, fault, after):
    write(path, line_of(KEEP), fault + b"\n", after)
    with pytest.raises(LedgerError, match=r"decisions\.jsonl:2: .*mend or remove the line"):
        read_ledger(path)


def test_ledger_from_an_editor_of_another_system_and_an_empty_one(path):
    lines = line_of(KEEP) + b"\n  \n" + line_of(DROP)
    write(path, b"\xef\xbb\xbf", lines.replace(b"\n", b"\r\n"))
    assert read_ledger(path).decisions == (KEEP, DROP)
    assert read_ledger(write(path)).decisions == ()


def test_what_is_no_ledger(path, tmp_path):
    with pytest.raises(LedgerError, match=r"decisions\.jsonl: .*No such file"):
        read_ledger(path)
    with pytest.raises(LedgerError, match="directory"):
        read_ledger(tmp_path)
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


def test_long_ledger_is_read_fast(path):
    line, count = line_of(KEEP), 30_000
    write(path, *(line.replace(b'"object": 3', b'"object": %d' % n) for n in range(count)))
    start = time.process_time()
    assert len(settle(read_ledger(path).decisions)) == count
    assert time.process_time() - start < 1.5  # About 0.3 s; a busy machine has its time.
    start = time.process_time()
    append_decision(path, DROP)
    assert time.process_time() - start < 0.1


def settle_slowly(decisions, by):
    """By striking out lines: each undo strikes its own reviewer's last line on the face."""
    lines = []
    for decision in decisions:
        if decision.action != "undo":
            lines.append(decision)
            continue
        whose = [(line.key, line.by) == (decision.key, decision.by) for line in lines]
        if any(whose):
            del lines[len(lines) - 1 - whose[::-1].index(True)]
    last = {}
    for decision in lines:
        last.pop((decision.key, decision.by), None)
        last[decision.key, decision.by] = decision
    said = {}
    for decision in last.values():
        if by in (None, decision.by) and decision.action != "skip":
            said.pop(decision.key, None)
            said[decision.key] = decision
    return list(said.items())


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            lambda base, by, number: replace(base, by=by, object=number),
            st.sampled_from([KEEP, RELABEL, DROP, SKIP, UNDO]),
            st.sampled_from(["ann", "bob"]),
            st.integers(0, 2),
        ),
        max_size=14,
    ),
    st.sampled_from([None, "ann", "bob"]),
)
def test_settling_is_striking_out(made, by):
    numbered = [replace(d, at=f"2026-11-20T10:00:{n:02}Z") for n, d in enumerate(made)]
    assert list(settle(numbered, by).items()) == settle_slowly(numbered, by)


@pytest.mark.parametrize("path", sorted(LEDGERS.glob("*.jsonl")), ids=lambda path: path.name)
def test_shipped_ledgers_hold(path):
    ledger = read_ledger(path)
    assert ledger.decisions
    assert ledger.warnings == ()
    assert {decision.source for decision in ledger.decisions} == {"facemask", "ilc"}
    assert all(len(decision.photo_sha256) == 64 for decision in ledger.decisions)


def at(decision, second, **changes):
    return replace(decision, at=f"2026-01-01T00:00:{second:0>2}Z", **changes)


def merge(*ledgers):
    return merge_ledgers([as_file(ledger) for ledger in ledgers])


SHORT = [at(KEEP, 1), at(RELABEL, 2)]

BOB = at(KEEP, 20, by="bob")


@pytest.mark.parametrize(
    ("ledgers", "standing"),
    [
        pytest.param([[at(DROP, 2)], [at(RELABEL, 1)]], [at(RELABEL, 1), at(DROP, 2)], id="time"),
        pytest.param([[at(DROP, "01.5")], [at(RELABEL, 1)]], [at(RELABEL, 1), at(DROP, "01.5")],
                     id="times are no text"),
        pytest.param([[at(RELABEL, 1)], [at(UNDO, 2)]], [], id="undo in another ledger"),
        pytest.param([[at(UNDO, 1)], [at(RELABEL, 2)]], [at(RELABEL, 2)], id="undo before"),
        pytest.param([SHORT, [*SHORT, at(UNDO, 3)]], [at(KEEP, 1)], id="longer copy"),
        pytest.param([SHORT, SHORT], SHORT, id="copy"),
        pytest.param([[at(RELABEL, 1), at(UNDO, 1), at(RELABEL, 1)]], [at(RELABEL, 1)],
                     id="line twice in one ledger"),
        pytest.param([[at(RELABEL, 30), at(DROP, 10)], [BOB]], [BOB, at(RELABEL, 30), at(DROP, 10)],
                     id="clock that goes back"),
    ],
)  # fmt: skip
def test_several_ledgers_are_merged_by_time(ledgers, standing):
    assert merge(*ledgers) == merge(*reversed(ledgers)) == standing
