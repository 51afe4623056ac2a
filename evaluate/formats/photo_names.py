"""Which photo of the predictions is which photo of the annotations."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from data_prep.errors import UserError
from data_prep.photo import PHOTO_SUFFIXES


class AmbiguousPhotoError(UserError, ValueError):
    """A photo name that fits several photos; the message says how to tell them apart."""


@dataclass(frozen=True)
class _Name:
    """A photo's path in comparable form: path, the same folded in case, and without ending."""

    path: str
    parts: tuple[str, ...]
    stems: tuple[str, ...]


@dataclass(frozen=True)
class NameMatch:
    """What was found.

    Attributes:
        found: For each predicted name the index of the annotated photo, or None.
        levels: How many were found at each level, the strictest first.
    """

    found: tuple[int | None, ...]
    levels: Mapping[str, int]


def match_names(annotated: Sequence[str], predicted: Sequence[str]) -> NameMatch:
    r"""Find the annotated photo for every predicted one.

    In turn, for those not found yet: the same relative path; one path ends with the other
    (`images/a.jpg`, `a.jpg`); the same, whatever the ending (`images/a.png`, `a.jpg`); the same
    file name in different folders; the same in name but for the ending. The last two are used only
    when no photo is found by the first three: otherwise the folders do correspond, and an equal
    name in another folder is another photo. An annotated photo is found once.

    Case does not matter from the second level on; `\` equals `/`, and equivalent ways to write an
    accented letter are the same.

    Args:
        annotated: Distinct photo names.
        predicted: Distinct photo names.

    Raises:
        AmbiguousPhotoError: At the level at which a photo is found, it fits several photos, or
            several fit it.

    >>> match_names(["images/a.png", "images/b.png"], ["b.jpg", "c.jpg"]).found
    (1, None)
    """
    truths = [_parse(name) for name in annotated]
    names = [_parse(name) for name in predicted]
    by_stem: dict[str, list[int]] = {}
    for index, truth in enumerate(truths):
        by_stem.setdefault(truth.stems[-1], []).append(index)
    found: dict[int, int] = {}
    counts: dict[str, int] = {}
    for level, (fits, needs_folders_apart) in _LEVELS.items():
        counts[level] = 0
        if needs_folders_apart and any(counts[name] for name in ("path", "suffix", "ending")):
            continue
        taken = set(found.values())
        proposals: dict[int, int] = {}
        for number, name in enumerate(names):
            if number in found:
                continue
            options = [
                index
                for index in by_stem.get(name.stems[-1], ())
                if index not in taken and fits(truths[index], name)
            ]
            if len(options) > 1:
                raise _ambiguous(predicted[number], [annotated[index] for index in options])
            if options and options[0] in proposals:
                rivals = [predicted[proposals[options[0]]], predicted[number]]
                raise _ambiguous(annotated[options[0]], rivals, annotated=True)
            if options:
                proposals[options[0]] = number
        found.update({number: index for index, number in proposals.items()})
        counts[level] = len(proposals)
    return NameMatch(tuple(found.get(number) for number in range(len(names))), counts)


def _parse(name: str) -> _Name:
    path = PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/"))
    folded = PurePosixPath(str(path).casefold())
    # Only known endings: what follows a dot in `crowd.2` is part of the name.
    bare = folded.with_suffix("") if folded.suffix in PHOTO_SUFFIXES else folded
    return _Name(str(path), folded.parts, bare.parts)


def _ends_alike(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    length = min(len(first), len(second))
    return first[-length:] == second[-length:]


_LEVELS: dict[str, tuple[Callable[[_Name, _Name], bool], bool]] = {
    "path": (lambda truth, name: truth.path == name.path, False),
    "suffix": (lambda truth, name: _ends_alike(truth.parts, name.parts), False),
    "ending": (lambda truth, name: _ends_alike(truth.stems, name.stems), False),
    "name": (lambda truth, name: truth.parts[-1] == name.parts[-1], True),
    "stem": (lambda truth, name: truth.stems[-1] == name.stems[-1], True),
}
"""How two names may agree, and whether only when their folders do not correspond."""


def _ambiguous(
    name: str, options: Sequence[str], *, annotated: bool = False
) -> AmbiguousPhotoError:
    here, there = ("annotated", "predicted") if annotated else ("predicted", "annotated")
    return AmbiguousPhotoError(
        f"the {here} photo '{name}' could be any of the {there} {', '.join(options)}: give paths "
        "relative to the same folder in both, or evaluate one dataset at a time."
    )
