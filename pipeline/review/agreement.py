"""The command `agreement`: how far two reviewers agree on the faces both have decided."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from data_prep.base.boxes import overlap
from data_prep.base.command import spell
from data_prep.base.errors import UserError
from data_prep.base.files import refuse_other_table, write_atomically
from data_prep.base.labels import CLASSES
from data_prep.base.progress import log, tell
from data_prep.base.tables import KEY, markdown_table
from data_prep.decisions.ledger import Decision, Ledger, read_ledger, settle
from data_prep.decisions.overlay import SAME_FACE
from evaluate.measures.bootstrap import find_ends, resample, share, tally, weigh
from pipeline.review.suspects import ABOUT, FACES, LEDGER

OUTCOMES: tuple[str, ...] = (*CLASSES, "drop")
"""What a reviewer can make of a face; a redrawn box counts by its class."""

_COLUMNS = (*KEY, "from", "a", "b", "a_box", "b_box", "about")


@dataclass(frozen=True)
class AgreementOptions:
    """Options of `agreement`."""

    ledger: Annotated[Path, typer.Argument(help="A ledger, decisions.jsonl, or its folder.")]
    by: list[str] = field(default_factory=list)
    """One of the two reviewers; give it twice."""
    out: Annotated[Path | None, typer.Option("--out", "-o")] = None
    """Write the disputed faces as CSV."""


def report_agreement(options: AgreementOptions) -> None:
    """Tell how far two reviewers agree: Cohen's kappa with its interval, and their disputes."""
    path, out = options.ledger, options.out
    path = path / LEDGER if path.is_dir() else path
    if out is not None:
        refuse_other_table(out, _COLUMNS, "disputes")
    ledger = read_ledger(path)
    for warning in ledger.warnings:
        log(f"warning: {warning}")
    agreement = compare_reviewers(ledger, options.by)
    typer.echo(describe_agreement(agreement))
    disputes = agreement.disputes.to_csv(index=False, lineterminator="\n")
    if out is None:
        typer.echo("\n" + disputes, nl=False)
    else:
        write_atomically(out, disputes)
        is_known = any((path.parent / name).is_file() for name in (ABOUT, FACES))
        how = [path.parent if is_known else "SUSPECTS", "--disputed", "--ledger", path]
        again = spell("review", *how, "--by", agreement.reviewers[0])
        log(f"disputes: {out}; to settle them: {again}")


@dataclass(frozen=True)
class Agreement:
    """What two reviewers, a and b, made of the same faces."""

    reviewers: tuple[str, ...]
    table: np.ndarray  # Faces by outcome of a (rows) and b (columns), in the order of `OUTCOMES`.
    observed: np.ndarray  # Share of equal outcomes, ends of its 95 % interval.
    kappa: np.ndarray  # Cohen's, with the same; NaN where it isn't defined.
    disputes: pd.DataFrame  # A row per face they differ about.


def compare_reviewers(ledger: Ledger, names: Sequence[str]) -> Agreement:
    """Compare two reviewers, all there are or by names; `UserError`: not two, or no common face."""
    known = sorted({decision.by for decision in ledger.decisions})
    chosen = tuple(names or known)
    if len(set(chosen)) != 2 or len(chosen) != 2 or not set(chosen) <= set(known):
        hint = f"the ledger has {', '.join(known) or 'none'}: name two with --by A --by B."
        raise UserError(f"two reviewers are needed; {hint}")
    first, second = (settle(ledger.decisions, name) for name in chosen)
    rows = [_compare(first[key], second[key]) for key in sorted(first.keys() & second.keys())]
    if not rows:
        a, b = chosen
        raise UserError(f"no face was decided by both {a} and {b}; review the same faces.")
    faces = pd.DataFrame(rows, columns=list(_COLUMNS))
    photo = np.asarray(faces.groupby(["source", "image"]).ngroup(), np.int64)
    outcomes = (pd.Categorical(faces[side], OUTCOMES).codes for side in ("a", "b"))
    photos = int(photo.max()) + 1
    tables = tally(photo, *outcomes, photos=photos, shape=[len(OUTCOMES)] * 2)

    def agree(weights: np.ndarray) -> dict[str, np.ndarray]:
        """Observed agreement and kappa, (B,) each, for weightings of the photos (B, P).

        kappa = (p_o - p_e) / (1 - p_e) (Cohen 1960); NaN when both gave all one and the same.
        """
        shares = weigh(weights, tables)
        shares /= shares.sum(axis=(1, 2), keepdims=True)
        observed = np.trace(shares, axis1=1, axis2=2)
        expected = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
        return {"observed": observed, "kappa": share(observed - expected, 1 - expected)}

    drawn = resample(agree, photos=photos, resamples=2000)
    observed, kappa = (np.append(drawn[name][0], ends) for name, ends in find_ends(drawn).items())
    disputes = faces[faces["about"] != ""]
    return Agreement(chosen, tables.sum(axis=0).astype(int), observed, kappa, disputes)


def describe_agreement(agreement: Agreement) -> str:
    """The numbers and the table, as Markdown."""
    a, b = agreement.reviewers
    about = agreement.disputes["about"]
    rows = [[name, *row] for name, row in zip(OUTCOMES, agreement.table, strict=True)]
    return (
        f"{a} and {b} both decided {tell(int(agreement.table.sum()), 'face')}.\n"
        f"Same outcome: {_describe(agreement.observed, '.1%')}\n"
        f"Cohen's kappa: {_describe(agreement.kappa, '.3f')}\n"
        f"Disputes: {(about == 'label').sum()} about the label, "
        f"{(about == 'box').sum()} about the box.\n\n"
        + markdown_table([f"{a} ↓ {b} →", *OUTCOMES], rows)
    )


def _compare(a: Decision, b: Decision) -> tuple[object, ...]:
    """Row of two decisions; about the box they differ if one redrew it, or both unlike."""
    outcomes = ["drop" if d.action == "drop" else d.to or d.given for d in (a, b)]
    same_box = a.to_box is b.to_box
    if a.to_box and b.to_box:
        same_box = overlap(a.to_box, b.to_box) >= SAME_FACE
    about = "label" if outcomes[0] != outcomes[1] else "" if same_box else "box"
    boxes = (" ".join(f"{value:g}" for value in d.to_box or ()) for d in (a, b))
    return (*a.key, a.given, *outcomes, *boxes, about)


def _describe(ends: np.ndarray, form: str) -> str:
    if np.isnan(ends[0]):
        return "not defined, both gave every face the same single outcome"
    value, low, high = (f"{end:{form}}" for end in ends)
    return f"{value} (95 % interval {low} to {high}, photos resampled)"
