"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data_prep.formats.csv_columns import FIELDS
from data_prep.formats.reader import Format
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
FormatOption = Annotated[
    Format | None,
    typer.Option("--format", help="Of what is read; recognised by what is there if not given."),
]
Names = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="Class names for the ids of YOLO labels: data.yaml, or a text file with a name per "
        "line. Looked for in the dataset if not given.",
    ),
]
Columns = Annotated[
    str,
    typer.Option(
        metavar="FIELD=COLUMN,...",
        help="Columns of CSV tables, such as image=file,label=class,xmin=left; usual names are "
        f"known. Fields: {', '.join(FIELDS)}.",
    ),
]
CropsScale = Annotated[
    float,
    typer.Option(
        "--crop-scale",
        help="Of folders of ready crops: their side as a multiple of the face's longer side.",
    ),
]
