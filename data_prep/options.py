"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data_prep.labels import CLASSES

Alias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=CLASS",
        help=f"Another name of a class; CLASS is one of {', '.join(CLASSES)}. May be repeated.",
    ),
]
Decisions = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="LEDGER",
        help="Reviewers' decisions to apply (decisions.jsonl); the datasets stay as they are. "
        "May be repeated.",
    ),
]
