"""What a dataset tells that is not read, so that nobody misses it later unawares."""

from __future__ import annotations

from collections.abc import Sequence

from data_prep.records import Finding

KIND = "not-read"
SHOWN = 20


def note_unread(name: str, things: Sequence[str]) -> list[Finding]:
    """A note, no fault, of what is not read; none when there is nothing.

    Args:
        name: The file or dataset.
        things: What is not read, such as a column's name or `3 truncated flags`.

    >>> note_unread("set/a.csv", ["licence"])[0].message
    'set/a.csv: not read, so not carried on: licence.'
    """
    shown = [thing[:40] for thing in things[:SHOWN]] + ["and others"] * (len(things) > SHOWN)
    message = f"{name}: not read, so not carried on: {', '.join(shown)}."
    return [Finding(name, KIND, message, dropped=False)] if things else []
