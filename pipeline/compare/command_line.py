"""The command `compare` of `python -m pipeline`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data_prep.options import Decisions
from pipeline.options import Device, Log, Prepared
from pipeline.reporting import report_as


def compare_command(
    prepared: Prepared,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder that gets runs, table and plot.")
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this system; may be repeated."),
    ] = None,
    decisions: Decisions = None,
    device: Device = "auto",
    log: Log = "text",
) -> None:
    """Train the systems of the field and ours, measure all on the same validation photos.

    Prints Markdown tables and draws accuracy against speed; goes on where it was stopped.
    """
    with report_as(log) as report:
        from pipeline.compare.systems import choose_systems

        systems = choose_systems(only or ())

        from pipeline.compare.comparison import compare_systems
        from pipeline.compare.report import PLOT, TABLE, tabulate, write_report
        from pipeline.compute import pick_device

        compared = compare_systems(
            systems,
            prepared,
            out,
            decisions=decisions or (),
            device=pick_device(device),
            say=report.say,
        )
        text = write_report(compared, out)
        report.finish(
            "",
            text,
            folder=out,
            table=out / TABLE,
            plot=out / PLOT,
            systems=tabulate(compared),
        )
