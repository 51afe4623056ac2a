"""Videos through the nets: what is seen is kept segment by segment, so that a stop loses little."""

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from data_prep.base import files
from data_prep.base.boxes import UPRIGHT
from data_prep.base.labels import CLASSES
from data_prep.base.progress import FIRST, LATER, log
from data_prep.base.records import Box
from data_prep.formats.predictions import PhotoRow, PredictionRow
from pipeline.inference.addresses import ask_head
from pipeline.inference.predictor import Predictor
from pipeline.inference.records import Clock, Face, Frame, list_rows, round_box
from pipeline.inference.sources import ANNOTATED, TRACKS, VIDEO, spell, stamp_of
from pipeline.inference.video.alarms import Alarm
from pipeline.inference.video.clips import Clip, Live, VideoOptions, open_source
from pipeline.inference.video.film import Film
from pipeline.inference.video.tracks import ByteTrack, Tracks

SEGMENT = 500
"""Frames after which what was done is safe: after a kill a video goes on from there."""

LONGEST_NAME = 255  # Bytes of a file's name on most disks.


@dataclass
class State:
    """What is known of a video so far."""

    parts: int = 0  # Segments done.
    frames: int = 0
    next_index: int = 0
    seconds: float = 0.0
    photo: tuple[int, int, int, int] = (0, 0, UPRIGHT, 0)  # Width to faces, as in photos.csv.
    faults: int = 0  # Stretches that can't be read.
    fault: str = ""  # The first.
    tracks: Sequence[Mapping[str, Any]] = ()  # Rows of tracks.csv.
    whole: bool = False
    told: Mapping[str, Any] = field(default_factory=dict)  # Of cameras, for summary.json.


