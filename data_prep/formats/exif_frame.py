"""Photos of a dataset with the pixels their boxes refer to, ready to be written elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.base.boxes import UPRIGHT, clip_box, clip_faces, turn_box, turn_box_back, turn_size
from data_prep.base.photo import (
    PhotoError,
    PhotoFrame,
    Size,
    check_frame,
    read_frame,
)
from data_prep.base.progress import show_progress
from data_prep.base.records import AnnotatedPhoto, Box, Face, Finding


@dataclass(frozen=True)
class FramedPhoto:
    """A photo whose size is known and whose faces lie in it.

    Attributes:
        photo: The photo as annotated.
        image: Where it lies in the folder that is written, with forward slashes.
        width, height: Of the pixels that boxes refer to.
        faces: Faces with boxes clipped to the photo.
        turn: EXIF orientation (1 to 8) that still has to turn these pixels upright.
    """

    photo: AnnotatedPhoto
    image: str
    width: int
    height: int
    faces: tuple[Face, ...]
    turn: int

    @property
    def annotation(self) -> str:
        """The annotation file as `source/path`."""
        return f"{self.photo.source}/{self.photo.annotation}"


def frame_photos(
    photos: Sequence[AnnotatedPhoto],
) -> tuple[list[FramedPhoto], list[Finding]]:
    """Read the headers of photos and clip their faces.

    A photo without a readable header is used by the size its annotation states, with a finding;
    without a stated size it is left out.
    """
    framed: list[FramedPhoto] = []
    findings: list[Finding] = []
    for photo in show_progress(photos, len(photos), "reading sizes of photos"):
        stated = photo.stated_size
        try:
            frame = read_frame(photo.path, fit_size=stated)
        except PhotoError as error:
            name = f"{photo.source}/{photo.image}"
            findings.append(Finding(name, "unreadable-photo", str(error), dropped=stated is None))
            if stated is None:
                continue
            frame = PhotoFrame(*stated, UPRIGHT, upright=False)
        findings += check_frame(photo, frame)
        faces, clips = clip_faces(photo, frame.width, frame.height)
        findings += clips
        turn = UPRIGHT if frame.upright else frame.orientation
        framed.append(FramedPhoto(photo, photo.image, frame.width, frame.height, faces, turn))
    return framed, findings


def turn_upright(photo: FramedPhoto) -> FramedPhoto:
    """The same photo with boxes and size as it is looked at, turned by its EXIF orientation."""
    if photo.turn == UPRIGHT:
        return photo
    width, height = photo.width, photo.height
    size = turn_size(width, height, photo.turn)
    faces = tuple(
        # Clipped again, since the arithmetic may put an edge off the border by a rounding.
        replace(face, box=clip_box(turn_box(face.box, width, height, photo.turn), *size)[0])
        for face in photo.faces
    )
    return replace(photo, width=size[0], height=size[1], faces=faces, turn=UPRIGHT)


@dataclass(frozen=True)
class SeenPhoto:
    """What is needed to place boxes that refer to the photo as it is looked at.

    Attributes:
        size: Width and height in pixels as it is looked at. An annotation that states it has the
            photo turned when it is loaded, unless the stored photo has this size too.
        orientation: By which boxes have to be turned back, since loading won't turn the photo.
    """

    size: Size
    orientation: int

    def place(self, box: Box) -> Box:
        """The box on the photo as it is loaded, from the one on the photo as it is looked at."""
        # Only photos that keep their size when turned are turned back here: see `look_at`.
        return turn_box_back(box, *self.size, self.orientation)


def look_at(path: Path) -> SeenPhoto:
    """Read what is needed from a photo's header.

    Raises:
        PhotoError: The header can't be read.
    """
    frame = read_frame(path)
    stored = frame.width, frame.height
    size = turn_size(*stored, frame.orientation)
    return SeenPhoto(size, frame.orientation if size == stored else UPRIGHT)
