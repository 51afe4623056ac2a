"""Photos of a dataset with the pixels their boxes refer to, ready to be written elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.base.boxes import UPRIGHT, clip_box, clip_faces, turn_box, turn_size
from data_prep.base.photo import PhotoError, PhotoFrame, Size, check_frame, read_frame
from data_prep.base.progress import show_progress
from data_prep.base.records import AnnotatedPhoto, Face, Finding


@dataclass(frozen=True)
class FramedPhoto:
    """A photo whose size is known, with its faces clipped to it."""

    photo: AnnotatedPhoto
    image: str  # Where it lies in the folder that is written, with forward slashes.
    width: int  # Of the pixels that boxes refer to.
    height: int
    faces: tuple[Face, ...]
    turn: int  # EXIF orientation (1 to 8) that still has to turn these pixels upright.

    @property
    def annotation(self) -> str:
        """The annotation file as `source/path`."""
        return f"{self.photo.source}/{self.photo.annotation}"


def frame_photos(photos: Sequence[AnnotatedPhoto]) -> tuple[list[FramedPhoto], list[Finding]]:
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
    stored = photo.width, photo.height
    size = turn_size(*stored, photo.turn)
    faces = tuple(
        # Clipped again, since the arithmetic may put an edge off the border by a rounding.
        replace(face, box=clip_box(turn_box(face.box, *stored, photo.turn), *size)[0])
        for face in photo.faces
    )
    return replace(photo, width=size[0], height=size[1], faces=faces, turn=UPRIGHT)


def look_at(path: Path) -> tuple[Size, int]:
    """Size of a photo as it is looked at, and the orientation by which to turn boxes on it back.

    An annotation that states this size has the photo turned when it is loaded; so there is an
    orientation only where the stored photo has the same size, and loading won't turn it.
    """
    frame = read_frame(path)
    stored = frame.width, frame.height
    size = turn_size(*stored, frame.orientation)
    return size, frame.orientation if size == stored else UPRIGHT
