"""The command `fit-boxes`: how a dataset's annotators draw faces, against the detector."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from data_prep.base.boxes import SIDES, BoxOffsets
from data_prep.base.errors import DatasetError
from data_prep.base.files import refuse_dataset_folders
from data_prep.base.progress import log, tell, tell_loading
from data_prep.base.tables import markdown_table
from pipeline.nets.options import SHIPPED, Device, Weights


@dataclass(frozen=True)
class FitBoxesOptions:
    """Options of `fit-boxes`."""

    dataset: Annotated[Path, typer.Argument(help="Annotated photos: a folder in any known format.")]
    out: Annotated[Path, typer.Option("--out", "-o", help="The JSON to write, for run --boxes.")]
    weights: Weights = SHIPPED
    device: Device = "auto"


def fit_boxes(options: FitBoxesOptions) -> None:
    """Measure how a dataset's annotators draw boxes, against the detector's: for run --boxes."""
    with tell_loading():
        from evaluate.evaluation import read_case
        from evaluate.measures.alignment import LEAST_FACES, fit_offsets, pair_boxes
        from evaluate.options import THRESH, EvaluateOptions
        from pipeline.experiments.measure import predict_photos
        from pipeline.inference.predictor import Predictor
        from pipeline.inference.sources import find_photos
        from pipeline.nets.compute import pick_device

    dataset, out = options.dataset, options.out
    refuse_dataset_folders([out.parent], [dataset], around=True)
    if out.exists():
        BoxOffsets.read(out)  # Another's file is refused.
    photos = find_photos(str(dataset))
    predictor = Predictor.load(options.weights, device=pick_device(options.device), thresh=THRESH)
    predictions = predict_photos(predictor, photos)
    case = read_case(dataset, predictions, EvaluateOptions())
    annotated, predicted, photo = pair_boxes(case.truth, case.detections, THRESH)
    if len(photo) < LEAST_FACES:
        raise DatasetError(
            f"{dataset}: {tell(len(photo), 'annotated face')} found, {LEAST_FACES} at least are "
            "needed to tell how boxes are drawn."
        )
    offsets = fit_offsets(annotated, predicted, photo, source=dataset.resolve().name)
    offsets.write(out)
    for line in case.warnings:
        log(f"note: {line}")
    if learnt := sum(bool(row.learnt) for row in predictions.ran or ()):
        log(f"note: {learnt} of {tell(len(photos))} were learnt from: boxes there may lie nearer.")
    ends = offsets.interval or {}
    figures = {side: (getattr(offsets, side), *ends[side]) for side in SIDES}
    cells = [(side, *(f"{share:+.3f}" for share in row)) for side, row in figures.items()]
    typer.echo(markdown_table(("side moves, of the box", "median", "from", "to"), cells))
    log(f"{tell(offsets.faces, 'face')} of {tell(offsets.photos)}: {out}; run --boxes {out}")
