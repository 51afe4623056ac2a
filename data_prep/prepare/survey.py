"""One parallel pass over the photos: sizes, boxes, crops, blur; and balancing the classes by it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pandas as pd

from data_prep.base.boxes import clip_faces
from data_prep.base.crop import crop_face, crop_name, encode_crop
from data_prep.base.files import output_error
from data_prep.base.labels import RARE_CLASS
from data_prep.base.photo import PhotoError, PhotoFrame, check_frame, read_photo
from data_prep.base.progress import show_progress
from data_prep.base.records import AnnotatedPhoto, Face, Finding
from data_prep.grouping.duplicates import Fingerprint, describe_photo


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


BlurRule = Literal["binned", "global", "none"]

BLUR_EDGES: tuple[float, ...] = (8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Short sides in pixels between which blur scores are compared: half octaves, since the score
depends on size far more than on blur."""

MAJORITY_RATIO = 1.5  # The largest class keeps at most this multiple of the second class.


def blur_score(crop: np.ndarray) -> float:
    """Variance of the Laplacian of the grey crop (height × width × 3, RGB); higher is sharper.

    Comparable between crops of about one size only. Source: Pech-Pacheco et al. 2000, "Diatom
    autofocusing in brightfield microscopy".
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def keep_balanced(
    faces: pd.DataFrame, *, rule: BlurRule = "binned", ratio: float = MAJORITY_RATIO
) -> np.ndarray:
    """Decide which faces of a training split to keep: True for kept rows.

    The largest class is cut down to `ratio` × the second largest by dropping the blurriest faces.
    With `binned` the faces are ranked inside their size bin, so that small and large faces lose
    the same share; with `global` they are ranked all together, which favours small faces (the
    rule of the seed system, kept for comparison); with `none` everything stays. The rare class is
    never cut. `faces` has `label`, `blur` and `short_side`, in a stable order.
    """
    keep = np.ones(len(faces), dtype=bool)
    counts = faces["label"].value_counts()
    if rule == "none" or len(counts) < 2 or counts.index[0] == RARE_CLASS:
        return keep
    excess = int(counts.iloc[0]) - int(ratio * int(counts.iloc[1]))
    if excess <= 0:
        return keep
    rows = np.flatnonzero(faces["label"].to_numpy() == counts.index[0])
    blur = faces["blur"].to_numpy(dtype=float)[rows]
    if rule == "binned":
        # Share of the bin's faces that are blurrier.
        sides = faces["short_side"].to_numpy()[rows]
        bins = pd.Series(blur).groupby(np.digitize(sides, BLUR_EDGES))
        ranks = bins.rank(method="first", na_option="bottom")
        blur = ((ranks - 0.5) / bins.transform("size")).to_numpy()
    keep[rows[np.argsort(blur, kind="stable")[:excess]]] = False
    return keep
