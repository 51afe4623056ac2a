"""Two records of `golden.py` compared: what a refactoring changed, told from mere rounding."""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
import sys
from pathlib import Path
from typing import Any, TextIO

ROUNDING = 1e-6
"""Numbers closer than this differ by rounding alone."""

SHOWN = 12
"""Lines about one file."""

NUMBER = (int, float)
ABSENT = "(none)"


def compare(a: Path, b: Path, *, show_equal: bool) -> bool:
    """Tell file by file what differs; whether nothing does."""
    sides = [
        {p.relative_to(d).as_posix(): p.read_bytes() for p in d.rglob("*") if p.is_file()}
        for d in (a, b)
    ]
    steps = [{name.partition("/")[0] for name in side if name[0] != "."} for side in sides]
    for step in sorted(steps[0] ^ steps[1]):
        write(f"ONLY IN {a if step in steps[0] else b}: the whole of {step}")
    both = steps[0] & steps[1]
    old, new = ({n: x for n, x in side.items() if n.partition("/")[0] in both} for side in sides)
    differing = [name for name in sorted(old | new) if old.get(name) != new.get(name)]
    for name in sorted(old | new):
        if name not in new or name not in old:
            write(f"{'MISSING' if name in old else 'ADDED'}  {name}")
        elif name in differing:
            lines, matters = describe(name, old[name], new[name])
            if len(lines) > SHOWN:
                lines = [*lines[:SHOWN], f"… and {len(lines) - SHOWN} lines more"]
            write(f"{'DIFFERS' if matters else 'rounding only'}  {name}")
            write(*(f"    {line}" for line in lines))
        elif show_equal:
            write(f"equal  {name}")
    write(f"{len(old | new) - len(differing)} files equal to the byte, {len(differing)} not")
    return not differing and steps[0] == steps[1]


def describe(name: str, old: bytes, new: bytes) -> tuple[list[str], bool]:
    """How two files differ, and whether by more than rounding."""
    if name.endswith(".safetensors"):
        from safetensors.numpy import load

        one, two = ({k: v.tolist() for k, v in load(data).items()} for data in (old, new))
        return tell_values(flatten(one), flatten(two))
    texts = old.decode(), new.decode()
    if name.endswith(".json"):
        return tell_values(*(flatten(json.loads(text)) for text in texts))
    if name.endswith(".hashes"):
        return tell_values(*(dict(x.split("  ", 1)[::-1] for x in t.splitlines()) for t in texts))
    if name.endswith(".csv"):
        tables = [list(csv.DictReader(io.StringIO(text))) for text in texts]
        cells = [
            {f"{row} {k}": parse(v) for row, x in enumerate(t) for k, v in x.items()}
            for t in tables
        ]
        lines, matters = tell_values(*cells)
        keys = [key for key in cells[0] | cells[1] if cells[0].get(key) != cells[1].get(key)]
        columns = sorted({key.split(" ", 1)[1] for key in keys})
        counts = f"{len(tables[0])} and {len(tables[1])} rows"
        return [f"{counts}; differing columns: {', '.join(columns)}", *lines], matters
    before, after = (text.splitlines() for text in texts)
    return list(difflib.unified_diff(before, after, lineterm="", n=0))[2:], True


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf of a JSON value by its path."""
    if not isinstance(value, dict | list) or not value:
        return {path: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return {k: v for key, part in pairs for k, v in flatten(part, f"{path}/{key}").items()}


def parse(cell: str | None) -> float | str | None:
    """A number where it is one; not-a-number stays text, since it is unlike itself."""
    try:
        return cell if math.isnan(value := float(cell or "")) else value
    except ValueError:
        return cell


def tell_values(old: dict[str, Any], new: dict[str, Any]) -> tuple[list[str], bool]:
    """Lines about values that differ, and whether it is by more than rounding."""
    pairs = {key: (old.get(key, ABSENT), new.get(key, ABSENT)) for key in old | new}
    pairs = {key: (one, two) for key, (one, two) in pairs.items() if one != two}
    if not pairs:
        return ["the same values, written otherwise: order, spacing, digits"], True
    both = [(x, y) for x, y in pairs.values() if isinstance(x, NUMBER) and isinstance(y, NUMBER)]
    largest = max((abs(x - y) for x, y in both), default=0.0)
    lines = [f"{len(pairs)} values differ, {len(both)} of them numbers, by at most {largest:.3g}"]
    lines += [f"{key}: {one!r} → {two!r}" for key, (one, two) in pairs.items()]
    return lines, len(both) < len(pairs) or largest >= ROUNDING


def write(*lines: str, to: TextIO | None = None) -> None:
    """Lines, at once: a log of a long record is looked into."""
    for line in lines:
        (to or sys.stdout).write(f"{line}\n")
        (to or sys.stdout).flush()
