"""The command line of `run.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data_prep.base.command import explain_errors
from data_prep.base.progress import log
from pipeline.inference.folder import FolderOptions, predict_folder
from pipeline.inference.predictor import TwoStage
from pipeline.inference.sources import find_photos
from pipeline.inference.yunet import RETINAFACE, choose_detector
from pipeline.nets.compute import pick_device
from pipeline.nets.options import SHIPPED, DetectorModel, DetectorName, Device, Weights

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

DRAW_FROM = 0.5


def parse_resize(text: str) -> float | None:
    """`auto` or a factor above 0.

    Raises:
        typer.BadParameter: It is neither.
    """
    if text == "auto":
        return None
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor <= 8:
        raise typer.BadParameter(f"'{text}': write auto, or a factor up to 8 such as 2 or 1.5.")
    return factor


@app.command()
def run(
    photos: Annotated[str, typer.Argument(help="A photo, a folder (walked recursively), a glob.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("out"),
    resize: Annotated[
        str, typer.Option(help="Enlargement before detection: auto (per photo), or a factor.")
    ] = "auto",
    thresh: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least detection score of a face.")
    ] = 0.5,
    draw_from: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Least detection score of a drawn face.")
    ] = DRAW_FROM,
    draw: Annotated[bool, typer.Option(help="Write the drawn photos.")] = True,
    device: Device = "auto",
    bf16: Annotated[
        bool | None, typer.Option("--bf16/--fp32", help="Precision; what is fast here if not set.")
    ] = None,
    weights: Weights = SHIPPED,
    detector: DetectorName = RETINAFACE,
    detector_model: DetectorModel = None,
) -> None:
    """Find faces and tell their class: OUT/predictions.csv, OUT/annotated/, OUT/summary.json.

    Exit code 0: all photos done; 1: some could not be read, the rest done; 2: nothing done.
    """
    factor = parse_resize(resize)
    with explain_errors():
        found = find_photos(photos, leave_out=out)
        other = choose_detector(detector, detector_model)
        stages = TwoStage.load(weights, device=pick_device(device), bf16=bf16, detector=other)
        options = FolderOptions(thresh=thresh, draw_from=draw_from, resize=factor, draw=draw)
        summary = predict_folder(found, out, stages, options)
    faces = ", ".join(f"{name} {count}" for name, count in summary["faces"].items())
    typer.echo(
        f"{summary['photos']} photos, {summary['photos_done_now']} of them now, "
        f"in {summary['seconds']['total']:.1f} s"
    )
    typer.echo(f"faces: {faces}")
    typer.echo(f"table: {out / 'predictions.csv'}")
    if draw:
        typer.echo(f"drawn: {out / 'annotated'}")
    for item in summary["unreadable"]:
        log(f"unreadable: {item['reason']}")
    if summary["unreadable"]:
        raise typer.Exit(1)
