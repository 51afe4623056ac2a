"""Commands of the cleaning loop that train: suspects, noise-benchmark, clean-effect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.options import Device, Folds, Jobs, Log, Overrides, Prepared, Recipe
from pipeline.reporting import report_as


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
    log: Log = "text",
) -> None:
    """Find labels that may be wrong, the most suspect first; goes on where it was stopped."""
    with report_as(log) as report:
        from pipeline.cleaning.ranking import choose_order
        from pipeline.cleaning.search import SHEET, TABLE, Search, find_suspects
        from pipeline.compute import pick_device
        from pipeline.recipe import ClassifierRecipe, load_recipe

        numbers = load_recipe(recipe, ClassifierRecipe, [*(overrides or []), f"seed={seed}"])
        search = Search(choose_order(order), folds, numbers)
        target = pick_device(device)
        table = find_suspects(prepared, out, search, device=target, say=report.say, jobs=jobs)
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
    log: Log = "text",
) -> None:
    """Flip training labels on purpose and see which order finds them, as a Markdown table."""
    with report_as(log) as report:
        from pipeline.cleaning.noise import parse_kinds
        from pipeline.cleaning.noise_benchmark import NoisePlan, run_noise_benchmark
        from pipeline.cleaning.noise_report import describe_runs, measure_runs, write_report
        from pipeline.compute import pick_device
        from pipeline.recipe import ClassifierRecipe, load_recipe

        numbers = load_recipe(recipe, ClassifierRecipe, overrides)
        plan = NoisePlan(parse_kinds(kinds), seeds, rate, folds, numbers)
        target = pick_device(device)
        table, runs = run_noise_benchmark(
            prepared, out, plan, device=target, say=report.say, jobs=jobs
        )
        report.say("measuring")
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
    log: Log = "text",
) -> None:
    """Train on the labels before and after cleaning, measure on untouched validation labels."""
    with report_as(log) as report:
        from pipeline.cleaning.clean_effect import describe_effect, measure_clean_effect
        from pipeline.compute import pick_device
        from pipeline.recipe import ClassifierRecipe, load_recipe

        numbers = load_recipe(recipe, ClassifierRecipe, overrides)
        target = pick_device(device)
        result = measure_clean_effect(
            prepared, cleaned, out, numbers, seeds=seeds, device=target, say=report.say, jobs=jobs
        )
        report.finish("", describe_effect(result), folder=out, **result)
