"""Options of commands that load nets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_INSTALLED = Path(__file__).parents[1] / "weights"
SHIPPED = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "weights"
"""The weights that come with the project: inside the installed package, else in the checkout."""

RETINAFACE, YUNET = "retinaface", "yunet"

Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Weights = Annotated[Path, typer.Option(help="Folder with both nets and their cards.")]
DetectorName = Annotated[
    str, typer.Option("--detector", help="What finds faces: retinaface or yunet.")
]
DetectorModel = Annotated[Path | None, typer.Option(help="Model file (ONNX) of yunet.")]
