"""A folder of photos through the nets: table, drawn photos, summary."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from data_prep.base.files import output_error, write_json
from data_prep.base.labels import CLASSES
from data_prep.base.photo import UPRIGHT, Photo, PhotoError, read_photo
from data_prep.base.progress import show_progress
from data_prep.formats.predictions import FILE, PredictionRow, write_predictions
from pipeline.inference.draw import draw_faces, save_drawing
from pipeline.inference.journal import Entry, Journal
from pipeline.inference.predictor import FacePrediction, MaskPipeline
from pipeline.inference.sources import PhotoSet

CHUNK_PHOTOS = 16
CHUNK_PIXELS = 24_000_000
"""A chunk goes through the nets at once; large photos make smaller chunks, to bound memory."""

READERS = 2
FORMAT = 2

_CLOCK = Lock()


@dataclass(frozen=True)
class Read:
    """A photo, or why there is none, with size and time of change (ns) of its file before."""

    image: str
    size: int
    changed: int
    photo: Photo | PhotoError


@dataclass(frozen=True)
class FolderOptions:
    """How to run.

    Attributes:
        thresh: Least detection score of a row.
        draw_from: Least detection score of a drawn face; drawing needs `thresh` as well.
        resize: Enlargement before detection, or None to choose per photo.
        draw: Write drawn photos.
    """

    thresh: float
    draw_from: float
    resize: float | None = None
    draw: bool = True


def predict_folder(
    photos: PhotoSet, out: Path, stages: MaskPipeline, options: FolderOptions
) -> dict[str, Any]:
    """Find and classify the faces of many photos.

    Photos are decoded and drawn by threads while the nets work. Photos done by an earlier run into
    the same folder, with the same weights and settings, are not done again.

    Args:
        photos: Which ones.
        out: Gets `predictions.csv`, `annotated/` and `summary.json`.
        stages: The nets.
        options: How.

    Returns:
        The summary, as written.

    Raises:
        OutputError: Something can't be written; what is done so far stays done.
    """
    began = time.perf_counter()
    journal = Journal(out, _settings(stages, options))
    try:
        todo = [
            image for image in photos.images if not _is_done(image, photos, out, journal, options)
        ]
        with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(1) as drawer:
            drawings: list[Future[None]] = []
            reads = show_progress(
                _read_ahead(photos.root, todo, readers, stages.seconds), len(todo), "photos"
            )
            for chunk in _chunks(reads):
                good = {read.image: read.photo for read in chunk if isinstance(read.photo, Photo)}
                faces = stages.predict(
                    [photo.pixels for photo in good.values()],
                    thresh=options.thresh,
                    resize=options.resize,
                )
                found = dict(zip(good, faces, strict=True))
                entries = [_make_entry(read, found.get(read.image, ())) for read in chunk]
                _wait(drawings)
                _remove_drawings(out, chunk)
                journal.add(entries)
                if options.draw:
                    drawings = [
                        drawer.submit(
                            _draw,
                            out / "annotated" / entry.image,
                            photo,
                            entry,
                            options.draw_from,
                            stages.seconds,
                        )
                        for entry in entries
                        if (photo := good.get(entry.image))
                    ]
            _wait(drawings)
    finally:
        journal.close()
    entries = [journal.entries[image] for image in photos.images]
    write_predictions(out / FILE, _list_rows(entries))
    summary = _summarise(entries, len(todo), stages, time.perf_counter() - began)
    write_json(out / "summary.json", summary)
    return summary


def _settings(stages: MaskPipeline, options: FolderOptions) -> dict[str, Any]:
    return {
        "format": FORMAT,
        **stages.identify(),
        "thresh": options.thresh,
        "draw_from": options.draw_from,
        "resize": options.resize,
    }


def _is_done(
    image: str, photos: PhotoSet, out: Path, journal: Journal, options: FolderOptions
) -> bool:
    entry = journal.entries.get(image)
    if entry is None or not entry.is_current(photos.root / image):
        return False
    return bool(entry.reason) or not options.draw or (out / "annotated" / image).is_file()


def _read_ahead(
    root: Path, images: Sequence[str], readers: ThreadPoolExecutor, seconds: dict[str, float]
) -> Iterator[Read]:
    """Decode in threads, a chunk ahead of the nets and no further, in order."""
    pending: list[Future[Read]] = []
    for image in images:
        pending.append(readers.submit(_read, root, image, seconds))
        if len(pending) > CHUNK_PHOTOS:
            yield pending.pop(0).result()
    for future in pending:
        yield future.result()


def _read(root: Path, image: str, seconds: dict[str, float]) -> Read:
    began = time.perf_counter()
    try:
        stat = (root / image).stat()
        size, changed = stat.st_size, stat.st_mtime_ns
    except OSError:
        size, changed = -1, -1  # gone since it was listed; never taken for done
    photo: Photo | PhotoError
    try:
        if _spell(image) != image:
            raise PhotoError(f"{root / image}: the file's name is not valid UTF-8; rename it.")
        photo = read_photo(root / image, upright=True)
    except PhotoError as error:
        photo = error
    _add_time(seconds, "decode", began)
    return Read(image, size, changed, photo)


def _spell(name: str) -> str:
    """A name as it can be written; those of old archives may be in another encoding."""
    return os.fsencode(name).decode(errors="replace")


def _add_time(seconds: dict[str, float], stage: str, began: float) -> None:
    with _CLOCK:
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - began


def _chunks(reads: Iterator[Read]) -> Iterator[list[Read]]:
    chunk: list[Read] = []
    pixels = 0
    for read in reads:
        chunk.append(read)
        if isinstance(read.photo, Photo):
            pixels += read.photo.width * read.photo.height
        if len(chunk) == CHUNK_PHOTOS or pixels >= CHUNK_PIXELS:
            yield chunk
            chunk, pixels = [], 0
    if chunk:
        yield chunk


def _make_entry(read: Read, faces: Sequence[FacePrediction]) -> Entry:
    image, size, changed, photo = read.image, read.size, read.changed, read.photo
    if isinstance(photo, PhotoError):
        return Entry(image, size, changed, 0, 0, UPRIGHT, (), _spell(str(photo)))
    return Entry(image, size, changed, photo.width, photo.height, photo.orientation, tuple(faces))


def _remove_drawings(out: Path, chunk: Sequence[Read]) -> None:
    """Drawings of an earlier outcome go before the new one counts: a kill leaves none of them."""
    for read in chunk:
        path = out / "annotated" / read.image
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            continue
        except OSError as error:
            raise output_error(path, error) from error


def _draw(
    path: Path, photo: Photo, entry: Entry, draw_from: float, seconds: dict[str, float]
) -> None:
    began = time.perf_counter()
    faces = [face for face in entry.faces if face.detection >= draw_from]
    save_drawing(path, draw_faces(photo.pixels, faces))
    _add_time(seconds, "draw", began)


def _wait(drawings: Sequence[Future[None]]) -> None:
    for drawing in drawings:
        drawing.result()


def _list_rows(entries: Sequence[Entry]) -> Iterator[PredictionRow]:
    for entry in entries:
        for face in entry.faces:
            scores = (face.label, face.score, face.detection, face.probabilities)
            yield PredictionRow(entry.image, face.box, *scores, entry.orientation)


def _summarise(
    entries: Sequence[Entry], done_now: int, stages: MaskPipeline, seconds: float
) -> dict[str, Any]:
    counts = Counter(face.label for entry in entries for face in entry.faces)
    unreadable = [entry for entry in entries if entry.reason]
    return {
        "photos": len(entries),
        "photos_done_now": done_now,
        "photos_without_faces": sum(not e.faces and not e.reason for e in entries),
        "faces": {name: counts.get(name, 0) for name in CLASSES},
        "unreadable": [{"image": _spell(e.image), "reason": e.reason} for e in unreadable],
        "turned": [e.image for e in entries if e.orientation != UPRIGHT and not e.reason],
        "seconds": {
            "total": round(seconds, 3),
            **{name: round(value, 3) for name, value in stages.seconds.items()},
        },
        "photos_per_second": round(done_now / seconds, 2),
        "device": str(stages.detector.device),
        "bf16": stages.detector.bf16,
    }
