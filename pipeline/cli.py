"""The command line of training: `python -m pipeline …`.

Commands import what they need when they run: fastai and torch take seconds to load.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data_prep.base.command import explain_errors
from data_prep.base.progress import log
from pipeline.drawing.command import draw_masks_command, mask_styles_command
from pipeline.experiments.commands import (
    choices_command,
    clean_effect_command,
    compare_command,
    cross_validate_command,
    noise_benchmark_command,
    suspects_command,
    sweep_command,
)
from pipeline.nets.options import SHIPPED, DetectorModel, DetectorName, Device, Weights
from pipeline.review.command import agreement_command, review_command
from pipeline.runs.comparison import runs_command
from pipeline.runs.options import Prepared
from pipeline.training.command import train_command, train_detector_command

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("train")(train_command)
app.command("train-detector")(train_detector_command)
app.command("suspects")(suspects_command)
app.command("noise-benchmark")(noise_benchmark_command)
app.command("clean-effect")(clean_effect_command)
app.command("choices")(choices_command)
app.command("runs")(runs_command)
app.command("sweep")(sweep_command)
app.command("draw-masks")(draw_masks_command)
app.command("mask-styles")(mask_styles_command)
app.command("compare")(compare_command)
app.command("cross-validate")(cross_validate_command)
app.command("review")(review_command)
app.command("agreement")(agreement_command)


@app.callback()
def main() -> None:
    """Train the detector and the classifier, measure them, and repeat any run."""


@app.command("classify")
def classify_command(
    prepared: Prepared,
    table: Annotated[Path, typer.Option("--out", "-o", help="The table to write.")],
    weights: Weights = SHIPPED,
    split: Annotated[str, typer.Option(help="Which split.")] = "valid",
    device: Device = "auto",
) -> None:
    """Classify the annotated faces, as if the detector were perfect: a table for evaluate."""
    with explain_errors():
        from data_prep.base.tables import read_faces
        from pipeline.inference.classifier import Classifier, classify_crops
        from pipeline.nets.compute import pick_device
        from pipeline.runs.folder import PreparedError

        faces = read_faces(prepared)
        chosen = faces[faces["split"] == split]
        if chosen.empty:
            known = ", ".join(sorted(set(faces["split"])))
            raise PreparedError(f"{prepared}: no face in the split '{split}'; there are {known}.")
        path = weights / "classifier.safetensors"
        classifier = Classifier.load(path, device=pick_device(device))
        count = classify_crops(chosen, prepared, classifier, table)
        log(f"{count} faces of the {split} split: {table}")


@app.command("measure")
def measure_command(
    prepared: Prepared,
    weights: Weights = SHIPPED,
    write: Annotated[
        bool, typer.Option("--write", help="Put the figures on the cards, too.")
    ] = False,
    reports: Annotated[
        Path | None,
        typer.Option(help="Folder for a whole evaluation of each dataset, with report.html."),
    ] = None,
    detector: DetectorName = "retinaface",
    detector_model: DetectorModel = None,
    device: Device = "auto",
) -> None:
    """Measure weights on the validation split, with intervals, as a Markdown table."""
    with explain_errors():
        from pipeline.experiments.measure import describe_results, measure_weights, write_to_cards
        from pipeline.inference.yunet import choose_detector
        from pipeline.nets.cards import WeightsError
        from pipeline.nets.compute import pick_device

        other = choose_detector(detector, detector_model)
        if write and other is not None:
            raise WeightsError("--write is for the nets of the cards, not for another detector.")
        results = measure_weights(
            prepared,
            weights,
            device=pick_device(device),
            log=log,
            reports=reports,
            detector=other,
        )
        typer.echo(describe_results(results))
        if write:
            write_to_cards(results, weights)


@app.command("demo-photos")
def demo_photos_command(
    folder: Annotated[Path, typer.Argument(help="Folder that gets the photos.")],
    weights: Weights = SHIPPED,
) -> None:
    """Make photos to try run.py on: a portrait with masks drawn on it."""
    with explain_errors():
        from pipeline.drawing.demo import write_demo_photos
        from pipeline.inference.detector import Detector
        from pipeline.nets.compute import pick_device

        detector = Detector.load(weights / "detector.safetensors", device=pick_device("cpu"))
        for path in write_demo_photos(detector, folder):
            typer.echo(path)
