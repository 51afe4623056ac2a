"""The commands `draw-masks` and `mask-styles` of `python -m pipeline`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data_prep.base.command import explain_errors
from data_prep.base.progress import log
from data_prep.cli import Alias
from pipeline.nets.options import SHIPPED, Weights


def draw_masks_command(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder, in any format that is read.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write: new or empty.")],
    properly: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Share worn properly; half of the others below the nose."
        ),
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Of styles and ways to wear.")] = 0,
    alias: Alias = None,
    weights: Weights = SHIPPED,
) -> None:
    """Draw masks on the bare faces of a dataset: photos, VOC files, drawn.csv, a contact sheet."""
    with explain_errors():
        from data_prep.base.labels import parse_aliases
        from pipeline.drawing.dataset import SHEET, DrawOptions, draw_dataset
        from pipeline.inference.detector import Detector
        from pipeline.nets.cards import DETECTOR
        from pipeline.nets.compute import pick_device

        detector = Detector.load(weights / f"{DETECTOR}.safetensors", device=pick_device("cpu"))
        options = DrawOptions(properly, seed, parse_aliases(alias or ()))
        record = draw_dataset(dataset, out, options, detector)
        counts = record["counts"]
        if record.get("up_to_date"):
            log("nothing to do: data and options are those of the last run")
        log(f"drawn      {counts['drawn']} of {counts['bare_faces']} bare faces")
        for what, count in counts["not_drawn"].items():
            log(f"not drawn  {count}: {what}")
        log(f"faces      {', '.join(f'{name} {n}' for name, n in counts['faces'].items())}")
        log(f"written    {out}; see {out / SHEET}")


def mask_styles_command(
    picture: Annotated[Path, typer.Argument(help="The picture to write, .jpg or .png.")],
    weights: Weights = SHIPPED,
) -> None:
    """Draw every mask style, worn in each way, on a portrait in the public domain."""
    with explain_errors():
        from pipeline.drawing.sheet import draw_style_sheet
        from pipeline.inference.detector import Detector
        from pipeline.nets.cards import DETECTOR
        from pipeline.nets.compute import pick_device

        detector = Detector.load(weights / f"{DETECTOR}.safetensors", device=pick_device("cpu"))
        draw_style_sheet(detector, picture)
        log(f"written: {picture}")
