"""One parallel pass over the photos: sizes, clipped boxes, crops, blur scores, fingerprints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2

from data_prep.base.boxes import clip_faces
from data_prep.base.crop import crop_face, crop_name, encode_crop
from data_prep.base.files import output_error
from data_prep.base.photo import PhotoError, PhotoFrame, check_frame, read_photo
from data_prep.base.progress import show_progress
from data_prep.base.records import AnnotatedPhoto, Face, Finding
from data_prep.grouping.duplicates import Fingerprint, describe_photo
from data_prep.prepare.blur import blur_score


@dataclass(frozen=True)
class SurveyedFace:
    """A face with its box clipped to the photo, its blur score, and its crop's file name."""

    face: Face
    blur: float
    crop: str


@dataclass(frozen=True)
class SurveyedPhoto:
    """What one look at a photo gave: its faces, and the size that their boxes refer to.

    The fingerprint is None when the photo could not be read.
    """

    photo: AnnotatedPhoto
    width: int
    height: int
    faces: tuple[SurveyedFace, ...]
    fingerprint: Fingerprint | None
    findings: tuple[Finding, ...]


def survey_photos(
    photos: Sequence[AnnotatedPhoto], *, crops: Path, scale: float, workers: int | None = None
) -> list[SurveyedPhoto]:
    """Decode every photo once, in parallel, and write the crops of its faces."""
    survey = partial(_survey_photo, crops=crops, scale=scale)
    inner_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # Its own threads would compete with ours.
    try:
        # Decoding and features run outside the interpreter's lock, so threads serve as well as
        # processes, and unlike forked ones they can't hang where other threads run already.
        with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            done = pool.map(survey, photos)
            return list(show_progress(done, len(photos), "reading photos"))
    finally:
        cv2.setNumThreads(inner_threads)


def _survey_photo(photo: AnnotatedPhoto, *, crops: Path, scale: float) -> SurveyedPhoto:
    try:
        decoded = read_photo(photo.path, fit_size=photo.stated_size)
    except PhotoError as error:
        finding = Finding(photo.name, "unreadable-photo", str(error), dropped=True)
        return SurveyedPhoto(photo, 0, 0, (), None, (finding,))
    size = (decoded.width, decoded.height)
    found, clip_findings = clip_faces(photo, *size)
    findings = [
        *check_frame(photo, PhotoFrame(*size, decoded.orientation, decoded.upright)),
        *clip_findings,
    ]
    faces: list[SurveyedFace] = []
    for face in found:
        crop = crop_face(decoded.pixels, face.box, scale)
        name = crop_name(photo, face.object)
        try:
            (crops / name).write_bytes(encode_crop(crop))
        except OSError as error:
            raise output_error(crops / name, error) from error
        faces.append(SurveyedFace(face, blur_score(crop), name))
    fingerprint = describe_photo(decoded.pixels)
    return SurveyedPhoto(photo, *size, tuple(faces), fingerprint, tuple(findings))
