"""Photos copied or linked into a folder that is written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from data_prep.base.errors import UserError
from data_prep.base.files import output_error
from data_prep.base.progress import show_progress


class PhotoMode(StrEnum):
    """What becomes of the photos."""

    COPY = "copy"
    LINK = "link"
    NONE = "none"


class LostPhotoError(UserError, OSError):
    """A photo that was there a moment ago can't be read."""


def place_photos(photos: Mapping[str, Path], folder: Path, mode: PhotoMode) -> dict[str, int]:
    """Copy or link photos.

    Args:
        photos: Each photo's file by its path below the folder.
        folder: Existing folder without them.
        mode: `link` makes hard links, and copies where that can't be done, as on another disk.

    Returns:
        The bytes of each photo by its path below the folder.

    Raises:
        LostPhotoError: A photo can't be read.
        OutputError: A photo can't be written.
    """
    if mode is PhotoMode.NONE:
        return {}
    sizes = {}
    for name, path in show_progress(photos.items(), len(photos), "placing photos"):
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if mode is PhotoMode.COPY or not _link(path, target):
                _copy(path, target)
            sizes[name] = target.stat().st_size
        except OSError as error:
            if isinstance(error, UserError):
                raise
            raise output_error(target, error) from error
    return sizes


def _link(path: Path, target: Path) -> bool:
    try:
        # Links in the dataset are followed: a hard link to a link would dangle elsewhere.
        os.link(path.resolve(), target)
    except OSError:
        return False
    return True


def _copy(path: Path, target: Path) -> None:
    try:
        source = path.open("rb")
    except OSError as error:
        reason = error.strerror or error
        raise LostPhotoError(
            f"{path}: can't be read ({reason}); is the disk still there?"
        ) from error
    with source, target.open("xb") as file:
        shutil.copyfileobj(source, file)
    times = path.stat()
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