class Kept:
    """What a folder keeps of a video run with these settings: its state, and frames by parts."""

    def __init__(self, name: str, folder: Path, settings: Mapping[str, Any]) -> None:
        self.name, self.folder, self.lines = name, folder, list[str]()
        self.settings = json.loads(json.dumps(settings))
        told = files.read_object(folder / "state.json") or {}
        same = told.get("settings") == self.settings
        self.state = State(**told["state"]) if same else State()

    @property
    def photo(self) -> PhotoRow:
        """A row of photos.csv."""
        reason = "" if self.state.frames else self.state.fault
        return replace(PhotoRow(spell(self.name), *self.state.photo), reason=reason)

    def add(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Take one frame; its faces are rounded already."""
        told = [[*f.box, f.detection, *f.probabilities, f.track, f.held, f.unsure] for f in faces]
        self.lines.append(json.dumps([frame.index, frame.time_s, told]) + "\n")
        state = self.state
        size = frame.size if not state.frames else state.photo[:2]
        state.photo = (*size, frame.orientation, state.photo[3] + len(faces))
        state.frames, state.next_index = state.frames + 1, frame.index + 1
        state.seconds = frame.time_s or 0.0

    def cut(self) -> None:
        """End a part."""
        files.write_atomically(self.folder / f"{self.state.parts:05d}.jsonl", "".join(self.lines))
        self.lines.clear()
        self.state.parts += 1
        told = {"settings": self.settings, "state": asdict(self.state)}
        files.write_json(self.folder / "state.json", told)

    def __iter__(self) -> Iterator[tuple[int, float, list[Face]]]:
        """Index, seconds and faces of the frames of all parts that are done."""
        for part in range(self.state.parts):
            with (self.folder / f"{part:05d}.jsonl").open(encoding="utf-8") as file:
                for index, time_s, told in map(json.loads, file):
                    faces = [Face(Box(*v[:4]), v[4], tuple(v[5:8]), (), *v[8:]) for v in told]
                    yield index, time_s, faces

    def rows(self) -> Iterator[PredictionRow]:
        """All faces as rows of predictions.csv."""
        for index, time_s, faces in self:
            rows = list_rows(spell(self.name), faces, self.state.photo[2])
            for row, face in zip(rows, faces, strict=True):
                yield replace(row, frame=index, time_s=time_s, track=face.track)


def follow_videos(
    videos: Mapping[str, str],
    out: Path,
    predictor: Predictor,
    clock: Clock,
    settings: Mapping[str, Any],
    options: VideoOptions,
    draw_from: float | None,
) -> tuple[list[Kept], dict[str, Any]]:
    """Run videos, given by names and places, one after the other; Ctrl-C leaves the rest.

    Films show faces from a detection score on; None makes none. Gives what is kept of each, and
    what summary.json tells. Raises `OutputError`.
    """
    done, left = [], list(videos)
    for name, place in videos.items():
        source = open_source(name, place, options)
        mark = ""
        if "://" in place:  # Whether it changed, the server tells, or else it may have.
            head = ask_head(place) if isinstance(source, Clip) and not source.dead else {}
            tags = [head[tag] for tag in ("etag", "last-modified", "content-length") if tag in head]
            known = [place, *(tags or [str(time.time())])]
            mark = hashlib.sha256("\n".join(known).encode()).hexdigest()
        told = {**settings, "every": options.every, "stamp": stamp_of(Path(place)), "mark": mark}
        kept = Kept(name, out / VIDEO / name, told)
        if isinstance(source, Live) and kept.folder.exists():
            what = f"{out}: holds an earlier recording of {name}, which would be lost"
            raise files.OutputError(f"{what}; choose another folder with -o.")
        film_name = name if name.lower().endswith(".mp4") else f"{name}.mp4"
        while film_name != name and film_name in videos:
            film_name += ".mp4"
        if len(os.fsencode(Path(film_name).name)) > LONGEST_NAME:
            film_name = Path(name).with_suffix(".mp4").as_posix()
        path = out / ANNOTATED / film_name if draw_from is not None else None
        if not (path or kept.state.parts or isinstance(source, Live) or source.dead):
            # It would show what another run saw.
            files.remove_written(out / ANNOTATED, film_name)
        done.append(kept)
        if not kept.state.whole or (path and kept.state.frames and not path.is_file()):
            film = Film(path, kept.folder / "film.mp4", draw_from or 0.0, clock, options.show)
            tracks = Tracks(spell(name), out / TRACKS / spell(name), ByteTrack())
            follow(source, predictor, clock, kept, tracks, film, options.alarm)
        if not kept.state.whole:
            break
        left.remove(name)
    summary: dict[str, Any] = {
        "videos": [_describe(kept) for kept in done],
        "videos_left": left,
        **_count([row for kept in done for row in kept.state.tracks]),
    }
    if options.alarm:
        summary["alarm_calls"] = options.alarm.close()
    return done, summary


def follow(
    source: Clip | Live,
    predictor: Predictor,
    clock: Clock,
    kept: Kept,
    tracks: Tracks,
    film: Film,
    alarm: Alarm | None,
) -> None:
    """Run one until it ends, or Ctrl-C; what an earlier run did of it is drawn, not run, again."""
    state, begin, due = kept.state, kept.state.next_index, time.monotonic() + FIRST
    state.faults, state.fault, state.whole = 0, "", False
    shutil.rmtree(tracks.folder, ignore_errors=True)
    with closing(film):
        with suppress(KeyboardInterrupt):
            for frame, faces in _answer(source, predictor, clock, kept):
                if frame.error:
                    state.faults, state.fault = state.faults + 1, state.fault or frame.error
                    continue
                new = frame.index >= begin
                tracks.ring = alarm.ring if alarm and new else None
                seen = tracks.add(frame, [_round(face) for face in faces])
                if new:
                    kept.add(frame, seen)
                film.add(frame, seen)
                if new and state.frames % SEGMENT == 0:
                    kept.cut()
                if time.monotonic() >= due:
                    log(f"{source.name}: {frame.time_s or 0:.0f} s of it done")
                    due = time.monotonic() + LATER
            state.whole = True
        tracks.write_crops()
        state.tracks = tracks.describe()
        if isinstance(source, Live):
            state.whole, state.told = True, source.describe()
        kept.cut()
    if isinstance(source, Live) and not state.frames:  # Nobody there this time.
        shutil.rmtree(kept.folder)
        state.parts = 0


def _answer(
    source: Clip | Live, predictor: Predictor, clock: Clock, kept: Kept
) -> Iterator[tuple[Frame, Sequence[Face]]]:
    if isinstance(source, Live):  # The newest frame alone.
        log(f"{source.name}: Ctrl-C ends it and finishes the files")
        for frame in source:
            yield frame, predictor([frame], clock)[0]
        return
    frames = iter(source)
    for index, _, faces in kept:
        for frame in frames:
            yield frame, faces
            if frame.index == index and not frame.error:
                break
    yield from predictor.predict(frames, clock)


def _round(face: Face) -> Face:
    """As in predictions.csv, so that what is read back gives the same tracks."""
    shares = tuple(round(float(share), 5) for share in face.probabilities)
    detection = round(float(face.detection), 5)
    return Face(round_box(face.box), detection, shares, unsure=face.unsure)


def _count(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Persons of each class, and those who were not properly masked."""
    people = Counter(row["label"] for row in rows)
    counts = {name: people.get(name, 0) for name in CLASSES}
    return {"people": counts, "people_alarming": sum(row["alarm"] for row in rows)}


def _describe(kept: Kept) -> dict[str, Any]:
    """What summary.json tells of a video."""
    state = kept.state
    return {
        "video": spell(kept.name),
        "seconds": round(state.seconds, 3),
        "frames": state.frames,
        "faces": state.photo[3],
        **_count(state.tracks),
        "damaged": {"times": state.faults, "first": state.fault} if state.faults else None,
        **state.told,
    }
