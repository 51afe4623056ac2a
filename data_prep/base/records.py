"""The records the stages hand each other."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle in pixels of the stored photo.

    The origin is the top left corner of the top left pixel; `xmax` and `ymax` are the far edges,
    so a box over the whole photo is `(0, 0, width, height)`.
    """

    xmin: float
    ymin: float
    xmax: float
    ymax: float

    @classmethod
    def sized(cls, x: float, y: float, width: float, height: float) -> "Box":
        """The box of a top left corner and a size."""
        return cls(x, y, x + width, y + height)

    @property
    def width(self) -> float:
        """Negative when the box is inverted."""
        return self.xmax - self.xmin

    @property
    def height(self) -> float:
        """Negative when the box is inverted."""
        return self.ymax - self.ymin

    @property
    def short_side(self) -> float:
        """The size by which faces are binned."""
        return min(self.width, self.height)


@dataclass(frozen=True, slots=True)  # There may be millions.
class Face:
    """One annotated face: its index in the file, class, box, and VOC's `difficult` flag."""

    object: int
    label: str
    box: Box
    difficult: bool = False


@dataclass(frozen=True)
class Finding:
    """Something found wrong in a user's file (`source/path`), and what was done about it.

    `kind` is a short name to count by, such as `clipped-box`; `message` tells a person what is
    wrong and what to do; `dropped` says that a fault left a file or face out.
    """

    file: str
    kind: str
    message: str
    dropped: bool = False


NOT_READ = "not-read"  # Kind of the findings, no faults, about what a reader has no use for.

NAME_CONFLICT = "name-conflict"
"""Kind of the findings where an annotation names another photo than it is called after."""

DUPLICATE, CONTRADICTION, TWIN = "duplicate-box", "contradicting-labels", "twin-photo"
LEAK, UNTOLD_PART, SUSPECT = "split-leak", "untold-part", "suspect-boxes"
SALVAGED = "salvaged-photo"

DOUBTS = (
    *(SUSPECT, LEAK, UNTOLD_PART, NAME_CONFLICT, "resized-photo", "untold-turn"),
    *(SALVAGED, "size-differs", "ignored-class", DUPLICATE, CONTRADICTION, TWIN),
    "unreadable-photo",  # Used by its stated size alone.
)
"""Kinds of the findings, no faults, by which boxes may be other ones than they seem."""


def note_unread(name: str, things: Sequence[str]) -> list[Finding]:
    """A note of what is not read, such as columns; none when there is nothing.

    >>> note_unread("set/a.csv", ["licence"])[0].message
    'set/a.csv: not read, so not carried on: licence.'
    """
    names = [thing[:40] for thing in things[:20]] + ["and others"] * (len(things) > 20)
    message = f"{name}: not read, so not carried on: {', '.join(names)}."
    return [Finding(name, NOT_READ, message)] if things else []


@dataclass(frozen=True)
class AnnotatedPhoto:
    """A photo with its faces, as far as the annotation tells; boxes not yet clipped to it.

    `source` names the dataset in the folder `root`; `image` and `annotation` are files below it.
    Width and height are those that the annotation states.
    """

    source: str
    root: Path
    image: str
    annotation: str
    width: int | None
    height: int | None
    faces: tuple[Face, ...]
    left_out: int = field(default=0, repr=False)  # Faces that can't be used, besides.

    @property
    def name(self) -> str:
        """As `source/image`."""
        return f"{self.source}/{self.image}"

    @property
    def path(self) -> Path:
        """The photo's file."""
        return self.root / self.image

    @property
    def stated_size(self) -> tuple[int, int] | None:
        """(width, height) that the annotation states, or None."""
        return (self.width, self.height) if self.width and self.height else None


@dataclass(frozen=True)
class Dataset:
    """What was found in one dataset folder, sorted by photo; its source is the folder's name."""

    source: str
    root: Path
    photos: tuple[AnnotatedPhoto, ...]
    findings: tuple[Finding, ...]
