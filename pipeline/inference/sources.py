"""Where frames come from: a photo, a folder walked recursively, or a glob.

Another kind, such as a video, a camera or a list of addresses, is another `Source`.
"""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from data_prep.base.boxes import UPRIGHT
from data_prep.base.errors import UserError
from data_prep.base.photo import PHOTO_SUFFIXES, PhotoError, read_photo

READERS = 2
AHEAD = 16
"""Photos that are decoded before they are asked for."""

_WILDCARDS = frozenset("*?[")


class PhotosError(UserError, ValueError):
    """Nothing to work on; the message says why."""


@dataclass(frozen=True)
class Frame:
    """One picture of a source, or the reason why there is none.

    Attributes:
        name: Its name within the source, forward slashes.
        index: Its place in the source, from 0.
        pixels: Height × width × 3, uint8, RGB, upright; None when it can't be read.
        error: Why it can't be read, or "".
        orientation: EXIF orientation (1 to 8) that the pixels were turned upright by.
        time_s: Seconds since the start of a video; None for photos.
        stamp: Size in bytes and time of change (ns) of the file before it was read.
        seconds: What reading and decoding took.
    """

    name: str
    index: int = 0
    pixels: np.ndarray | None = None
    error: str = ""
    orientation: int = UPRIGHT
    time_s: float | None = None
    stamp: tuple[int, int] = (-1, -1)
    seconds: float = 0.0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels; 0 when it can't be read."""
        return (0, 0) if self.pixels is None else (self.pixels.shape[1], self.pixels.shape[0])


class Source(Protocol):
    """Frames in order. One that can't be read is a frame with an error, never an exception."""

    def __iter__(self) -> Iterator[Frame]: ...


@dataclass(frozen=True)
class PhotoSet:
    """Photos and the folder their names are relative to; decoded by threads, a little ahead.

    Attributes:
        root: That folder.
        images: Names relative to `root`, forward slashes, sorted.
    """

    root: Path
    images: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Frame]:
        """The photos, upright."""
        pending: list[Future[Frame]] = []
        with ThreadPoolExecutor(READERS) as readers:
            for index, image in enumerate(self.images):
                pending.append(readers.submit(decode_frame, self.root, image, index))
                if len(pending) > AHEAD:
                    yield pending.pop(0).result()
            for future in pending:
                yield future.result()


def decode_frame(root: Path, image: str, index: int = 0) -> Frame:
    """A photo turned upright, or a frame that says why it can't be read."""
    began = time.perf_counter()
    stamp = stamp_of(root / image)
    try:
        if spell(image) != image:
            raise PhotoError(f"{root / image}: the file's name is not valid UTF-8; rename it.")
        photo = read_photo(root / image, upright=True)
    except PhotoError as error:
        seconds = time.perf_counter() - began
        return Frame(image, index, error=spell(str(error)), stamp=stamp, seconds=seconds)
    seconds = time.perf_counter() - began
    return Frame(
        image, index, photo.pixels, orientation=photo.orientation, stamp=stamp, seconds=seconds
    )


def stamp_of(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change (ns) of a file; -1 when it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def spell(name: str) -> str:
    """A name as it can be written; those of old archives may be in another encoding."""
    return os.fsencode(name).decode(errors="replace")


def find_photos(photos: str, *, leave_out: Path) -> PhotoSet:
    """Find the photos behind a command line argument.

    Args:
        photos: A photo, a folder, or a glob (`**` reaches into folders). What exists under the
            very name is taken before it is read as a glob.
        leave_out: The output folder, whose drawn photos are not photos to work on.

    Raises:
        PhotosError: Nothing there, or the output would fall on the photos themselves.
    """
    path = Path(photos)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:
        raise PhotosError(f"{photos}: can't be read ({error.strerror or error}).") from error
    if is_file:
        found, root = [path], path.parent
    elif is_folder:
        found, root = [p for p in path.rglob("*") if p.is_file()], path
    elif _WILDCARDS.isdisjoint(photos):
        raise PhotosError(f"{photos}: no such file or folder.")
    else:
        found, root = _expand(photos)
    drawn = (leave_out / "annotated").resolve()
    if root.resolve().is_relative_to(drawn):
        raise PhotosError(
            f"{photos}: lies in {drawn}, where the drawn photos go; choose another -o."
        )
    images = [
        p.relative_to(root).as_posix()
        for p in found
        if (p.suffix.lower() in PHOTO_SUFFIXES or is_file)
        and not any(part.startswith(".") for part in p.relative_to(root).parts)
        and not p.resolve().is_relative_to(drawn)
    ]
    if not images:
        known = ", ".join(sorted(PHOTO_SUFFIXES))
        raise PhotosError(f"{photos}: no photos ({known}) in there.")
    return PhotoSet(root, tuple(sorted(images)))


def _expand(pattern: str) -> tuple[list[Path], Path]:
    """Files of a glob, and the folder before its first wildcard."""
    found = [Path(name) for name in glob.glob(pattern, recursive=True)]  # noqa: PTH207
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if not _WILDCARDS.isdisjoint(part))
    root = Path(*parts[:fixed]) if fixed else Path(os.curdir)
    return [p for p in found if p.is_file()], root
