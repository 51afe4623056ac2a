"""What a finished training is told by: its last lines, and the page `run.html`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from fastai.learner import Learner
from fastai.vision.core import imagenet_stats
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from data_prep.base.command import spell
from data_prep.base.crop import encode_crop, resize_crop
from data_prep.base.files import write_atomically
from data_prep.base.html import COLOURS, jpeg_uri, render_html, to_uri
from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from data_prep.base.tables import markdown_table
from data_prep.grouping.split import VALID
from evaluate.report.gallery import QUALITY, Picture
from evaluate.report.plots import draw_confusion
from pipeline.runs.folder import (
    FEW_FACES,
    PREDICTIONS,
    Run,
    RunRecord,
    count_right,
    identify_data,
    read_run,
)
from pipeline.runs.listing import warn_of_few
from pipeline.runs.plots import SHORT, draw_losses, draw_scores

PAGE = "run.html"
WORST = 24  # Wrong answers that the page shows.

FED = 16  # Faces of a batch that it shows.

SIDE = 128  # Of its pictures, in pixels.


def make_picture(pixels: np.ndarray, caption: str, title: str = "") -> Picture:
    """A picture of pixels, RGB, uint8, square."""
    return Picture(jpeg_uri(encode_crop(resize_crop(pixels, SIDE), QUALITY)), caption, title)


def picture_batch(learn: Learner) -> list[Picture]:
    """The first faces of a training batch, as augmented, by their labels."""
    images, codes = learn.dls.train.one_batch()
    mean, std = (torch.tensor(one, device=images.device)[:, None, None] for one in imagenet_stats)
    shown = ((images[:FED].as_subclass(torch.Tensor) * std + mean).clamp(0, 1) * 255).byte().cpu()
    pixels = shown.permute(0, 2, 3, 1).contiguous().numpy()
    return list(map(make_picture, pixels, [CLASSES[code] for code in codes[:FED]]))


class ClassRow(NamedTuple):
    """How a class fared on the validation faces, by the written weights."""

    label: str
    faces: int
    right: int
    recall: float
    precision: float | None  # None where nothing was called so
    mistakes: str  # the most frequent one, in words


def judge_classes(answers: pd.DataFrame) -> list[ClassRow]:
    """A row for every class with faces, from the rows of `valid.csv`."""
    rows = []
    wrong = answers[answers["label"] != answers["predicted"]]
    for label, (right, faces) in count_right(answers).items():
        called = (answers["predicted"] == label).sum()
        instead = wrong.loc[wrong["label"] == label, "predicted"].value_counts()
        most = f"{instead.iloc[0]} called {instead.index[0]}" if len(instead) else ""
        precision = right / called if called else None
        rows.append(ClassRow(label, faces, right, right / faces, precision, most))
    return rows


def confuse_classes(answers: pd.DataFrame) -> Figure:
    """Counts of annotated against answered classes, from the rows of `valid.csv`."""
    counts = confusion_matrix(answers["label"], answers["predicted"], labels=CLASSES)
    return draw_confusion({"counts": counts, "rows": CLASSES, "columns": CLASSES}, "Confusion")


def list_commands(record: RunRecord, prepared: Path) -> dict[str, str]:
    """What to type next, by what for."""
    _, roots = identify_data(prepared)
    source, root = next(iter(roots.items()))
    weights = ["--weights", str(record.folder)]
    there = [str(root), "-o", "all", *weights, "--thresh", "0.02", "--no-draw"]
    judge = [str(prepared), "all/predictions.csv", "-o", "report"]
    judge += ["--split", VALID, "--photos", str(root)]
    judge += ["--source", source] if len(roots) > 1 else []
    run, evaluate = spell("run"), spell("evaluate")
    # Not `&&`: where a photo can't be read, `run` does the rest and ends with 1.
    return {
        "use": f"{run} {shlex.join(['PHOTOS', '-o', 'out', *weights])}",
        "measure": f"{run} {shlex.join(there)}; {evaluate} {shlex.join(judge)}",
        "clean": f"{spell('suspects')} {shlex.join([str(prepared), '-o', 'suspects'])}",
    }


def describe_kept(record: RunRecord) -> str:
    """Which epochs the weights are of, in words; of a run with some."""
    kept, epochs = record.kept, len(record.history)
    if "step" in record.history:
        return f"step {kept[0]}, averaged over the last steps"
    if len(kept) > 1:
        return f"epochs {', '.join(map(str, kept))} of {len(kept)} networks"
    return f"epoch {kept[0]} of {epochs}, the least validation loss of its size"


def compare_aps(record: RunRecord) -> list[tuple[str, float, float]]:
    """Figures of a detector by their names, of the start weights and of the written ones."""
    before = record.results.get("before", {})
    return [
        (name.replace("_", " "), value, record.results[name])
        for name, value in before.items()
        if name != "step"
    ]


def warn(run: Run, record: RunRecord) -> list[str]:
    """What makes the figures mean less than they seem."""
    seen = "The validation faces also chose the epoch: expect a little less on new photos."
    few = warn_of_few({record.folder.name: record.recalls})
    own = [run.warning] if run.warning else []
    return [*own, seen, *few] if record.recalls else own


def describe_result(run: Run, prepared: Path) -> list[str]:
    """The last lines of a training, with its table per class and its weakest one."""
    folder, record = run.folder, read_run(run.folder)
    lines = warn(run, record)
    if record.recalls:
        rows = judge_classes(pd.read_csv(folder / PREDICTIONS))
        heads = ("class", "faces", "right", "recall", "precision", "mistakes")
        cells = [(*r[:3], _share(r.recall), _share(r.precision), r.mistakes) for r in rows]
        lines.append(markdown_table(heads, cells))
        if record.recipe.get("mirror"):
            lines.append("The written weights average the mirror image, too, unlike the epochs.")
        weak = min(rows, key=lambda row: row.recall)
        if weak.recall < 1:
            told = f"{weak.right} of {weak.faces} told right, {weak.mistakes}"
            lines.append(f"weakest: {weak.label}, {told}")
    if aps := compare_aps(record):
        shares = [(name, _share(before), _share(now)) for name, before, now in aps]
        lines.append(markdown_table(("on the validation photos", "before", "now"), shares))
    commands = list_commands(record, prepared)
    return [
        *lines,
        *([f"kept: {describe_kept(record)}"] if record.kept else []),
        f"look: {folder / PAGE}",
        *(f"{what}: {text}" for what, text in commands.items()),
    ]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def find_mistakes(answers: pd.DataFrame, prepared: Path, crops: Sequence[str]) -> list[Picture]:
    """The faces told wrong, the surest mistakes first; `crops` are those of the answers' rows."""
    wrong = answers[answers["label"] != answers["predicted"]]
    pictures = []
    worst = wrong.sort_values("loss", ascending=False, kind="stable").head(WORST)
    for place, row in worst.iterrows():
        own, told = row["label"], row["predicted"]
        caption = f"{SHORT[own]} → {SHORT[told]} {row[f'p_{told}']:.2f}"
        title = f"{Path(row['image']).name}, face {row['object']}"
        pixels = read_photo(prepared / crops[int(str(place))]).pixels
        pictures.append(make_picture(pixels, caption, title))
    return pictures


def write_page(
    run: Run, prepared: Path, *, crops: Sequence[str] = (), batch: Sequence[Picture] = ()
) -> None:
    """Write `run.html`, which needs no other file, from what lies in the run folder.

    `crops` are the files of a classifier's validation faces, in the order of `valid.csv`; `batch`
    shows what the network was fed.
    """
    record = read_run(run.folder)
    rows: list[ClassRow] = []
    mistakes: list[Picture] = []
    plots = [to_uri(draw(record.history)) for draw in (draw_losses, draw_scores)]
    if record.recalls:
        answers = pd.read_csv(run.folder / PREDICTIONS)
        rows = judge_classes(answers)
        mistakes = find_mistakes(answers, prepared, crops)
        plots.append(to_uri(confuse_classes(answers)))
    page = render_html(
        "pipeline.training",
        PAGE,
        filters={"share": _share},
        name=run.folder.name,
        record=record,
        kept=describe_kept(record),
        warnings=warn(run, record),
        few=FEW_FACES,
        rows=rows,
        aps=compare_aps(record),
        colours=COLOURS,
        plots=plots,
        mistakes=mistakes,
        batch=batch,
        commands=list_commands(record, prepared),
    )
    write_atomically(run.folder / PAGE, page)
