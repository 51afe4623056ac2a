"""Persons followed through a video: one number each, and a class by evidence over time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.base.crop import crop_face, encode_crop
from data_prep.base.files import write_atomically
from data_prep.base.labels import CLASSES
from pipeline.inference.records import Face, Frame
from pipeline.inference.sources import TRACKS

LOST_S = 2.0  # Seconds unseen after which someone who comes back is another person.
SURE = 0.6  # Detection score from which on a face begins a track.

LOOK_S = 0.2
"""Seconds after which a look at a face counts in full: frames that follow closely look alike."""
FLOOR, MARGIN, CAP = 0.05, 2.0, 10.0
"""Least probability that is believed; lead (in nats) by which another class takes over, and by
which one is sure; most that is held against a class, so that a mask taken off is noticed."""

CROP_SIDE = 256
COLUMNS = (
    *("image", "track", "first_s", "last_s", "frames", "label"),
    *(f"share_{name}" for name in CLASSES),
    *("changes", "alarm", "crop"),
)
"""Of tracks.csv: a share is that of the frames in which the nets, asked alone, said the class."""

Tracker = Callable[[Sequence[Face], float], list[int | None]]
"""Gives each face of the next frame, at so many seconds, a number for the person, or None."""


class ByteTrack:
    """ByteTrack (Zhang et al. 2022, https://arxiv.org/abs/2110.06864) by `trackers`."""

    def __init__(self) -> None:
        from trackers import ByteTrackTracker

        lost = round(LOST_S * 30)  # Of 30 frames a second, though times are told.
        self._tracker = ByteTrackTracker(lost, track_activation_threshold=SURE)

    def __call__(self, faces: Sequence[Face], time_s: float) -> list[int | None]:
        """Numbers from 1, from the second frame on that someone is in."""
        from supervision import Detections

        found = Detections(
            xyxy=np.array([face.box for face in faces], float).reshape(-1, 4),
            confidence=np.array([face.detection for face in faces], float),
            data={"place": np.arange(len(faces))},
        )
        told = self._tracker.update(found, timestamp=time_s)
        numbers: list[int | None] = [None] * len(faces)
        for place, number in zip(
            told.data.get("place", ()), np.array(told.tracker_id), strict=True
        ):
            numbers[place] = None if number < 0 else int(number) + 1
        return numbers


@dataclass
class Evidence:
    """A class by what was seen so far: log-odds are summed, and changes need a clear lead."""

    held: int = -1  # Index into `CLASSES`, once something was seen.
    changes: int = 0
    sums: np.ndarray = field(default_factory=lambda: np.zeros(len(CLASSES)))

    def look(self, probabilities: Sequence[float], since: float) -> int:
        """Take the probabilities of one more frame, seconds after the last; gives the class."""
        self.sums += np.log(np.clip(probabilities, FLOOR, 1)) * min(1.0, since / LOOK_S)
        self.sums = np.maximum(self.sums - self.sums.max(), -CAP)
        if self.held < 0:
            self.held = int(self.sums.argmax())
        elif self.sums[self.held] <= -MARGIN:
            self.held, self.changes = int(self.sums.argmax()), self.changes + 1
        return self.held

    @property
    def sure(self) -> bool:
        """Whether the class leads clearly."""
        return bool(self.sums[self.held] == 0 and np.sort(self.sums)[-2] <= -MARGIN)


@dataclass
class Track:
    """One person so far."""

    number: int
    first_s: float
    last_s: float
    evidence: Evidence = field(default_factory=Evidence)
    said: np.ndarray = field(default_factory=lambda: np.zeros(len(CLASSES)))  # Frames, one by one.
    held: np.ndarray = field(default_factory=lambda: np.zeros(len(CLASSES)))  # By evidence.
    alarm: bool = False
    clearest: float = 0.0
    crop: np.ndarray | None = None  # Not yet written.

    def add(self, frame: Frame, face: Face, time_s: float) -> Face:
        """Take one more frame; the clearest crop is kept until it is written."""
        since = time_s - self.last_s if self.held.any() else LOOK_S
        held = self.evidence.look(face.probabilities, since)
        self.last_s = time_s
        self.said[int(np.argmax(face.probabilities))] += 1
        self.held[held] += 1
        clear = face.detection * face.probabilities[held] * min(face.box.short_side, 100)
        if clear > self.clearest:
            self.clearest = clear
            if frame.pixels is not None:
                self.crop = crop_face(frame.pixels, face.box, most=CROP_SIDE)
        return replace(face, track=self.number, held=CLASSES[held])

    def describe(self, image: str) -> dict[str, Any]:
        """A row of tracks.csv."""
        frames, label = int(self.held.sum()), CLASSES[int(self.held.argmax())]
        times = (round(self.first_s, 3), round(self.last_s, 3))
        crop = f"{TRACKS}/{image}/{self.number}.jpg"
        last = (self.evidence.changes, int(self.alarm), crop)
        shares = (self.said / frames).round(4).tolist()
        values = (image, self.number, *times, frames, label, *shares, *last)
        return dict(zip(COLUMNS, values, strict=True))


@dataclass
class Tracks:
    """All persons of a video; the clearest crop of each is written into a folder.

    `ring` is called once for each who is not properly masked, with a row of tracks.csv.
    """

    image: str
    folder: Path
    tracker: Tracker
    ring: Callable[[dict[str, Any]], None] | None = None
    present: dict[int, Track] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)  # Of those who left.

    def add(self, frame: Frame, faces: Sequence[Face]) -> list[Face]:
        """The faces of the next frame with their persons; those long unseen are left behind."""
        seen, now = [], frame.time_s or 0.0
        for face, number in zip(faces, self.tracker(faces, now), strict=True):
            if number is None:
                seen.append(face)
                continue
            track = self.present.setdefault(number, Track(number, now, now))
            seen.append(track.add(frame, face, now))
            bare = track.evidence.sure and seen[-1].held != "with_mask"
            if bare and not track.alarm:
                track.alarm = True
                if self.ring:
                    self.write_crops(track)
                    self.ring(track.describe(self.image))
        for track in [t for t in self.present.values() if now - t.last_s > 2 * LOST_S]:
            self.write_crops(track)
            self.rows.append(self.present.pop(track.number).describe(self.image))
        return seen

    def describe(self) -> list[dict[str, Any]]:
        """Rows of tracks.csv, in the order of the persons' numbers."""
        rows = [*self.rows, *(track.describe(self.image) for track in self.present.values())]
        return sorted(rows, key=lambda row: row["track"])

    def write_crops(self, *tracks: Track) -> None:
        """Write those that are clearer than before."""
        for track in tracks or self.present.values():
            if track.crop is not None:
                write_atomically(self.folder / f"{track.number}.jpg", encode_crop(track.crop))
                track.crop = None
