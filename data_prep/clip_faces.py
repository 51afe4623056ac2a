"""Annotated faces brought into the photo that is really there."""

from __future__ import annotations

from dataclasses import replace

from data_prep.boxes import DegenerateBoxError, clip_box
from data_prep.photo import PhotoFrame
from data_prep.records import AnnotatedPhoto, Face, Finding


def clip_faces(
    photo: AnnotatedPhoto, width: int, height: int
) -> tuple[tuple[Face, ...], tuple[Finding, ...]]:
    """Clip faces to their photo.

    Args:
        photo: The photo as annotated.
        width: Of the photo that the boxes refer to, in pixels.
        height: The same.

    Returns:
        The faces that lie in it, boxes clipped, and a finding for each that was clipped or is
        left out.
    """
    faces: list[Face] = []
    findings: list[Finding] = []
    annotation = f"{photo.source}/{photo.annotation}"
    for face in photo.faces:
        try:
            box, clipped = clip_box(face.box, width, height)
        except DegenerateBoxError as error:
            message = f"{annotation}: object {face.object}: {error}; it is left out."
            findings.append(Finding(annotation, "degenerate-box", message, dropped=True))
            continue
        if clipped:
            message = (
                f"{annotation}: object {face.object} reaches over the border of the photo "
                f"({width} × {height}) and was clipped."
            )
            findings.append(Finding(annotation, "clipped-box", message, dropped=False))
            face = replace(face, box=box)
        faces.append(face)
    return tuple(faces), tuple(findings)


def tell_frame(photo: AnnotatedPhoto, frame: PhotoFrame) -> tuple[Finding, ...]:
    """Findings where boxes refer to a turned photo, or the stated size is not the photo's."""
    image, annotation = f"{photo.source}/{photo.image}", f"{photo.source}/{photo.annotation}"
    size, stated = (frame.width, frame.height), photo.stated_size
    if frame.upright:
        message = f"{image}: boxes refer to the turned photo (EXIF {frame.orientation})."
        return (Finding(image, "turned-photo", message, dropped=False),)
    if stated is not None and stated != size:
        message = (
            f"{annotation}: states {stated[0]} × {stated[1]}, "
            f"the photo has {size[0]} × {size[1]}; boxes are taken as pixels of the photo."
        )
        return (Finding(annotation, "size-differs", message, dropped=False),)
    return ()
