"""Processor time and memory of a whole evaluation of many boxes.

`python -m tests.benchmarks.evaluate_large [PHOTOS [RESAMPLES]]`, 50,000 and 1,000 if not given: 20
annotated and as many predicted boxes a photo.
"""

import resource
import sys
import time
from dataclasses import replace

import numpy as np

from data_prep.base.labels import CLASSES
from data_prep.base.progress import log
from evaluate.evaluation import measure_case
from evaluate.measures.case import Case
from evaluate.options import EvaluateOptions
from tests.benchmarks.evaluate_speed import make_boxes


def make_case(photos: int, resamples: int) -> Case:
    """Faces and detections with class probabilities, sure of the class that they name."""
    truth, found = make_boxes(photos=photos, boxes=20, classes=len(CLASSES), seed=0)
    sure = np.random.default_rng(1).beta(6, 1, len(found))[:, None]
    named = np.eye(len(CLASSES))[found.labels]
    probabilities = sure * named + (1 - sure) / len(CLASSES)
    found = replace(found, probabilities=probabilities / probabilities.sum(axis=1, keepdims=True))
    return Case(replace(truth, classes=CLASSES), found, EvaluateOptions(bootstrap=resamples))


def main(photos: int = 50_000, resamples: int = 1000) -> None:
    """Print what making the boxes and measuring them took."""
    case = make_case(photos, resamples)
    began = time.process_time()
    figures = measure_case(case).metrics
    spent = time.process_time() - began
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    low, high = figures["intervals"]["map50"]
    log(
        f"{len(case.detections):,} boxes, {resamples:,} resamples: {spent:.1f} s of the processor, "
        f"{most:.2f} GiB; mAP@0.5 {figures['map50']:.6f} ({low:.6f} to {high:.6f})"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
