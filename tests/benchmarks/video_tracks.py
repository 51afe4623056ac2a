"""How steadily persons are followed and classified in videos of which the truth is known.

    python -m tests.benchmarks.video_tracks PREPARED OUT [--clips 40]

PREPARED is what `python -m data_prep build` makes of the shared sets. Of validation photos, which
the shipped nets did not learn from, clips are made: the view pans and zooms over the photo and back
while blur comes and goes, with noise and H.264's own losses. Each annotated face is a person, with
one class for the whole clip, and its box in every frame is known. `run.py` runs all clips into
OUT/run, where it goes on if stopped; a face that was found is a person's from an overlap of 0.4 on.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from data_prep.base.boxes import shared_areas
from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from data_prep.base.progress import log
from data_prep.base.tables import markdown_table, read_faces
from data_prep.grouping.split import VALID
from pipeline.inference.command import RunOptions, run
from pipeline.inference.video.tracks import LOST_S
from pipeline.runs.folder import identify_data

SIZE, RATE, SECONDS = (480, 360), 12.5, 4.0
SMALLEST = (
    14  # Pixels of a face's short side in a frame, and half of it in view, to count as there.
)
MATCH = 0.4


def move(photo: np.ndarray, share: float) -> np.ndarray:
    """The 2 × 3 matrix that brings the photo into the frame at a share of the clip, 0 to 1."""
    height, width = photo.shape[:2]
    zoom = 1.25 + 0.35 * np.sin(np.pi * share)
    scale = max(SIZE[0] / width, SIZE[1] / height) * zoom
    there = 0.5 - 0.5 * np.cos(2 * np.pi * share)
    x = (width * scale - SIZE[0]) * there
    y = (height * scale - SIZE[1]) * (0.5 + 0.3 * np.sin(2 * np.pi * share))
    return np.array([[scale, 0, -x], [0, scale, -y]])


def make_clip(path: Path, photo: np.ndarray, faces: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Write a clip; gives frame, person, label and box of each face in view."""
    rng, rows = np.random.default_rng(seed), []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "30"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for index in range(round(SECONDS * RATE)):
            share = index / (SECONDS * RATE - 1)
            matrix = move(photo, share)
            view = cv2.warpAffine(photo, matrix, SIZE, flags=cv2.INTER_CUBIC)
            sigma = 2.5 * max(0.0, np.sin(2 * np.pi * 1.5 * share + seed)) + 0.1
            view = cv2.GaussianBlur(view, (0, 0), sigma) + rng.normal(0, 5, view.shape)
            picture = av.VideoFrame.from_ndarray(view.clip(0, 255).astype(np.uint8), "rgb24")
            picture.pts = index * 2
            container.mux(stream.encode(picture))
            for person, face in enumerate(faces.itertuples()):
                ends = np.array([[face.xmin, face.ymin], [face.xmax, face.ymax]])
                box = ends * matrix[0, 0] + matrix[:, 2]
                inside = box.clip(0, SIZE)
                seen = (inside[1] - inside[0]).prod() / (box[1] - box[0]).prod()
                if seen >= 0.5 and (box[1] - box[0]).min() >= SMALLEST:
                    rows.append([path.name, index, person, face.label, *inside.ravel()])
        container.mux(stream.encode())
    columns = ["image", "frame", "person", "truth", "xmin", "ymin", "xmax", "ymax"]
    return pd.DataFrame(rows, columns=columns)


