"""A folder of photos through the nets: table, drawn photos, summary."""

import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.base.boxes import UPRIGHT
from data_prep.base.files import OutputError, refuse_other_table, write_json
from data_prep.base.labels import CLASSES
from data_prep.base.progress import show_progress
from data_prep.base.tables import write_csv
from data_prep.formats import predictions
from pipeline.inference.cluster import Cluster
from pipeline.inference.looks import find_unlike
from pipeline.inference.predictor import Predictor
from pipeline.inference.records import Clock, list_rows
from pipeline.inference.saves import Saves, clear_stale
from pipeline.inference.sinks import Drawings, Entry, Journal, write_photo_table
from pipeline.inference.sources import ANNOTATED, SUMMARY, TRACKS, PhotoSet, spell
from pipeline.inference.video.clips import VideoOptions
from pipeline.inference.video.follow import Kept, follow_videos
from pipeline.inference.video.tracks import COLUMNS
from pipeline.nets.options import CLASSIFIER, DETECTOR, NORMAL

FORMAT = 3
DRAW_FROM = 0.5
NOTHING = Saves()
NETS = (DETECTOR, CLASSIFIER, "single_stage")  # By which the summary names their hashes.


def predict_photos(
    predictor: Predictor, photos: PhotoSet, annotated: Path, draw_from: float | None, clock: Clock
) -> Generator[Entry, None, None]:
    """Entries of photos, drawn below a folder from a score on unless None; raises `OutputError`."""
    drawings = Drawings(annotated, draw_from, clock)
    try:
        for frame, faces in predictor.predict(photos, clock):
            drawings.add(frame, faces)
            yield Entry.of(frame, faces)
    finally:
        drawings.close()


