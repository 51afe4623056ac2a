"""The sheet of hard cases: each altered portrait with the nets' answer under it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data_prep.crop import crop_face
from data_prep.files import write_atomically
from data_prep.records import Box
from pipeline.hard_cases import Answer

RIGHT, WRONG = "#2c8a4b", "#c0392b"
COLUMNS = 8
VIEW = 2.2
"""Side of what is shown, as a multiple of the head."""

SHORT = {
    "with_mask": "worn properly",
    "without_mask": "no mask",
    "mask_weared_incorrect": "worn wrongly",
}


def draw_hard_sheet(answers: list[Answer], path: Path) -> None:
    """Two kinds in a row, framed green where the answer is the class that was drawn.

    Raises:
        OutputError: The picture can't be written.
    """
    rows = -(-len(answers) // COLUMNS)
    figure = Figure(figsize=(1.75 * COLUMNS, 2.0 * rows), dpi=75, layout="constrained")
    FigureCanvasAgg(figure)
    cells = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axes in cells:
        axes.axis("off")
    for answer, axes in zip(answers, cells, strict=False):
        _show(answer, axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:], pil_kwargs={"quality": 85})
    write_atomically(path, buffer.getvalue())


def _show(answer: Answer, axes: Axes) -> None:
    case, face = answer.case, answer.prediction
    x, y = case.face
    half = case.side / 2
    crop = crop_face(case.photo, Box(x - half, y - half, x + half, y + half), VIEW)
    axes.axis("on")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.imshow(np.asarray(crop))
    colour = RIGHT if answer.is_right else WRONG
    for edge in axes.spines.values():
        edge.set(color=colour, linewidth=3)
    said = "not found" if face is None else f"{SHORT[face.label]} {max(face.probabilities):.2f}"
    axes.set_title(f"{case.kind}: {case.what}", fontsize=8)
    axes.set_xlabel(said, fontsize=8, color=colour)
