"""How many portraits get several boxes, without and with the look at huge faces.

`python -m tests.benchmarks.portraits PHOTOS [EACH]`: every so many-th photo, 14 if not given.
"""

import sys
from dataclasses import replace

import numpy as np
import pytest

from data_prep.base.progress import log
from pipeline.inference import boxes as merging
from pipeline.inference.boxes import HUGE
from pipeline.inference.detector import Detector
from pipeline.inference.sources import find_photos
from pipeline.nets.options import DETECTOR, SHIPPED

SURE = 0.5


def main(photos: str, each: int = 14) -> None:
    """Print both counts."""
    found = find_photos(photos)
    some = replace(found, images=found.images[::each])
    net = Detector.load(SHIPPED / f"{DETECTOR}.safetensors", device="cpu")
    frames = [frame.pixels for frame in some]
    for way, asks in (("without", (np.inf, np.inf)), ("with", HUGE.asks)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(merging, "HUGE", replace(HUGE, asks=asks))
            boxes = [len(net.detect([pixels], min_score=SURE)[0].scores) for pixels in frames]
        several, none = sum(n > 1 for n in boxes), boxes.count(0)
        log(f"{way} it: {several} of {len(boxes)} with several boxes from {SURE} on, {none} none")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
