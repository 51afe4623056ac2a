"""The ledger followed while it grows, and the way through the faces against its own rules."""

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from data_prep.base.labels import CLASSES
from data_prep.base.records import Box
from data_prep.decisions.ledger import (
    LedgerError,
    Place,
    append_decision,
    read_added,
    read_ledger,
    settle,
)
from pipeline.review.session import Choice, ConflictError, NoFaceError, Session
from pipeline.review.sheet import list_open
from tests.pipeline.review.makers import decide, make_suspects

DECIDER = """
import sys
from pathlib import Path
from pipeline.review.session import Choice, Session, Way
from pipeline.review.suspects import open_suspects

session = Session(open_suspects(Path(sys.argv[1])), Path(sys.argv[2]), Way("ada"))
while True:
    for position in range(len(session)):
        version = session.look_up(position).version
        session.decide(position, Choice("drop" if version % 2 else "keep"), version)
        print(position, version + 1, flush=True)
"""


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_any_cut_reads_the_same_as_the_whole(ledger, tmp_path, bom):
    """Growing by pieces of every size, torn lines and empty ones included."""
    for number in range(4):
        append_decision(tmp_path / "whole.jsonl", decide(number))
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines()
    data = bom + lines[0] + b"\n\n" + lines[1][:40] + b"\x18\n" + lines[2] + b"\n" + lines[3]
    (tmp_path / "whole.jsonl").write_bytes(data)
    expected = list(read_ledger(tmp_path / "whole.jsonl").decisions)
    assert len(expected) == 3
    for step in (7, 100, 10_000):
        place, found = Place(), []
        for end in range(step, len(data) + step, step):
            ledger.write_bytes(data[:end])
            added, place = read_added(ledger, place)
            found += added.decisions
        assert found == expected


def test_bad_lines_and_cut_ledgers_are_refused(ledger):
    append_decision(ledger, decide(0))
    added, place = read_added(ledger, Place())
    assert added.decisions == (decide(0),)
    append_decision(ledger, decide(1))
    with ledger.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(LedgerError, match=f"{ledger}:3: "):
        read_added(ledger, place)
    ledger.write_bytes(b"")
    with pytest.raises(LedgerError, match="shorter"):
        read_added(ledger, place)


def version_of(session: Session, position: int) -> int:
    return session.look_up(position).version


@pytest.mark.parametrize("seed", range(2))
def test_what_stands_is_what_the_ledger_says(start, ledger, seed):
    rng = random.Random(seed)
    sessions = {by: start(by) for by in ("ada", "bob")}
    for _ in range(40):
        session = sessions[rng.choice(["ada", "bob"])]
        session.refresh()
        position, action = rng.randrange(6), rng.choice(["keep", "label", "drop", "skip", "undo"])
        if action == "undo":
            session.undo()
            continue
        to = rng.choice(CLASSES) if action == "label" else None
        session.decide(position, Choice(action, to), version_of(session, position))
    lines = read_ledger(ledger).decisions
    for by, session in (*sessions.items(), ("ada", start("ada"))):
        session.refresh()
        stands = settle(lines, by)
        changed = sum(decision.action != "keep" for decision in stands.values())
        assert session.count("changed") == changed
        assert session.count("kept") == len(stands) - changed
        for position in range(len(session)):
            assert session.look_up(position).decision == stands.get(session.face(position).key)
        found = {decision.key: decision for decision in session.recent(100)}
        assert found == stands
        # settle tells them in the order they were made.
        assert list(found) == list(stands)[::-1]


def test_disputed_faces_come_again_until_reviewers_agree(start, ledger):
    ada, bob = start("ada"), start("bob")
    own = CLASSES.index(ada.face(0).label)
    other, third = CLASSES[own - 1], CLASSES[own - 2]
    x0, y0, x1, y1 = ada.face(3).box
    moved = Box(x0 + 1, y0, x1 + 1, y1)
    made = {  # Of ada and bob, by position.
        0: (Choice("keep"), Choice("label", other)),
        1: (Choice("keep"), Choice("keep")),
        2: (Choice("drop"), Choice("keep")),
        3: (Choice("rebox", ada.face(3).label, moved), Choice("keep")),
        4: (Choice("drop"), Choice("drop")),
        6: (Choice("label", other), Choice("label", third)),  # Of the class of face 0.
        7: (Choice("keep"), Choice("skip")),
        8: (Choice("rebox", ada.face(8).label, Box(0, 0, 4, 4)), Choice("keep")),
    }
    for position, choices in made.items():
        for session, choice in zip((ada, bob), choices, strict=True):
            session.decide(position, choice, 0)
    found = start("ada", disputed=True)
    assert found.rows.tolist() == [0, 2, 6, 8]
    assert (found.count("open"), found.next_after(-1)) == (4, 0)
    assert found.look_up(0).decision.action == "keep", "what stood is told"
    assert len(list_open(found)) == 4
    found.decide(0, Choice("label", other), version_of(found, 0))
    assert (found.count("changed"), found.next_after(0)) == (1, 1)
    assert found.undo() == 0, "back to what stood before"
    found.decide(0, Choice("label", other), version_of(found, 0))
    assert start("bob", disputed=True).rows.tolist() == [2, 6, 8]


