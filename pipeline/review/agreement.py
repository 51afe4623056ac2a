"""How far two reviewers agree on the faces both have decided."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.base.boxes import overlap
from data_prep.base.errors import UserError
from data_prep.base.labels import CLASSES
from data_prep.decisions.decision import Decision, Key
from data_prep.decisions.ledger import Ledger, settle
from data_prep.decisions.locate import SAME_FACE
from evaluate.measures.bootstrap import bootstrap_intervals

OUTCOMES: tuple[str, ...] = (*CLASSES, "drop")
"""What a reviewer can make of a face; a redrawn box counts by its class."""

RESAMPLES = 2000
DISPUTE_COLUMNS = ("source", "image", "object", "from", "a", "b", "a_box", "b_box", "about")


class AgreementError(UserError, ValueError):
    """No two reviewers to compare; the message says why."""


@dataclass(frozen=True)
class Pair:
    """Both reviewers' standing decisions on one face."""

    a: Decision
    b: Decision

    @property
    def dispute(self) -> str | None:
        """What they differ about: the `label`, the `box`, or None.

        The box when only one redrew it, or when both did and the new ones overlap too little.
        """
        if name_outcome(self.a) != name_outcome(self.b):
            return "label"
        a, b = self.a.to_box, self.b.to_box
        if a is None or b is None:
            return None if a is b else "box"
        return "box" if overlap(a, b) < SAME_FACE else None


@dataclass(frozen=True)
class Agreement:
    """What two reviewers made of the same faces.

    Attributes:
        reviewers: Their names, a and b.
        pairs: The faces both decided, by key.
        table: (4, 4) faces by outcome of a (rows) and b (columns), in the order of `OUTCOMES`.
        observed: Share of equal outcomes, with the ends of its 95 % interval.
        kappa: Cohen's kappa, with the same; NaN where it isn't defined.
    """

    reviewers: tuple[str, str]
    pairs: tuple[Pair, ...]
    table: np.ndarray
    observed: tuple[float, float, float]
    kappa: tuple[float, float, float]


def compare_reviewers(ledger: Ledger, names: Sequence[str], *, seed: int = 0) -> Agreement:
    """Compare two reviewers of a ledger.

    Args:
        ledger: The decisions.
        names: The two; may be empty when the ledger has just two.
        seed: Of the intervals.

    Raises:
        AgreementError: There are not two, or no face was decided by both.
    """
    a, b = _choose_names(ledger, names)
    of_a, of_b = settle(ledger.decisions, a), settle(ledger.decisions, b)
    pairs = tuple(Pair(of_a[key], of_b[key]) for key in sorted(of_a.keys() & of_b.keys()))
    if not pairs:
        raise AgreementError(f"no face was decided by both {a} and {b}; review the same faces.")
    tables = _count_by_photo(pairs)
    numbers = _measure(tables.sum(axis=0)[None])
    ends = bootstrap_intervals(
        lambda weights: _measure(np.tensordot(weights, tables, axes=1)),
        photos=len(tables),
        resamples=RESAMPLES,
        seed=seed,
        rows=tables[0].size,
    )
    intervals = {
        name: (float(value[0]), float(ends[name][0]), float(ends[name][1]))
        for name, value in numbers.items()
    }
    return Agreement(
        (a, b), pairs, tables.sum(axis=0).astype(int), intervals["observed"], intervals["kappa"]
    )


def name_outcome(decision: Decision) -> str:
    """What a standing decision makes of its face, one of `OUTCOMES`."""
    if decision.action == "drop":
        return "drop"
    return decision.to or decision.given


def write_disputes(agreement: Agreement) -> str:
    """The faces they differ about as CSV: each one's outcome, and new box when there is one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(DISPUTE_COLUMNS)
    for pair in agreement.pairs:
        if pair.dispute is not None:
            key: Key = pair.a.key
            outcomes = (name_outcome(pair.a), name_outcome(pair.b))
            boxes = (_tell_box(pair.a), _tell_box(pair.b))
            writer.writerow((*key, pair.a.given, *outcomes, *boxes, pair.dispute))
    return text.getvalue()


def describe_agreement(agreement: Agreement) -> str:
    """The numbers and the table, as Markdown."""
    a, b = agreement.reviewers
    about = [pair.dispute for pair in agreement.pairs]
    lines = [
        f"{a} and {b} both decided {len(agreement.pairs)} faces.",
        f"Same outcome: {_tell(agreement.observed, '.1%')}",
        f"Cohen's kappa: {_tell(agreement.kappa, '.3f')}",
        f"Disputes: {about.count('label')} about the label, {about.count('box')} about the box.",
        "",
        f"| {a} ↓ {b} → | " + " | ".join(OUTCOMES) + " |",
        "|---|" + "---:|" * len(OUTCOMES),
        *(
            f"| {name} | " + " | ".join(str(int(number)) for number in row) + " |"
            for name, row in zip(OUTCOMES, agreement.table, strict=True)
        ),
    ]
    return "\n".join(lines)


def _choose_names(ledger: Ledger, names: Sequence[str]) -> tuple[str, str]:
    known = sorted({decision.by for decision in ledger.decisions})
    chosen = list(names) or known
    strangers = [name for name in chosen if name not in known]
    if strangers or len(chosen) != 2 or chosen[0] == chosen[1]:
        raise AgreementError(
            f"two reviewers are needed; the ledger has {', '.join(known) or 'none'}: "
            "name two with --by A --by B."
        )
    return chosen[0], chosen[1]


def _count_by_photo(pairs: Sequence[Pair]) -> np.ndarray:
    """(P, 4, 4) faces by photo and both outcomes."""
    photos = {place: row for row, place in enumerate(sorted({p.a.key[:2] for p in pairs}))}
    tables = np.zeros((len(photos), len(OUTCOMES), len(OUTCOMES)))
    for pair in pairs:
        a, b = (OUTCOMES.index(name_outcome(decision)) for decision in (pair.a, pair.b))
        tables[photos[pair.a.key[:2]], a, b] += 1
    return tables


def _measure(tables: np.ndarray) -> dict[str, np.ndarray]:
    """Observed agreement and kappa of (B, K, K) tables, (B,) each.

    kappa = (p_o - p_e) / (1 - p_e), with p_e the agreement expected from the margins (Cohen, "A
    Coefficient of Agreement for Nominal Scales", Educational and Psychological Measurement 20
    (1960), 37-46); NaN when both gave all faces the same single outcome.
    """
    shares = tables / tables.sum(axis=(1, 2), keepdims=True)
    observed = np.trace(shares, axis1=1, axis2=2)
    expected = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    room = 1 - expected
    kappa = np.full(len(tables), np.nan)
    np.divide(observed - expected, room, out=kappa, where=room > 1e-12)
    return {"observed": observed, "kappa": kappa}


def _tell(ends: tuple[float, float, float], form: str) -> str:
    if np.isnan(ends[0]):
        return "not defined, both gave every face the same single outcome"
    return (
        f"{ends[0]:{form}} (95 % interval {ends[1]:{form}} to {ends[2]:{form}}, photos resampled)"
    )


def _tell_box(decision: Decision) -> str:
    return "" if decision.to_box is None else " ".join(f"{value:g}" for value in decision.to_box)
