"""The pictures of the docs: `python -m tests.benchmarks.figures FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from data_prep.base.progress import log
from pipeline.inference.detector import Detector
from pipeline.inference.predictor import Predictor
from pipeline.nets.options import SHIPPED
from tests.benchmarks.hard_cases import answer_hard_case, draw_hard_sheet, make_hard_cases

CPU = torch.device("cpu")


def main(folder: Path) -> None:
    """Draw them."""
    detector = Detector.load(SHIPPED / "detector.safetensors", device=CPU)
    nets = Predictor.load(SHIPPED, device=CPU)
    cases = make_hard_cases(detector)
    answers = [answer_hard_case(nets, case) for case in cases]
    right = draw_hard_sheet(cases, answers, folder / "hard-cases.jpg")
    log(f"hard cases: {right} of {len(cases)} right")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
