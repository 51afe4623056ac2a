"""Which photos a run is about: a file, a folder walked recursively, or a glob."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path

from data_prep.base.errors import UserError
from data_prep.base.photo import PHOTO_SUFFIXES

_WILDCARDS = frozenset("*?[")


class PhotosError(UserError, ValueError):
    """Nothing to work on; the message says why."""


@dataclass(frozen=True)
class PhotoSet:
    """Photos and the folder their names are relative to.

    Attributes:
        root: That folder.
        images: Names relative to `root`, forward slashes, sorted.
    """

    root: Path
    images: tuple[str, ...]


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
