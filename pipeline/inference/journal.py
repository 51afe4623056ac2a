"""What a folder run has done so far, so that it can be stopped and run again."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from data_prep.base.files import output_error, write_atomically
from data_prep.base.records import Box
from pipeline.inference.predictor import FacePrediction

FILE = ".journal.jsonl"


@dataclass(frozen=True)
class Entry:
    """The outcome for one photo.

    Attributes:
        image: Its name.
        size, changed: Bytes and time of change (ns) of the file when it was read.
        width, height: Pixels of the upright photo; 0 when it could not be read.
        orientation: EXIF orientation of the file.
        faces: What was found.
        reason: Why it could not be read, or "".
    """

    image: str
    size: int
    changed: int
    width: int
    height: int
    orientation: int
    faces: tuple[FacePrediction, ...]
    reason: str = ""

    def is_current(self, path: Path) -> bool:
        """Whether the photo is still the file that was read."""
        try:
            stat = path.stat()
        except OSError:
            return False
        return (stat.st_size, stat.st_mtime_ns) == (self.size, self.changed)


class Journal:
    """An append-only list of entries, one line each, after a line with the settings.

    A half-written last line, as a kill leaves it, is passed over; entries made with other settings
    don't count.

    Args:
        folder: The output folder.
        settings: Everything but the photo that the outcome depends on.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.path = folder / FILE
        self.entries = _read(self.path, settings)
        self._file = self._open(settings)

    def add(self, entries: list[Entry]) -> None:
        """Append and flush, so that a kill loses nothing done before.

        Raises:
            OutputError: The journal can't be written.
        """
        try:
            for entry in entries:
                self._file.write(_to_line(entry) + "\n")
            self._file.flush()
        except OSError as error:
            raise output_error(self.path, error) from error
        self.entries.update({entry.image: entry for entry in entries})

    def close(self) -> None:
        """Close the file; what could not be written was told by `add`."""
        with suppress(OSError):
            self._file.close()

    def _open(self, settings: dict[str, Any]) -> IO[str]:
        """Write what still counts in one step, then go on behind it."""
        lines = [json.dumps(settings, sort_keys=True)]
        lines += [_to_line(entry) for entry in self.entries.values()]
        write_atomically(self.path, "\n".join(lines) + "\n")
        try:
            return self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise output_error(self.path, error) from error


def _to_line(entry: Entry) -> str:
    return json.dumps(asdict(entry))


def _read(path: Path, settings: dict[str, Any]) -> dict[str, Entry]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise output_error(path, error) from error
    entries: dict[str, Entry] = {}
    if not lines or lines[0] != json.dumps(settings, sort_keys=True):
        return entries
    for line in lines[1:]:
        try:
            record = json.loads(line)
            faces = [
                FacePrediction(Box(*face["box"]), face["detection"], tuple(face["probabilities"]))
                for face in record.pop("faces")
            ]
            entry = Entry(**record, faces=tuple(faces))
        except (AttributeError, KeyError, TypeError, ValueError):
            continue
        entries[entry.image] = entry
    return entries
