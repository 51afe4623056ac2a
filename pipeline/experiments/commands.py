"""The command `choices` of `python -m pipeline`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data_prep.prepare.options import Decisions
from pipeline.nets.options import Device
from pipeline.runs.log import report_as
from pipeline.runs.options import Folds, Jobs, LogAs, Overrides, Prepared, Recipe


def choices_command(
    prepared: Prepared,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that gets the results.")],
    only: Annotated[
        str, typer.Option(help="Choices by name, separated by commas; base: none.")
    ] = "",
    cleaned: Annotated[
        Path | None, typer.Option(help="The same, built with --decisions, to learn from.")
    ] = None,
    folds: Folds = 3,
    recipe: Recipe = "suspects",
    overrides: Overrides = None,
    device: Device = "auto",
    jobs: Jobs = None,
    log: LogAs = "text",
) -> None:
    """What each choice of a recipe is worth, as a Markdown table; goes on where it was stopped."""
    with report_as(log) as report:
        from pipeline.experiments.choices import (
            choose_lines,
            describe_trials,
            measure_trials,
            try_choices,
            write_report,
        )
        from pipeline.nets.compute import pick_device
        from pipeline.runs.recipe import ClassifierRecipe, load_recipe
        from pipeline.training.short import open_faces

        numbers = load_recipe(recipe, ClassifierRecipe, overrides)
        faces = open_faces(prepared, numbers)
        sources = sorted(set(faces.table["source"]))
        lines = choose_lines(only, sources, has_cleaned=cleaned is not None)
        trials = try_choices(
            faces,
            None if cleaned is None else open_faces(cleaned, numbers),
            lines,
            out,
            numbers,
            folds=folds,
            device=pick_device(device),
            log=report.log,
            jobs=jobs,
        )
        rows = measure_trials(trials, faces.table)
        write_report(rows, trials, faces.table, out)
        report.finish("", describe_trials(rows), folder=out, lines=rows)


def suspects_command(
    prepared: Prepared,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that gets the suspects.")],
    order: Annotated[
        str, typer.Option(help="merged, out-of-fold (plain loss), or in-sample (top losses).")
    ] = "merged",
    folds: Folds = 5,
    recipe: Recipe = "suspects",
    overrides: Overrides = None,
    seed: Annotated[int, typer.Option(help="Of folds and trainings.")] = 0,
    device: Device = "auto",
    jobs: Jobs = None,
    log: LogAs = "text",
) -> None:
    """Find labels that may be wrong, the most suspect first; goes on where it was stopped."""
    with report_as(log) as report:
        from pipeline.cleaning.ranking import choose_order
        from pipeline.cleaning.search import SHEET, TABLE, Search, find_suspects
        from pipeline.nets.compute import pick_device
        from pipeline.runs.recipe import ClassifierRecipe, load_recipe

        numbers = load_recipe(recipe, ClassifierRecipe, [*(overrides or []), f"seed={seed}"])
        search = Search(choose_order(order), folds, numbers)
        target = pick_device(device)
        table = find_suspects(prepared, out, search, device=target, log=report.log, jobs=jobs)
        report.finish(
            f"{len(table)} faces, the most suspect first: {out}; look at {out / SHEET}",
            folder=out,
            table=out / TABLE,
            sheet=out / SHEET,
            faces=len(table),
        )


def noise_benchmark_command(
    prepared: Prepared,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that gets the results.")],
    seeds: Annotated[int, typer.Option(min=1, help="How often each kind is tried.")] = 3,
    kinds: Annotated[str, typer.Option(help="Of noise, separated by commas.")] = "uniform,likely",
    rate: Annotated[float, typer.Option(min=0.001, max=0.5, help="Share that is flipped.")] = 0.1,
    folds: Folds = 5,
    recipe: Recipe = "suspects",
    overrides: Overrides = None,
    device: Device = "auto",
    jobs: Jobs = None,
    log: LogAs = "text",
) -> None:
    """Flip training labels on purpose and see which order finds them, as a Markdown table."""
    with report_as(log) as report:
        from pipeline.experiments.noise_benchmark import NoisePlan, parse_kinds, run_noise_benchmark
        from pipeline.experiments.noise_report import describe_runs, measure_runs, write_report
        from pipeline.nets.compute import pick_device
        from pipeline.runs.recipe import ClassifierRecipe, load_recipe

        numbers = load_recipe(recipe, ClassifierRecipe, overrides)
        plan = NoisePlan(parse_kinds(kinds), seeds, rate, folds, numbers)
        target = pick_device(device)
        table, runs = run_noise_benchmark(
            prepared, out, plan, device=target, log=report.log, jobs=jobs
        )
        report.log("measuring")
        measured = measure_runs(table, runs)
        write_report(measured, runs, out)
        report.finish(
            "",
            describe_runs(measured, runs),
            folder=out,
            figures=measured[measured["seed"] == "mean"].to_dict("records"),
        )


def clean_effect_command(
    prepared: Prepared,
    cleaned: Annotated[Path, typer.Argument(help="The same, built with --decisions.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that gets the results.")] = Path(
        "clean-effect"
    ),
    seeds: Annotated[int, typer.Option(min=1, help="Trainings on each side.")] = 3,
    recipe: Recipe = "suspects",
    overrides: Overrides = None,
    device: Device = "auto",
    jobs: Jobs = None,
    log: LogAs = "text",
) -> None:
    """Train on the labels before and after cleaning, measure on untouched validation labels."""
    with report_as(log) as report:
        from pipeline.experiments.clean_effect import describe_effect, measure_clean_effect
        from pipeline.nets.compute import pick_device
        from pipeline.runs.recipe import ClassifierRecipe, load_recipe

        numbers = load_recipe(recipe, ClassifierRecipe, overrides)
        target = pick_device(device)
        result = measure_clean_effect(
            prepared, cleaned, out, numbers, seeds=seeds, device=target, log=report.log, jobs=jobs
        )
        report.finish("", describe_effect(result), folder=out, **result)


def compare_command(
    prepared: Prepared,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder that gets runs, table and plot.")
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this system; may be repeated."),
    ] = None,
    decisions: Decisions = [],  # noqa: B006
    device: Device = "auto",
    log: LogAs = "text",
) -> None:
    """Train the systems of the field and ours, measure all on the same validation photos.

    Prints Markdown tables and draws accuracy against speed; goes on where it was stopped.
    """
    with report_as(log) as report:
        from pipeline.experiments.systems import choose_systems

        systems = choose_systems(only or ())

        from pipeline.experiments.compare import compare_systems
        from pipeline.experiments.compare_report import PLOT, TABLE, tabulate, write_report
        from pipeline.nets.compute import pick_device

        compared = compare_systems(
            systems,
            prepared,
            out,
            decisions=decisions,
            device=pick_device(device),
            log=report.log,
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


def cross_validate_command(
    prepared: Prepared,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder that gets folds, tables and reports.")
    ],
    start: Annotated[
        Path,
        typer.Option(help="RetinaFace weights to start from, that have not seen these photos."),
    ],
    recipe: Recipe = "default",
    overrides: Overrides = None,
    detector_recipe: Annotated[
        str, typer.Option(help="A detector recipe's name or TOML file.")
    ] = "detector",
    detector_overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set-detector",
            metavar="KEY=VALUE",
            help="Change one number of the detector's recipe; may be repeated.",
        ),
    ] = None,
    device: Device = "auto",
    jobs: Jobs = None,
    log: LogAs = "text",
) -> None:
    """Train both nets fold by fold and measure them on all photos, each judged unseen.

    Prints a Markdown table; goes on where it was stopped.
    """
    with report_as(log) as report:
        from pipeline.experiments.cross_validate import Recipes, cross_validate
        from pipeline.experiments.measure import describe_results
        from pipeline.nets.compute import pick_device
        from pipeline.runs.recipe import ClassifierRecipe, DetectorRecipe, load_recipe

        recipes = Recipes(
            start=start,
            detector=load_recipe(detector_recipe, DetectorRecipe, detector_overrides),
            classifier=load_recipe(recipe, ClassifierRecipe, overrides),
        )
        results = cross_validate(
            prepared, out, recipes, device=pick_device(device), log=report.log, jobs=jobs
        )
        report.finish("", describe_results(results), folder=out, results=results)


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
    log: LogAs = "text",
) -> None:
    """Train every combination of some values, as a Markdown table; goes on where it was stopped."""
    with report_as(log) as report:
        from pipeline.experiments.sweep import make_grid

        grid = make_grid(recipe, sets, many=many)
        if dry_run:
            names = [combination.name for combination in grid]
            values = [combination.values for combination in grid]
            report.finish(f"{len(grid)} combinations", "\n".join(names), combinations=values)
            return

        from pipeline.experiments.sweep import (
            PLOT,
            TABLE,
            describe_sweep,
            judge_on_folds,
            tabulate,
            train_grid,
            write_report,
        )
        from pipeline.nets.compute import pick_device

        target = pick_device(device)
        if folds is None:
            outcomes = train_grid(prepared, grid, out, device=target, log=report.log, jobs=jobs)
        else:
            outcomes = judge_on_folds(
                prepared, grid, out, folds=folds, device=target, log=report.log, jobs=jobs
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
