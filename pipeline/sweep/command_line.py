"""The command `sweep` of `python -m pipeline`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.options import Device, Jobs, Log, Prepared, Recipe
from pipeline.reporting import report_as


def sweep_command(
    prepared: Prepared,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that gets runs and table.")],
    sets: Annotated[
        list[str],
        typer.Option(
            "--set",
            metavar="KEY=V1,V2",
            help="Values of one number, such as lr=1e-3,3e-3 or sizes=[96],[128]; repeat for more.",
        ),
    ],
    recipe: Recipe = "default",
    folds: Annotated[
        int | None,
        typer.Option(min=2, help="Judge by short trainings on folds of the training faces."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the combinations.")] = False,
    many: Annotated[bool, typer.Option("--yes-many", help="Train more than 100, too.")] = False,
    device: Device = "auto",
    jobs: Jobs = None,
    log: Log = "text",
) -> None:
    """Train every combination of some values, as a Markdown table; goes on where it was stopped."""
    with report_as(log) as report:
        from pipeline.sweep.grid import make_grid

        grid = make_grid(recipe, sets, many=many)
        if dry_run:
            names = [combination.name for combination in grid]
            values = [combination.values for combination in grid]
            report.finish(f"{len(grid)} combinations", "\n".join(names), combinations=values)
            return

        from pipeline.compute import pick_device
        from pipeline.sweep.report import PLOT, TABLE, describe_sweep, tabulate, write_report
        from pipeline.sweep.trainings import judge_on_folds, train_grid

        target = pick_device(device)
        if folds is None:
            outcomes = train_grid(prepared, grid, out, device=target, say=report.say, jobs=jobs)
        else:
            outcomes = judge_on_folds(
                prepared, grid, out, folds=folds, device=target, say=report.say, jobs=jobs
            )
        write_report(outcomes, out, folds)
        report.finish(
            "",
            describe_sweep(outcomes, folds),
            folder=out,
            table=out / TABLE,
            plot=out / PLOT,
            rows=tabulate(outcomes).to_dict("records"),
        )