def predict_folder(
    photos: PhotoSet,
    out: Path,
    predictor: Predictor,
    *,
    draw: bool = True,
    draw_from: float = DRAW_FROM,
    saves: Saves = NOTHING,
    alarm: predictions.AlarmRule | None = None,
    spreadsheet: bool = False,
    video: VideoOptions | None = None,
    cluster: Cluster | None = None,
) -> dict[str, Any]:
    """Write the tables, drawings and `summary.json` of many photos; gives the summary.

    Photos are decoded and drawn by threads while the nets work. Photos done by an earlier run into
    the same folder, with the same weights and settings, are not done again. Faces are drawn from
    the detection score `draw_from` on, and the predictor's. Interrupted by the keyboard, it ends
    with the tables of what is done; `photos_left` of the summary tells how many are not. `saves`
    are written once all is done. With `alarm` the summary counts the faces that raise it. Videos
    are run after the photos. A cluster does the photos in the place of this process. Raises
    `OutputError`: something can't be written; what is done so far stays done.
    """
    began, clock = time.perf_counter(), Clock()
    settings = {
        "format": FORMAT,
        **predictor.identify(),
        "thresh": predictor.thresh,
        "draw_from": draw_from,
        "resize": predictor.resize,
    }
    annotated = out / ANNOTATED
    with ExitStack() as stack:
        journal = Journal(out, settings)
        stack.callback(journal.close)
        todo = tuple(
            image
            for image in photos.images
            if not (entry := journal.entries.get(image))
            or not entry.is_current(photos)
            or (draw and not entry.photo.reason and not (annotated / image).is_file())
        )
        some, least = replace(photos, images=todo), draw_from if draw else None
        predict = cluster.predict if cluster else predict_photos
        answers = stack.enter_context(closing(predict(predictor, some, annotated, least, clock)))
        left = set(todo)
        with suppress(KeyboardInterrupt):
            for entry in show_progress(answers, len(todo), "photos"):
                journal.add(entry)
                left.discard(entry.photo.image)
    kept: list[Kept] = []
    more: dict[str, Any] = {}
    if photos.videos and not left:
        drawn, options = draw_from if draw else None, video or VideoOptions()
        kept, more = follow_videos(photos.videos, out, predictor, clock, settings, options, drawn)
    entries = [journal.entries[image] for image in photos.images if image not in left]
    rows = (row for e in entries for row in list_rows(e.photo.image, e.faces, e.photo.orientation))
    done = [replace(entry.photo, image=spell(entry.photo.image)) for entry in entries]
    videos = [one.photo for one in kept]
    asked = saves.names if not left else ()
    inputs, saved = clear_stale(entries, out, asked)  # Before the table that it would lie beside.
    all_rows = chain(rows, *(one.rows() for one in kept))
    further = {"video": bool(kept), "unsure": predictor.unsure, "spreadsheet": spreadsheet}
    predictions.write_predictions(out / predictions.FILE, all_rows, **further)
    ran, tracks = [*done, *videos], out / f"{TRACKS}.csv"
    write_photo_table(out, ran, spreadsheet=spreadsheet)
    if kept:
        told = (row.values() for one in kept for row in one.state.tracks)
        write_csv(tracks, chain([COLUMNS], told), spreadsheet=spreadsheet)
    else:
        with suppress(OutputError):  # A file of someone else stays.
            refuse_other_table(tracks, COLUMNS, "persons")
            tracks.unlink(missing_ok=True)
    if asked:
        with clock.measure("save"):
            saved |= saves.write(entries, photos, out, inputs)
    seconds, tried = time.perf_counter() - began, {*todo} - left
    now = sum(entry.photo.image in tried and not entry.photo.reason for entry in entries)
    stages = {"total": seconds, "detect": 0.0, "classify": 0.0} | clock.seconds
    ranges = predictor.classifier.card.looks if predictor.classifier else {}
    read = [row for row in done if not row.reason]
    unreadable = [row for row in ran if row.reason]
    summary: dict[str, Any] = {
        "photos": len(done),
        "photos_done_now": now,
        "photos_left": len(left),
        "photos_without_faces": sum(not row.faces for row in read),
        "faces": count_faces(entries),
        "faces_drawn": count_faces(entries, draw_from),
        "unreadable": [{"image": row.image, "reason": row.reason} for row in unreadable],
        "passed_over": [{"image": name, "reason": why} for name, why in photos.passed_over],
        "salvaged": sum(row.salvaged > 0 for row in done),
        "turned": [row.image for row in read if row.orientation != UPRIGHT],
        "unlike": find_unlike([[face.looks for face in e.faces] for e in entries], ranges),
        "learnt": {
            **{how: sum(row.learnt == how for row in done) for how in predictions.LEARNT if how},
            "not_listed": [net for net, names in predictor.listed.items() if not names],
        },
        "saved": {name: path.name for name, path in saved.items()},
        "seconds": {name: round(value, 3) for name, value in stages.items()},
        "photos_per_second": round(now / seconds, 2),
        "device": str(predictor.detector.device),
        "bf16": predictor.detector.bf16,
        "engine": predictor.engine,
        "nets": {kind: own for kind, own in predictor.identify().items() if kind in NETS},
    }
    if predictor.detector.quality != NORMAL:
        summary["quality"] = predictor.detector.quality
    if sets := predictor.sets:
        flags = Counter(face.unsure for entry in entries for face in entry.faces)
        doubts = {name: count for name, count in flags.most_common() if name}
        without = [name for name in CLASSES if name not in sets.limits]
        counts = {"faces": sum(doubts.values()), "of": flags.total(), "may_be": doubts}
        summary["unsure"] = {"coverage": sets.coverage, **counts, "classes_without_limit": without}
    if predictor.boxes is not None:
        summary["boxes"] = asdict(predictor.boxes)
    if cluster is not None:
        summary["actors"] = cluster.actors
    summary |= more
    if alarm is not None:
        rung = Counter(
            entry.photo.image
            for entry in entries
            for face in entry.faces
            if face.detection >= alarm.thresh
            and alarm.score(np.array([face.probabilities]))[0] >= alarm.threshold
        )
        counts = {"faces": rung.total(), "photos": len(rung)}
        summary["alarms"] = {"threshold": alarm.threshold, **counts}
    write_json(out / SUMMARY, summary)
    return summary


def count_faces(entries: Sequence[Entry], least: float = 0.0) -> dict[str, int]:
    """Faces of each class, from a detection score on."""
    faces = (face for entry in entries for face in entry.faces)
    counts = Counter(face.label for face in faces if face.detection >= least)
    return {name: counts.get(name, 0) for name in CLASSES}
