"""WIDER FACE's lists, and those of RetinaFace: boxes of faces without classes.

`PATH`, a count, and that many lines `x y width height …` (http://shuoyang1213.me/WIDERFACE), or
`# PATH` and lines `x y width height …` until the next.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from data_prep.base.photo import PHOTO_SUFFIXES
from data_prep.base.records import Box
from data_prep.formats.contracts import FaceReader, Faults, FileFormat, ReadOptions
from data_prep.formats.input_files import InputError, read_lines, read_number
from data_prep.formats.photo_match import WrittenPhoto

FACE = "face_of_any_class"
"""The class of all faces, where classes are asked for: whoever has a use for it gives it an alias.

`face` won't do: elsewhere it is the name of a face without a mask."""

_INVALID = 7
"""Place of the number by which WIDER FACE marks a face as hardly to be seen."""


def _is_list(path: Path) -> bool:
    """Whether a text starts with a photo and a count, or with # and a photo."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first, second = file.readline(300).strip(), file.readline(300).strip()
    except (OSError, UnicodeDecodeError):
        return False
    return _is_photo(first) and (first.startswith("#") or second.isdecimal())


def _is_photo(line: str) -> bool:
    return PurePosixPath(line).suffix.lower() in PHOTO_SUFFIXES


def _read_file(path: Path, faults: Faults, options: ReadOptions) -> list[WrittenPhoto]:
    """A list; invalid faces are difficult."""
    photos: list[WrittenPhoto] = []
    name = "face" if options.classes is None else FACE
    image, start, reader = "", 0, FaceReader(faults, options)
    for number, line in enumerate([*read_lines(path), "#.jpg"], 1):
        if _is_photo(line.strip()):
            if image:
                photos.append(reader.finish(path, image, faults.at(start), None))
            image, start = re.sub(r"^#\s*", "", line.strip()), number
            reader = FaceReader(faults, options)
        words = line.split()
        if len(words) < 4 or not image or not any(word.strip("0.") for word in words[:4]):
            continue  # A count, a blank, or the line of zeros that stands for no face.
        invalid = len(words) == 10 and words[_INVALID] == "1"
        reader.add(faults.at(number), name, _read_box, words, faults.at(number), difficult=invalid)
    if not photos:
        raise InputError(f"{faults.file}: no photo in this list.")
    return photos


WIDER = FileFormat(
    *(_read_file, "list of WIDER FACE or RetinaFace (*.txt)", "sized"),
    ending=".txt",
    is_own=_is_list,
)


def _read_box(words: Sequence[str], where: str) -> Box:
    x, y, width, height = (read_number(word, "a number of the box", where) for word in words[:4])
    return Box(x, y, x + width, y + height)
