"""The command lines `trimask …` and `python -m pipeline …`.

A command is imported when it is called, so that `--help` does not wait for torch; one whose options
are in another file, once they are known to be good.
"""

from typing import Annotated, Any

import typer

from data_prep.base.command import lazy_app

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("pipeline.inference.command:run", "use"),
    "export": ("pipeline.inference.export:export", "use"),
    "serve": ("pipeline.serve.command:serve", "use"),
    "build": ("data_prep.cli:build_command", "data"),
    "audit": ("data_prep.cli:audit_command", "data"),
    "convert": ("data_prep.cli:convert_command", "data"),
    "merge": ("data_prep.cli:merge_command", "data"),
    "fetch": ("data_prep.cli:fetch_command", "data"),
    "train": ("pipeline.training.commands:train", "train"),
    "train-detector": ("pipeline.training.commands:train_boxes", "train"),
    "runs": ("pipeline.runs.listing:list_or_compare", "train"),
    "suspects": ("pipeline.cleaning.search:suspects", "clean"),
    "review": ("pipeline.review.command:review", "clean"),
    "agreement": ("pipeline.review.agreement:report_agreement", "clean"),
    "evaluate": ("evaluate.cli:evaluate", "measure"),
    "classify": ("pipeline.experiments.measure:classify", "measure"),
    "measure": ("pipeline.experiments.measure:measure", "measure"),
    "fit-boxes": ("pipeline.experiments.measure:fit_boxes", "measure"),
    "sweep": ("pipeline.experiments.sweep:sweep", "research"),
    "clean-effect": ("pipeline.experiments.clean_effect:clean_effect", "research"),
}
"""Of `trimask`: where each command is, and its group."""


def check_options(options: Any) -> None:
    """Refuse what can be told to be wrong before torch is loaded, wherever a command has it."""
    from data_prep.base.cluster import read_jobs
    from pipeline.experiments.plans import make_grid
    from pipeline.nets.options import find_weights
    from pipeline.runs.folder import RunError, identify_data, resume_run
    from pipeline.runs.log import report_as
    from pipeline.runs.options import TrainDetectorOptions
    from pipeline.runs.recipe import ClassifierRecipe, DetectorRecipe, load_recipe

    with report_as(getattr(options, "log", "text")):
        for name in ("prepared", "cleaned"):
            if folder := getattr(options, name, None):
                identify_data(folder)
        if run := getattr(options, "resume", None):
            resume_run(run, identify_data(options.prepared)[0])
        if isinstance(options, TrainDetectorOptions) and not options.start.is_file():
            raise RunError(f"--start {options.start}: no such file.")
        if hasattr(options, "overrides"):
            kind = DetectorRecipe if isinstance(options, TrainDetectorOptions) else ClassifierRecipe
            load_recipe(options.recipe, kind, options.overrides)
        read_jobs(getattr(options, "jobs", None))
        if hasattr(options, "sets"):
            make_grid(options.recipe, options.sets)
        if hasattr(options, "weights"):
            find_weights(options.weights)


app = lazy_app(
    {n: c for n, c in COMMANDS.items() if c[0].startswith("pipeline") and n != "run"},
    "Train and measure both nets, clean labels, serve and export: all but `trimask run`.",
    check_options,
    add_completion=False,
)

trimask = lazy_app(
    COMMANDS,
    "For every face in a photo: mask worn properly, worn wrongly, or not worn.",
    check_options,
)
"""The command `trimask`: all commands of all packages, in groups."""


def show_version(context: typer.Context, wanted: bool) -> None:
    """Show the version, which the caller of `trimask` hands over, and end."""
    if wanted:
        typer.echo(f"trimask {context.obj}")
        raise typer.Exit


@trimask.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """For every face in a photo: mask worn properly, worn wrongly, or not worn."""
