"""What `--cluster ray` costs for each photo against a plain run, the start aside.

python -m tests.benchmarks.cluster_overhead PHOTOS [HOW_MANY]

Copies of the photos, 200 px wide, are run as they are (`--resize 1`), so that the nets hide little:
a tenth of them and all, each way, from which the seconds of one more photo follow.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from PIL import Image

from data_prep.base.progress import log
from pipeline.inference.sources import find_photos

WIDTH = 200
WAYS = {"plain": [], "cluster": ["--cluster", "ray"]}


def main(photos: str, many: int = 2000, rounds: int = 2) -> None:
    """Print the seconds of one more photo each way, the best of some rounds, and their ratio."""
    found = find_photos(photos)
    with tempfile.TemporaryDirectory() as folder:
        for part, count in (("few", many // 10), ("all", many)):
            (Path(folder) / part).mkdir()
            for place, name in enumerate(islice(cycle(found.images), count)):
                image = Image.open(found.root / name).convert("RGB")
                image.thumbnail((WIDTH, WIDTH))
                image.save(Path(folder, part, f"{place:05}.jpg"))
        seconds = dict.fromkeys(WAYS, float("inf"))
        for number in range(rounds):
            for way, options in WAYS.items():
                took = {}
                for part in ("few", "all"):
                    out = Path(folder, f"{way}-{part}-{number}")
                    command = ["run.py", Path(folder, part), "-o", out, "--no-draw", *options]
                    began = time.perf_counter()
                    subprocess.run([sys.executable, *command, "--resize", "1"], check=True)
                    took[part] = time.perf_counter() - began
                actors = json.loads((out / "summary.json").read_text()).get("actors", 0)
                more = (took["all"] - took["few"]) / (many - many // 10)
                log(
                    f"{way}, {actors} actors: {1000 * more:.1f} ms a photo, few {took['few']:.0f} s"
                )
                seconds[way] = min(seconds[way], more)
    ratio = seconds["cluster"] / seconds["plain"]
    log(f"{many} photos: cluster {ratio:.2f} × plain for each, the start aside")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
