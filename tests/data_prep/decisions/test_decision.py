"""A decision and its line in the ledger."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.base.labels import CLASSES
from data_prep.base.records import Box
from data_prep.decisions.ledger import ACTIONS, Decision, LedgerError

LINE = {
    "at": "2026-11-20T10:00:00.123Z",
    "by": "ann",
    "source": "faces",
    "image": "images/photo0.jpg",
    "object": 3,
    "photo_sha256": "0123456789abcdef" * 4,
    "box": [10, 12.5, 30, 40],
    "from": "with_mask",
    "action": "rebox",
    "to": "without_mask",
    "to_box": [9.5, 12.5, 31, 44],
}


def change(**changes):
    return json.dumps({**LINE, **changes})


def test_every_key_is_read():
    assert Decision.from_json(json.dumps(LINE)) == Decision(
        at="2026-11-20T10:00:00.123Z",
        by="ann",
        source="faces",
        image="images/photo0.jpg",
        object=3,
        photo_sha256="0123456789abcdef" * 4,
        box=Box(10, 12.5, 30, 40),
        given="with_mask",
        action="rebox",
        to="without_mask",
        to_box=Box(9.5, 12.5, 31, 44),
    )


def test_line_is_plain_json_with_the_keys_in_order():
    decision = Decision.from_json(change(by="Zoë", image="a\nb\u2028.jpg"))
    line = decision.to_json()
    assert "\n" not in line
    assert "Zoë" in line
    assert list(json.loads(line)) == list(LINE)
    assert decision.key == ("faces", "a\nb\u2028.jpg", 3)


boxes = st.tuples(*[st.floats(-1e6, 1e6)] * 2, *[st.floats(0.01, 1e6)] * 2).map(
    lambda b: Box(b[0], b[1], b[0] + b[2], b[1] + b[3])
)
texts = st.text(min_size=1, max_size=30)


@st.composite
def decisions(draw):
    action = draw(st.sampled_from(ACTIONS))
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


@settings(deadline=None)
@given(decisions())
def test_whatever_is_written_is_read_back(decision):
    assert Decision.from_json(decision.to_json()) == decision


@pytest.mark.parametrize("key", LINE)
def test_missing_key_is_named(key):
    with pytest.raises(LedgerError, match=f"key '{key}' is missing"):
        Decision.from_json(json.dumps({k: v for k, v in LINE.items() if k != key}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"colour": 1}, "unknown key 'colour'"),
        ({"given": "with_mask"}, "unknown key 'given'"),
        ({"action": "rename"}, "'action': .*'keep', 'relabel'"),
        ({"from": "mask"}, "'from': unknown class 'mask'; known: with_mask"),
        ({"to": "no"}, "'to': unknown class 'no'"),
        ({"at": "2026-11-20 10:00"}, "'at': not a UTC time"),
        ({"at": "2026-11-20T10:00:00+01:00"}, "'at': not a UTC time"),
        ({"at": "2026-13-20T10:00:00Z"}, "'at': month"),
        ({"by": ""}, "'by'"),
        ({"source": None}, "'source'"),
        ({"image": 7}, "'image'"),
        ({"object": -1}, "'object'"),
        ({"object": True}, "'object'"),
        ({"object": 1.5}, "'object'"),
        ({"photo_sha256": "abc"}, "'photo_sha256'"),
        ({"photo_sha256": "0123456789ABCDEF" * 4}, "'photo_sha256'"),
        ({"box": [1, 2, 3]}, "'box'"),
        ({"box": ["1", 2, 3, 4]}, "'box'"),
        ({"box": [3, 2, 1, 4]}, "'box': not a box"),
        ({"box": [1, 2, 3, float("nan")]}, "'box'"),
        ({"box": [1, 2, 3, float("inf")]}, "'box'"),
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
    with pytest.raises(LedgerError, match=r"not a JSON object|an object|is missing"):
        Decision.from_json(line)
