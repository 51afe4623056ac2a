"""What finding near-duplicates takes by the number of photos: time, memory, growth; what is missed.

    python -m tests.benchmarks.many_photos PHOTOS [COUNT …]

PHOTOS is a folder of photos. Of their fingerprints others are grown that look like none of them:
the features of four photos, two thumbnails mixed. One in twenty is a copy of another, noisy, with
two fifths of its features gone: those are to be found. 4,000, 16,000, 64,000 if no count is given.
"""

import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from data_prep.base.photo import read_photo
from data_prep.base.progress import log
from data_prep.base.tables import markdown_table
from data_prep.grouping import duplicates
from data_prep.grouping.fingerprints import Fingerprint, Fingerprints, describe_photo, resize

REAL, COMPARED = 600, 2000  # Photos grown from; pairs that are compared, for the time of all.


def shake(packed: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Descriptors, each number of which is moved by so much at most."""
    low, high = (
        np.clip(part.astype(int) + rng.integers(-most, most + 1, part.shape), 0, 15)
        for part in (packed & 15, packed >> 4)
    )
    return ((high << 4) | low).astype(np.uint8)


def grow(real: list[Fingerprint], count: int, grown: Fingerprints) -> list[tuple[int, int]]:
    """Add so many fingerprints; the pairs of a copy and what it is of."""
    rng, planted = np.random.default_rng(0), []
    for number in range(count):
        if number % 20 == 19:
            of = int(rng.integers(number))
            one = grown[of]
            kept = np.sort(rng.permutation(len(one.packed))[: int(0.6 * len(one.packed))])
            noisy = np.clip(one.thumbnail + rng.normal(0, 6, one.thumbnail.shape), 0, 255)
            points, packed = one.points[kept], shake(one.packed[kept], 1, rng)
            grown.append(Fingerprint(one.colour, noisy.astype(np.uint8), points, packed))
            planted.append((of, number))
            continue
        parts = [real[index] for index in rng.integers(len(real), size=4)]
        share, (height, width) = rng.uniform(0.35, 0.65), parts[0].thumbnail.shape
        mixed = sum(
            weight * np.roll(resize(part.thumbnail, (width, height)), rng.integers(width), axis=1)
            for weight, part in zip((share, 1 - share), parts, strict=False)
        )
        packed = [shake(rng.permutation(part.packed)[:50], 2, rng) for part in parts]
        features = np.concatenate(packed)
        points = rng.uniform(0, 1, (len(features), 2)) * (width, height)
        thumbnail = np.asarray(mixed).astype(np.uint8)
        grown.append(Fingerprint(parts[0].colour, thumbnail, points.astype(np.float32), features))
    return planted


def measure(real: list[Fingerprint], count: int) -> dict[str, float]:
    """Seconds of the processor by part, the share of the copies found, and memory in MiB."""
    with (
        tempfile.TemporaryDirectory() as folder,
        threadpool_limits(1),
        closing(Fingerprints(Path(folder, "grown"))) as grown,
    ):
        planted = grow(real, count, grown)
        began = time.process_time()
        found = {(pair.first, pair.second) for pair in duplicates._find_copies(grown)}
        copied = time.process_time()
        looked_up = duplicates._crop_candidates(grown)
        told = time.process_time()
        for first, second, mirrored in looked_up[:: max(1, len(looked_up) // COMPARED)].tolist():
            duplicates._compare_parts(grown, first, second, bool(mirrored))
        each = (time.process_time() - told) / min(len(looked_up), COMPARED)
        found |= {(first, second) for first, second, _ in looked_up.tolist()}
    status = Path("/proc/self/status").read_text()
    return {
        "copies": copied - began,
        "candidates": told - copied,
        "comparing": each * len(looked_up),
        "found": sum(pair in found for pair in planted) / len(planted),
        "MiB": int(status.partition("VmHWM:")[2].split()[0]) / 1024,
    }


def main(folder: Path, *counts: int) -> None:
    """Print a table, the growth (exponent) between the first and the last, and a million by it."""
    paths = sorted(path for path in folder.iterdir() if path.is_file())[:REAL]
    real = [describe_photo(read_photo(path).pixels) for path in paths]
    real = [print_ for print_ in real if len(print_.packed) >= 60]
    rows, told = [], {}
    for count in counts or (4000, 16_000, 64_000):
        told[count] = measure(real, count)
        log(f"{count} photos: {told[count]}")
        rows.append([count, *(f"{value:.3g}" for value in told[count].values())])
    (low, first), *_, (high, last) = told.items()
    growth = {
        name: np.log(last[name] / first[name]) / np.log(high / low)
        for name in ("copies", "candidates", "comparing", "MiB")
    }
    rows.append(["exponent", *(f"{growth[name]:.2f}" if name in growth else "" for name in last)])
    million = {name: last[name] * (1e6 / high) ** power for name, power in growth.items()}
    rows.append(
        ["1e6 by it", *(f"{million[name]:.3g}" if name in million else "" for name in last)]
    )
    log(markdown_table(["photos", *last], rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
