"""Reading a ledger while it grows, against reading it whole."""

import threading
import time

import pytest

from data_prep.base.records import Box
from data_prep.decisions.decision import Decision, LedgerError
from data_prep.decisions.ledger import append_decision, read_ledger
from pipeline.review.follower import LedgerFollower


def decide(number: int, **changes) -> Decision:
    return Decision(
        **{
            "at": f"2026-11-20T10:00:{number % 60:02}.000Z",
            "by": "ada",
            "source": "sét",
            "image": "a b.jpg",
            "object": number,
            "photo_sha256": "0" * 64,
            "box": Box(1, 2, 3, 4),
            "given": "with_mask",
            "action": "keep",
        }
        | changes
    )


def test_each_line_is_read_once(ledger):
    follower = LedgerFollower(ledger)
    assert follower.read_new() == []
    for number in range(5):
        append_decision(ledger, decide(number))
        if number % 2:
            assert [d.object for d in follower.read_new()] == [number - 1, number]
    assert [d.object for d in follower.read_new()] == [4]
    assert follower.read_new() == []


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
    for step in (3, 100, 10_000):
        follower, found = LedgerFollower(ledger), []
        for end in range(step, len(data) + step, step):
            ledger.write_bytes(data[:end])
            found += follower.read_new()
        assert found == expected


def test_a_torn_end_is_passed_over_when_the_next_one_comes(ledger):
    follower = LedgerFollower(ledger)
    append_decision(ledger, decide(0))
    with ledger.open("ab") as file:
        file.write(decide(1).to_json().encode()[:50])
    assert [d.object for d in follower.read_new()] == [0]
    append_decision(ledger, decide(2))
    assert [d.object for d in follower.read_new()] == [2]
    assert [d.object for d in read_ledger(ledger).decisions] == [0, 2]


def test_bad_lines_are_named(ledger):
    follower = LedgerFollower(ledger)
    append_decision(ledger, decide(0))
    follower.read_new()
    append_decision(ledger, decide(1))
    with ledger.open("ab") as file:
        file.write(b"{}\n")
    for _ in range(2):  # The same at every look.
        with pytest.raises(LedgerError, match=f"{ledger}:3: "):
            follower.read_new()


def test_a_ledger_that_was_cut_is_refused(ledger):
    follower = LedgerFollower(ledger)
    append_decision(ledger, decide(0))
    follower.read_new()
    ledger.write_bytes(b"")
    with pytest.raises(LedgerError, match="shorter"):
        follower.read_new()


def test_alone_keeps_others_out(ledger):
    steps = []

    def enter() -> None:
        with LedgerFollower(ledger).alone():
            steps.append("other")

    with LedgerFollower(ledger).alone():
        other = threading.Thread(target=enter)
        other.start()
        time.sleep(0.05)
        steps.append("first")
    other.join()
    assert steps == ["first", "other"]
