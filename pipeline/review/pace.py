"""How fast a review goes, and whether going on still finds anything."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from evaluate.measures.classifier import wilson_interval

PACE_WINDOW = 40
"""Decisions the pace is measured on."""

SHORTEST, LONGEST = 0.1, 120.0
"""Seconds between decisions of a person at work; less is an import, more a break."""

YIELD_WINDOW = 100
"""Latest decisions that tell whether going on pays."""

LEAST_TOLD = 20
"""Decisions before the share that changed anything is told."""

STOP = "Going on will find little: this is a good place to stop."
"""What is said when it no longer pays."""

LOW_YIELD = 0.05
"""Going on is said not to pay when the upper end of the interval is below this share. It takes 73
decisions in a row that change nothing to get there."""


@dataclass(frozen=True)
class Yield:
    """How many of the latest decisions changed something.

    Attributes:
        changed, of: That many of so many.
        low, high: Ends of the 95 % interval of the share (Wilson).
    """

    changed: int
    of: int
    low: float
    high: float

    @property
    def is_low(self) -> bool:
        """Whether going on no longer pays."""
        return self.high < LOW_YIELD


def measure_pace(times: Sequence[str]) -> float | None:
    """Decisions a minute, breaks left out.

    Args:
        times: ISO 8601, in order.

    Returns:
        60 over the mean of the seconds between two decisions; None with fewer than 3 such gaps.

    >>> measure_pace([f"2026-11-20T10:00:{second:02}.000Z" for second in (0, 2, 6, 9)])
    20.0
    """
    moments = [datetime.fromisoformat(time).timestamp() for time in times]
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    at_work = [gap for gap in gaps if SHORTEST <= gap <= LONGEST]
    return 60 / statistics.fmean(at_work) if len(at_work) >= 3 else None


def measure_yield(changes: Sequence[bool]) -> Yield:
    """Count what the latest decisions changed.

    Args:
        changes: Whether each of the latest decisions changed something; at least one.
    """
    changed, of = sum(changes), len(changes)
    ends = wilson_interval(np.array([float(changed)]), np.array([float(of)]))
    low, high = (float(np.clip(end, 0, 1)) for end in ends[:, 0])
    return Yield(changed, of, low, high)


def describe_yield(
    recent: Yield, expected: Mapping[str, tuple[float, float, float]], *, changed: int, left: int
) -> str:
    """Say in plain words what the review found so far and what going on is likely to find.

    Args:
        recent: Of the latest decisions.
        expected: By class, estimate of the wrong labels with its ends; may be empty.
        changed: Faces changed so far.
        left: Faces not decided yet, of all.
    """
    lines = [
        f"{recent.changed or 'None'} of your last {recent.of} decisions changed anything "
        f"(95 % interval {recent.low:.1%} to {recent.high:.1%})."
    ]
    if expected:
        total, low, high = (sum(ends) for ends in zip(*expected.values(), strict=True))
        lines.append(
            f"About {total:.0f} labels ({low:.0f} to {high:.0f}) were expected to be wrong; you "
            f"have changed {changed} {'face' if changed == 1 else 'faces'}."
        )
        missing = total - changed
        if missing >= 1 and left:
            lines.append(
                f"What is missing would be one in {max(1, round(left / missing))} of the "
                f"{left} faces left."
            )
    return " ".join(lines)
