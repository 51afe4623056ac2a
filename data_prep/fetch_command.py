"""The command `fetch` of `python -m data_prep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data_prep.console import explain_errors


def fetch_command(
    dataset: Annotated[str, typer.Argument(help="kaggle:OWNER/NAME, or …/versions/N after it.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder that gets the files.", show_default="the dataset's name"
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell version, licence and size.")
    ] = False,
) -> None:
    """Fetch a dataset from Kaggle, licence and size told first; goes on where it was stopped.

    Needs the package kagglehub. Exit code 0: done. 2: not done.
    """
    with explain_errors():
        from data_prep.fetch import DatasetName, fetch
        from data_prep.kaggle import Kaggle

        name = DatasetName.parse(dataset)
        fetch(name, out or Path(name.name), Kaggle(), say=typer.echo, dry_run=dry_run)