def test_the_next_face_is_the_first_open_one_further_on(start):
    session = start()
    for position, action in ((2, "keep"), (3, "skip"), (4, "drop")):
        session.decide(position, Choice(action), 0)
    assert session.next_after(-1) == 0
    assert session.next_after(1) == 5
    assert session.next_after(11) == 0, "from the start again"
    assert session.ahead(0, 4) == [1, 5, 6, 7]
    assert session.ahead(11, 20) == [0, 1, 5, 6, 7, 8, 9, 10]
    for position in (0, 1, *range(5, 11)):
        session.decide(position, Choice("keep"), 0)
    session.decide(11, Choice("skip"), 0)
    assert session.next_after(10) == 11, "skipped ones come again"
    assert session.next_after(3) == 11
    assert session.next_after(11) is None, "but not for ever"
    session.decide(11, Choice("keep"), 1)
    assert session.next_after(11) == 3
    for position in (-2, 12, 10**30):
        with pytest.raises(NoFaceError):
            session.next_after(position)


def test_threads_do_not_decide_twice(start, ledger):
    sessions = [start(), start()]
    outcomes = []

    def decide_all(session: Session) -> None:
        for position in range(len(session)):
            try:
                session.decide(position, Choice("keep"), 0)
                outcomes.append("saved")
            except ConflictError:
                outcomes.append("conflict")

    threads = [threading.Thread(target=decide_all, args=(s,)) for s in sessions for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict"] * 36 + ["saved"] * 12
    keys = [decision.key for decision in read_ledger(ledger).decisions]
    assert len(keys) == len(set(keys)) == 12


def test_nothing_saved_is_lost_in_kills(found, ledger, start):
    """A process decides at full speed and is killed in the midst."""
    saved: dict[int, int] = {}
    command = [sys.executable, "-c", DECIDER, str(found), str(ledger)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as first:
        for line, _ in zip(first.stdout, range(50), strict=False):
            position, version = map(int, line.split())
            saved[position] = version
        first.kill()
    assert len(read_ledger(ledger).decisions) >= 50
    session = start()
    for position, version in saved.items():
        assert version_of(session, position) >= version
    session.decide(0, Choice("rebox", None, Box(1, 1, 50, 50)), version_of(session, 0))
    assert start().look_up(0).decision.action == "rebox"


def test_the_same_number_of_other_faces_is_another_session(start):
    """A blind reviewer's way is what others decided, and that may change between two starts."""
    ada = start("ada")
    ada.decide(0, Choice("keep"), 0)
    first = start("bob", blind=True)
    ada.undo()
    ada.decide(1, Choice("keep"), 0)
    second = start("bob", blind=True)
    assert len(first) == len(second) == 1
    assert first.edition != second.edition


def test_a_short_way_knows_what_is_decided_beyond(start):
    session = start()
    for position, action in ((0, "drop"), (5, "drop"), (6, "keep"), (7, "skip")):
        session.decide(position, Choice(action), 0)
    short = start(first=3)
    assert (short.count("changed"), short.count("changed", everywhere=True)) == (1, 2)
    assert short.undo() == 0, "on this way"
    short.decide(0, Choice("drop"), 2)
    short.decide(1, Choice("keep"), 0)
    session.refresh()
    for each in (short, session):
        counts = [
            each.count(status, everywhere=True) for status in ("open", "kept", "changed", "skipped")
        ]
        assert counts == [7, 2, 2, 1]


@pytest.mark.slow
def test_a_hundred_thousand_faces_cost_little(tmp_path, ledger, start):
    """What a decision takes doesn't grow with the faces or the ledger."""
    folder = make_suspects(tmp_path / "many", rows=100_000)
    start(folder=folder)  # Which indexes the table.
    started = time.process_time()
    session = start(folder=folder)
    assert session.next_after(-1) == 0
    opened = time.process_time() - started
    started = time.process_time()
    for position in range(100):
        session.decide(position, Choice("keep"), 0)
        session.ahead(position, 4)
    each = (time.process_time() - started) / 100
    assert opened < 0.5
    assert each < 0.02
    assert np.array_equal(session.rows, np.arange(100_000))
