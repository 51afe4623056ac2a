"""The pictures of the docs: `python -m tests.benchmarks.figures FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from data_prep.base.progress import log
from data_prep.base.records import Box
from pipeline.drawing.dataset import ContactSheet
from pipeline.drawing.demo import read_portrait
from pipeline.drawing.masks import draw_mask
from pipeline.drawing.styles import STYLES, WAYS_TO_WEAR
from pipeline.inference.boxes import FaceDetector
from pipeline.inference.detector import Detector
from pipeline.inference.predictor import Predictor
from pipeline.nets.options import SHIPPED
from tests.benchmarks.hard_cases import answer_hard_case, draw_hard_sheet, make_hard_cases

CPU = torch.device("cpu")


def draw_style_sheet(detector: FaceDetector, path: Path) -> None:
    """Every mask style, worn in each way, on the portrait."""
    portrait = read_portrait()
    found = detector.detect([portrait])[0]
    landmarks, box = found.landmarks[0], Box(*map(float, found.boxes[0]))
    sheet = ContactSheet()
    for style in STYLES:
        for worn in WAYS_TO_WEAR:
            sheet.add(style.name, worn, draw_mask(portrait, landmarks, worn, style=style), box)
    sheet.write(path)


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
