"""The command line of training: `python -m pipeline …`.

Commands import what they need when they run: fastai and torch take seconds to load.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from pipeline.choices.command_line import choices_command
from pipeline.cleaning.command_line import (
    clean_effect_command,
    noise_benchmark_command,
    suspects_command,
)
from pipeline.compare.command_line import compare_command
from pipeline.console import SHIPPED, explain_errors, say
from pipeline.cross_validate.command_line import cross_validate_command
from pipeline.draw_masks_command import draw_masks_command, mask_styles_command
from pipeline.options import (
    DetectorModel,
    DetectorName,
    Device,
    Prepared,
    Weights,
)
from pipeline.review.commands import agreement_command, review_command
from pipeline.run_list_command import runs_command
from pipeline.sweep.command_line import sweep_command
from pipeline.train_commands import train_command, train_detector_command

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
        from data_prep.faces import read_faces
        from pipeline.classifier import Classifier
        from pipeline.classify_crops import classify_crops
        from pipeline.compute import pick_device
        from pipeline.runs import PreparedError

        faces = read_faces(prepared)
        chosen = faces[faces["split"] == split]
        if chosen.empty:
            known = ", ".join(sorted(set(faces["split"])))
            raise PreparedError(f"{prepared}: no face in the split '{split}'; there are {known}.")
        path = weights / "classifier.safetensors"
        classifier = Classifier.load(path, device=pick_device(device))
        count = classify_crops(chosen, prepared, classifier, table)
        say(f"{count} faces of the {split} split: {table}")


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
        from pipeline.compute import pick_device
        from pipeline.detectors import choose_detector
        from pipeline.measure import describe_results, measure_weights, write_to_cards
        from pipeline.weights import WeightsError

        other = choose_detector(detector, detector_model)
        if write and other is not None:
            raise WeightsError("--write is for the nets of the cards, not for another detector.")
        results = measure_weights(
            prepared,
            weights,
            device=pick_device(device),
            say=say,
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
        from pipeline.compute import pick_device
        from pipeline.demo import write_demo_photos
        from pipeline.detector import Detector

        detector = Detector.load(weights / "detector.safetensors", device=pick_device("cpu"))
        for path in write_demo_photos(detector, folder):
            typer.echo(path)


@app.command("hard-cases")
def hard_cases_command(
    picture: Annotated[Path, typer.Argument(help="Picture to write, .jpg or .png.")],
    weights: Weights = SHIPPED,
) -> None:
    """Draw where the nets fail: one portrait altered in many ways, and their answers."""
    with explain_errors():
        from pipeline.compute import pick_device
        from pipeline.detector import Detector
        from pipeline.hard_cases import answer_hard_cases, make_hard_cases
        from pipeline.hard_sheet import draw_hard_sheet
        from pipeline.predict import TwoStage

        nets = TwoStage.load(weights, device=pick_device("cpu"))
        own = Detector.load(SHIPPED / "detector.safetensors", device=pick_device("cpu"))
        answers = answer_hard_cases(nets, make_hard_cases(own))
        draw_hard_sheet(answers, picture)
        say(f"{sum(answer.is_right for answer in answers)} of {len(answers)} right: {picture}")


@app.command("benchmark")
def benchmark_command(
    photos: Annotated[str, typer.Argument(help="A photo, a folder, a glob.")],
    weights: Weights = SHIPPED,
    thresh: Annotated[float, typer.Option(help="Least detection score.")] = 0.3,
    rounds: Annotated[int, typer.Option(min=1, help="How often each side runs.")] = 3,
    most: Annotated[int, typer.Option(min=1, help="Use so many photos at most.")] = 150,
    device: Device = "auto",
) -> None:
    """Time the pipeline of run.py against a plain loop with the same weights."""
    with explain_errors(), tempfile.TemporaryDirectory() as out:
        from pipeline.benchmark import compare_speed
        from pipeline.compute import pick_device
        from pipeline.photos import PhotoSet, find_photos

        found = find_photos(photos, leave_out=Path(out))
        some = PhotoSet(found.root, found.images[:: -(-len(found.images) // most)])
        target = pick_device(device)
        result = compare_speed(
            some, weights, Path(out), device=target, thresh=thresh, rounds=rounds, say=say
        )
        typer.echo(result.describe())