def match(truth: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Rows of found faces with the person and class that they are of."""
    sides, pairs = ["xmin", "ymin", "xmax", "ymax"], []
    by_frame = dict(list(found.groupby(["image", "frame"])))
    for key, there in truth.groupby(["image", "frame"]):
        if key not in by_frame:
            continue
        seen = by_frame[key]
        a, b = there[sides].to_numpy(), seen[sides].to_numpy()
        shared = shared_areas(a, b)
        area = [(box[:, 2:] - box[:, :2]).prod(axis=1) for box in (a, b)]
        iou = shared / (area[0][:, None] + area[1] - shared)
        for i, j in zip(*linear_sum_assignment(-iou), strict=True):
            if iou[i, j] >= MATCH:
                one = there.iloc[i]
                pairs.append({**seen.iloc[j], "person": one.person, "truth": one.truth})
    return pd.DataFrame(pairs)


def measure(truth: pd.DataFrame, found: pd.DataFrame, tracks: pd.DataFrame) -> dict[str, float]:
    """The figures, see `main`."""
    table = match(truth, found).sort_values(["image", "person", "frame"])
    shares = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    table["alone"] = np.array(CLASSES)[shares.argmax(axis=1)]
    counts, minutes = Counter(), 0.0
    for _, one in table.groupby(["image", "person"]):
        minutes += (one["frame"].max() - one["frame"].min()) / RATE / 60
        for name in ("alone", "label"):
            changed = one[name].to_numpy()[1:] != one[name].to_numpy()[:-1]
            counts[name] += int(changed.sum())
        counts["within"] += int((changed & (np.diff(one["track"]) == 0)).sum())
        known = one.dropna(subset="track")
        other = np.diff(known["track"]) != 0
        counts["switches"] += int(other.sum())
        counts["short"] += int((other & (np.diff(known["frame"]) <= LOST_S * RATE)).sum())
    owners = defaultdict(Counter)
    for row in table.dropna(subset="track").itertuples():
        owners[row.image, int(row.track)][row.person, row.truth] += 1
    rights, alarms = Counter(), Counter()
    for row in tracks.itertuples():
        if (row.image, row.track) in owners:
            real = owners[row.image, row.track].most_common(1)[0][0][1]
            alone = max(CLASSES, key=lambda name: getattr(row, f"share_{name}"))
            rights["tracks"] += 1
            rights["held"] += row.label == real
            rights["alone"] += alone == real
            alarms[real != "with_mask", bool(row.alarm)] += 1
    return {
        "persons": len(truth.groupby(["image", "person"])),
        "person minutes": minutes,
        "frames × persons": len(table),
        "found": len(table) / len(truth),
        "changes per person minute, frame by frame": counts["alone"] / minutes,
        "changes per person minute, by evidence": counts["label"] / minutes,
        "of them within a track": counts["within"] / minutes,
        "frames with the right class, frame by frame": (table["alone"] == table["truth"]).mean(),
        "frames with the right class, by evidence": (table["label"] == table["truth"]).mean(),
        "tracks of persons": rights["tracks"],
        "tracks with the right class": rights["held"] / rights["tracks"],
        "tracks of nobody annotated": len(tracks) - rights["tracks"],
        "ID switches": counts["switches"],
        "of them after less than 2 s unseen": counts["short"],
        "alarms due and called": alarms[True, True],
        "alarms due, not called": alarms[True, False],
        "alarms not due, called": alarms[False, True],
        "tracks without alarm due": alarms[False, True] + alarms[False, False],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=int, default=40)
    given = parser.parse_args()
    faces = read_faces(given.prepared)
    faces = faces[faces["split"] == VALID]
    _, roots = identify_data(given.prepared)
    clips, truth = given.out / "clips", []
    clips.mkdir(parents=True, exist_ok=True)
    photos = sorted(faces.groupby(["source", "image"]).groups)
    rng = np.random.default_rng(0)
    rare = {(r.source, r.image) for r in faces.itertuples() if r.label == CLASSES[2]}
    order = [photos[place] for place in rng.permutation(len(photos))]
    chosen = sorted(order, key=lambda photo: photo not in rare)[: given.clips // 4]
    chosen += [photo for photo in order if photo not in rare][: given.clips - len(chosen)]
    for number, (source, image) in enumerate(chosen):
        photo = read_photo(roots[source] / image).pixels
        own = faces[(faces["source"] == source) & (faces["image"] == image)]
        truth.append(make_clip(clips / f"{number:03d}.mp4", photo, own, number))
    run(RunOptions(str(clips), out=given.out / "run", draw=False))
    found = pd.read_csv(given.out / "run" / "predictions.csv")
    tracks = pd.read_csv(given.out / "run" / "tracks.csv")
    figures = measure(pd.concat(truth), found, tracks)
    log(markdown_table(["what", "figure"], [[k, f"{v:.4g}"] for k, v in figures.items()]))


if __name__ == "__main__":
    main()
