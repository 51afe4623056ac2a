"""Decisions on the faces of datasets that tests make."""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from data_prep.base.files import sha256_of
from data_prep.base.records import Box
from data_prep.base.tables import read_faces
from data_prep.decisions.ledger import Decision, Ledger, append_decision, read_ledger
from data_prep.decisions.overlay import Overlay, apply_ledgers

START = datetime(2026, 1, 1)
SECONDS = itertools.count()


def next_time() -> str:
    """A time after all those given before."""
    return (START + timedelta(seconds=next(SECONDS))).isoformat() + "Z"


def decide(
    root: Path,
    image: str,
    index: int,
    given: str,
    box: Sequence[float],
    action: str,
    to: str | None = None,
    to_box: Sequence[float] | None = None,
    **others,
) -> Decision:
    """A decision on a face of the photo as it is on the disk."""
    told = {
        "at": next_time(),
        "by": "ann",
        "source": root.name,
        "image": image,
        "object": index,
        "photo_sha256": sha256_of(root / image),
        "box": Box(*map(float, box)),
        "given": given,
        "action": action,
        "to": to,
        "to_box": None if to_box is None else Box(*map(float, to_box)),
    }
    return Decision(**{**told, **others})


def decide_on_table(prepared: Path, root: Path, row: int, action: str, *more) -> Decision:
    """A decision as the review makes it: on a row of `faces.csv`."""
    face = read_faces(prepared).iloc[row]
    box = face[["xmin", "ymin", "xmax", "ymax"]]
    return decide(root, face.image, int(face.object), face.label, box, action, *more)


def write_ledger(path: Path, *decisions: Decision) -> Path:
    for decision in decisions:
        append_decision(path, decision)
    return path


def lay_over(datasets, *ledgers: Sequence[Decision] | Path) -> Overlay:
    """Apply ledgers, each a file or a list of decisions, to datasets."""
    files = []
    for ledger in ledgers:
        if isinstance(ledger, Path):
            files.append(read_ledger(ledger))
        else:
            files.append(as_file(ledger))
    return apply_ledgers(datasets, files)


def as_file(decisions: Sequence[Decision]) -> Ledger:
    return Ledger(tuple(decisions), (), Path("decisions.jsonl"), "0" * 64)
