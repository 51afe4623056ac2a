"""The pictures of the docs: `python -m tests.benchmarks.figures FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from data_prep.base.crop import crop_face
from data_prep.base.progress import log
from data_prep.base.records import Box
from pipeline.drawing.demo import read_portrait
from pipeline.drawing.masks import draw_mask
from pipeline.drawing.styles import STYLES, WAYS_TO_WEAR
from pipeline.inference.boxes import FaceDetector
from pipeline.inference.detector import Detector
from pipeline.inference.predictor import Predictor
from pipeline.nets.options import SHIPPED
from pipeline.runs.plots import COLUMNS, plot_faces
from tests.benchmarks.hard_cases import answer_hard_case, draw_hard_sheet, make_hard_cases

CPU = torch.device("cpu")

VIEW = 1.8  # Side of what is shown, as a multiple of the longer box side.


def draw_style_sheet(detector: FaceDetector, path: Path) -> None:
    """Every mask style, worn in each way, on the portrait."""
    portrait = read_portrait()
    found = detector.detect([portrait])[0]
    landmarks, box = found.landmarks[0], Box(*map(float, found.boxes[0]))
    names = [style.name for style in STYLES]
    blocks = [names[start : start + COLUMNS] for start in range(0, len(names), COLUMNS)]
    places = [(name, worn) for block in blocks for worn in WAYS_TO_WEAR for name in block]
    styles = {style.name: style for style in STYLES}
    drawn = [draw_mask(portrait, landmarks, worn, style=styles[name]) for name, worn in places]
    titles = [f"{name}\n{worn.replace('_', ' ')}" for name, worn in places]
    plot_faces([crop_face(picture, box, VIEW) for picture in drawn], titles, path)


def main(folder: Path) -> None:
    """Draw both."""
    detector = Detector.load(SHIPPED / "detector.safetensors", device=CPU)
    draw_style_sheet(detector, folder / "mask-styles.jpg")
    nets = Predictor.load(SHIPPED, device=CPU)
    cases = make_hard_cases(detector)
    answers = [answer_hard_case(nets, case) for case in cases]
    right = draw_hard_sheet(cases, answers, folder / "hard-cases.jpg")
    log(f"hard cases: {right} of {len(cases)} right")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
