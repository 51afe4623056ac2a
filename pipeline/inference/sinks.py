"""Where frames and their faces go: a journal, from which the table is written, and drawings."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from data_prep.base.files import remove_written, write_atomically, writing
from data_prep.base.photo import TOO_LARGE
from data_prep.base.records import Box
from data_prep.base.tables import TableError
from data_prep.formats.predictions import PHOTOS_FILE, PhotoRow, read_photos, write_photos
from pipeline.inference.draw import draw_faces, save_drawing
from pipeline.inference.records import BATCH_FRAMES, BATCH_PIXELS, Clock, Face, Frame
from pipeline.inference.sources import ANNOTATED, JOURNAL, VIDEO, PhotoSet, stamp_of


class Sink(Protocol):
    """Takes frames in order, each with its faces."""

    def add(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Take one; raises OutputError."""

    def close(self) -> None:
        """Finish what is under way, after an error, too; raises OutputError."""


@dataclass(frozen=True)
class Entry:
    """The outcome for one photo."""

    photo: PhotoRow
    faces: tuple[Face, ...]
    stamp: tuple[int, int]  # Bytes of the file, and its time of change (ns), when it was read.

    @classmethod
    def of(cls, frame: Frame, faces: Sequence[Face]) -> Entry:
        """What the nets found on a frame."""
        known = (*frame.size, frame.orientation, len(faces), frame.learnt)
        row = PhotoRow(frame.name, *known, reason=frame.error, salvaged=frame.salvaged)
        return cls(row, tuple(faces), frame.stamp)

    def is_current(self, photos: PhotoSet) -> bool:
        """Whether the photo is still the file that was read, and would be read alike."""
        row = self.photo
        if row.reason and (photos.salvage or TOO_LARGE in row.reason):
            return False
        if (row.salvaged and not photos.salvage) or row.width * row.height > photos.max_pixels:
            return False
        item = photos.items.get(row.image, photos.root / row.image)
        return self.stamp[0] >= 0 and stamp_of(item) == self.stamp


class Journal:
    """What a folder run has done so far, so that it can be stopped and run again.

    Entries, one line each, are appended after a line with the settings, all else that they depend
    on. A half-written last line, as a kill leaves it, is passed over; entries of other settings
    don't count. Raises `OutputError`.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.path = folder / JOURNAL
        head = json.dumps(settings, sort_keys=True)
        self.entries = _read(self.path, head)
        # What still counts is written in one step; what is added comes behind it.
        lines = [head, *(json.dumps(asdict(entry)) for entry in self.entries.values())]
        write_atomically(self.path, "\n".join(lines) + "\n")
        with writing(self.path):
            self._file: IO[str] = self.path.open("a", encoding="utf-8")

    def add(self, entry: Entry) -> None:
        """Append and flush, so that a kill loses nothing done before."""
        with writing(self.path):
            self._file.write(json.dumps(asdict(entry)) + "\n")
            self._file.flush()
        self.entries[entry.photo.image] = entry

    def close(self) -> None:
        """Close the file; what could not be written was told by `add`."""
        with suppress(OSError):
            self._file.close()


def _read(path: Path, head: str) -> dict[str, Entry]:
    lines, entries = list[str](), dict[str, Entry]()
    with writing(path), suppress(FileNotFoundError):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0] != head:
        return entries
    for line in lines[1:]:
        try:
            record = json.loads(line)
            faces = [
                Face(
                    *(Box(*face["box"]), face["detection"]),
                    *(tuple(face["probabilities"]), tuple(face["looks"])),
                    unsure=face.get("unsure"),
                )
                for face in record["faces"]
            ]
            entry = Entry(PhotoRow(**record["photo"]), tuple(faces), tuple(record["stamp"]))
            entries[entry.photo.image] = entry
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            continue
    return entries


def write_photo_table(out: Path, rows: Sequence[PhotoRow], **how: bool) -> None:
    """Write `photos.csv`; drawings of photos that only the one of an earlier run lists as read go.

    Films stay: that of a camera can't be made again.
    """
    now = {row.image for row in rows if not row.reason}
    with suppress(TableError, OSError):
        for row in read_photos(out / PHOTOS_FILE):
            if not row.reason and row.image not in now and not (out / VIDEO / row.image).exists():
                remove_written(out / ANNOTATED, row.image)
    write_photos(out / PHOTOS_FILE, rows, **how)


class Drawings:
    """Photos drawn, with faces from a score on, by a thread beside the nets; the clock gets `draw`.

    None draws nothing, but takes away what was drawn before.
    """

    def __init__(self, folder: Path, draw_from: float | None, clock: Clock) -> None:
        self.folder, self.draw_from, self.clock = folder, draw_from, clock
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[tuple[int, Future[None]]] = deque()

    def add(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Draw one, later; the drawing of an earlier outcome goes at once.

        Taking part before the journal, it leaves no old drawing to a new entry, even if killed.
        """
        path = self.folder / frame.name
        with writing(path):
            if os.path.lexists(path):  # It raises nothing where a name is too long for a file.
                path.unlink()
        if self.draw_from is None or frame.pixels is None:
            return
        drawn = [face for face in faces if face.detection >= self.draw_from]
        pixels = frame.size[0] * frame.size[1]
        self._waiting.append((pixels, self._thread.submit(self._draw, path, frame, drawn)))
        while (  # For a photo larger than that, until it is drawn itself.
            len(self._waiting) > BATCH_FRAMES
            or sum(size for size, _ in self._waiting) > BATCH_PIXELS
        ):
            self._waiting.popleft()[1].result()

    def _draw(self, path: Path, frame: Frame, faces: Sequence[Face]) -> None:
        assert frame.pixels is not None
        with self.clock.measure("draw"):
            save_drawing(path, draw_faces(frame.pixels, faces, spoil=True))

    def close(self) -> None:
        """Wait for what is being drawn."""
        self._thread.shutdown()
        for _, drawing in self._waiting:
            drawing.result()
