"""The command lines `trimask …` and `python -m pipeline …`.

A command is imported when it is called, so that `--help` does not wait for torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from data_prep.base.command import lazy_app
from data_prep.base.progress import log, tell, tell_loading
from pipeline.nets.options import SHIPPED, Device, Prepared, Weights

USE, DATA, TRAIN, CLEAN, MEASURE, RESEARCH = "use", "data", "train", "clean", "measure", "research"

COMMANDS: dict[str, tuple[str, str]] = {
    "demo-photos": ("pipeline.drawing.demo:demo_photos", USE),
    "export": ("pipeline.inference.export:export", USE),
    "serve": ("pipeline.serve.command:serve", USE),
    "train": ("pipeline.training.commands:train", TRAIN),
    "train-detector": ("pipeline.training.commands:train_detector", TRAIN),
    "runs": ("pipeline.runs.listing:list_or_compare", TRAIN),
    "suspects": ("pipeline.cleaning.search:suspects", CLEAN),
    "review": ("pipeline.review.command:review", CLEAN),
    "agreement": ("pipeline.review.agreement:report_agreement", CLEAN),
    "classify": ("pipeline.cli:classify_command", MEASURE),
    "measure": ("pipeline.experiments.measure:measure", MEASURE),
    "fit-boxes": ("pipeline.experiments.fit_boxes:fit_boxes", MEASURE),
    "cross-validate": ("pipeline.experiments.cross_validate:validate_folds", MEASURE),
    "choices": ("pipeline.experiments.choices:choices", RESEARCH),
    "sweep": ("pipeline.experiments.sweep:sweep", RESEARCH),
    "clean-effect": ("pipeline.experiments.clean_effect:clean_effect", RESEARCH),
    "noise-benchmark": ("pipeline.experiments.noise_benchmark:noise_benchmark", RESEARCH),
}
"""Of `python -m pipeline`: where each command is, and its group."""

OTHERS: dict[str, tuple[str, str]] = {
    "run": ("pipeline.inference.command:run", USE),
    "build": ("data_prep.cli:build_command", DATA),
    "audit": ("data_prep.cli:audit_command", DATA),
    "convert": ("data_prep.cli:convert_command", DATA),
    "merge": ("data_prep.cli:merge_command", DATA),
    "fetch": ("data_prep.cli:fetch_command", DATA),
    "evaluate": ("evaluate.cli:evaluate", MEASURE),
}
"""What `trimask` has beside: `run.py` and the commands of the other packages."""


app = lazy_app(
    COMMANDS,
    "Train the detector and the classifier, measure them, and repeat any run.",
    add_completion=False,
)


GROUPS = (USE, DATA, TRAIN, CLEAN, MEASURE, RESEARCH)

trimask = lazy_app(
    dict(sorted({**OTHERS, **COMMANDS}.items(), key=lambda item: GROUPS.index(item[1][1]))),
    "For every face in a photo: mask worn properly, worn wrongly, or not worn.",
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


@dataclass(frozen=True)
class ClassifyOptions:
    """Options of `classify`."""

    prepared: Prepared
    table: Annotated[Path, typer.Option("--out", "-o", help="The table to write.")]
    weights: Weights = SHIPPED
    split: Annotated[str, typer.Option(help="Which split.")] = "valid"
    device: Device = "auto"


def classify_command(options: ClassifyOptions) -> None:
    """Classify the annotated faces, as if the detector were perfect: a table for evaluate."""
    with tell_loading():
        from data_prep.base.files import OutputError
        from data_prep.base.tables import read_faces
        from data_prep.formats.predictions import REQUIRED
        from pipeline.inference.classifier import Classifier, classify_crops
        from pipeline.nets.compute import pick_device
        from pipeline.nets.options import CLASSIFIER, find_net
        from pipeline.runs.folder import PreparedError, identify_data

    table, own = options.table, ",".join(REQUIRED).encode()
    identify_data(options.prepared, table.parent)
    if table.exists() and not (table.is_file() and table.read_bytes().startswith(own)):
        raise OutputError(f"{table}: is there, but no table of faces; choose another with -o.")
    faces = read_faces(options.prepared)
    chosen = faces[faces["split"] == options.split]
    if chosen.empty:
        known = ", ".join(sorted(set(faces["split"])))
        raise PreparedError(
            f"{options.prepared}: no face in the split '{options.split}'; there are {known}."
        )
    path = find_net(options.weights, CLASSIFIER)
    classifier = Classifier.load(path, device=pick_device(options.device))
    count = classify_crops(chosen, options.prepared, classifier, table)
    log(f"{tell(count, 'face')} of the {options.split} split: {table}")
