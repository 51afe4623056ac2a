"""Files as the world spoils them: bytes flipped, numbers that are none, nesting without end."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

NUMBERS = (
    *("nan", "-nan", "inf", "1e400", "-1", "0", "-0.0", "1e-320", "1" + "0" * 30, "9" * 5000),
    *("0x10", "1_0", "1,5", "１２", "", "true", "null", '"1"', "2147483648", "-1e300"),
)
PIECES = (
    *(b"\0", b"\x1b[2J", b"\r", b"\n\n", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3\x28", b"\x85", b"\t"),
    *(
        b'"',
        b"'",
        b",",
        b";",
        b"=",
        b"<",
        b"&x;",
        b"]]>",
        b"{",
        b"}",
        b"[",
        b"\\",
        b"\\ud800",
        b"%",
    ),
    *(b"=cmd|' /C calc'!A0", b"../../../etc/passwd", b"/dev/zero", b"\xed\xa0\x80", b"a" * 5000),
    b"%",
    b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    '\u202e口罩"'.encode(),
)
NESTS = (b"[", b'{"a":', b"<a>", b"((", b"- ", b"[[a]]\n", b"&a;", b"a = [")
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**30, 1e308, float("nan"), float("inf"), "", " ", "nan", "\ud800", "\0"),
    *(
        [],
        {},
        [[]],
        {"": None},
        [1, 2, 3, 4],
        ["a"] * 5,
        "a/../b",
        "C:\\b.jpg",
        "1e400",
        "x" * 5000,
    ),
)
ENCODINGS = ("utf-16", "utf-16-be", "utf-32", "latin-1", "cp500", "utf-8-sig", "utf-7")

Change = tuple[str, float, int]  # What is done, where in the file (0 to 1), and with which of some.


def flip(data: bytes, place: int, which: int) -> bytes:
    return data[:place] + bytes([data[place] ^ (which % 255 + 1)]) + data[place + 1 :]


def cut(data: bytes, place: int, which: int) -> bytes:
    return data[:place] if which % 2 else data[place:]


def leave_out(data: bytes, place: int, which: int) -> bytes:
    return data[:place] + data[place + which % 40 + 1 :]


def repeat(data: bytes, place: int, which: int) -> bytes:
    part = data[place : place + which % 200 + 1]
    return data[:place] + part * (which % 7 + 2) + data[place:]


def change_line(data: bytes, place: int, which: int) -> bytes:
    lines = data.split(b"\n")
    row = data[:place].count(b"\n")
    new = ([], [lines[row]] * 2, [lines[which % len(lines)]], [b""])[which % 4]
    return b"\n".join([*lines[:row], *new, *lines[row + 1 :]])


def change_number(data: bytes, place: int, which: int) -> bytes:
    found = re.compile(rb"-?\d+(?:\.\d+)?(?:e-?\d+)?").search(data, place)
    if found is None:
        return flip(data, place, which)
    number = NUMBERS[which % len(NUMBERS)].encode()
    return data[: found.start()] + number + data[found.end() :]


def insert(data: bytes, place: int, which: int) -> bytes:
    return data[:place] + PIECES[which % len(PIECES)] + data[place:]


def nest(data: bytes, place: int, which: int) -> bytes:
    return data[:place] + NESTS[which % len(NESTS)] * (200, 20_000)[which % 2] + data[place:]


def encode(data: bytes, _: int, which: int) -> bytes:
    text = data.decode("utf-8", errors="replace")
    return text.encode(ENCODINGS[which % len(ENCODINGS)], errors="replace")


def change_json(data: bytes, place: int, which: int) -> bytes:
    """A value of a JSON file, or of a line of one, becomes another one, or goes."""
    try:
        content, before, after = json.loads(data), b"", b""
    except (ValueError, RecursionError):
        start, end = data.rfind(b"\n", 0, place) + 1, data.find(b"\n", place) % (len(data) + 1)
        try:
            content, before, after = json.loads(data[start:end]), data[:start], data[end:]
        except (ValueError, RecursionError):
            return change_number(data, place, which)
    slots = list(list_slots(content))
    if slots:
        holder, key = slots[place * len(slots) // (len(data) + 1)]
        if which % 9:
            holder[key] = VALUES[which % len(VALUES)]
        else:
            del holder[key]
    return before + json.dumps(content).encode() + after


def list_slots(content: Any) -> Iterator[tuple[Any, Any]]:
    """Where the values of a JSON document lie: what holds them, and under which key."""
    if isinstance(content, dict | list):
        for key in list(content) if isinstance(content, dict) else range(len(content)):
            yield content, key
            yield from list_slots(content[key])


CHANGES: dict[str, Callable[[bytes, int, int], bytes]] = {
    function.__name__: function
    for function in (
        *(flip, cut, leave_out, repeat, change_line, change_number, insert, nest, encode),
        change_json,
    )
}

changes = st.lists(
    st.tuples(st.sampled_from(sorted(CHANGES)), st.floats(0, 1), st.integers(0, 2**16)),
    min_size=1,
    max_size=4,
)


def spoil(data: bytes, wanted: list[Change]) -> bytes:
    """A file's bytes with changes made one after the other."""
    for name, share, which in wanted:
        if data:
            data = CHANGES[name](data, min(int(share * len(data)), len(data) - 1), which)
    return data[: 2**22]
