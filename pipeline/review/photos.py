"""Photos and crops for the page: found within the dataset's folder only, kept for a while."""

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from data_prep.base.crop import crop_face, resize_crop
from data_prep.base.files import sha256_of
from data_prep.base.photo import PhotoError, read_photo
from pipeline.review.suspects import Suspect, Suspects

KEPT = 6  # Decoded photos in memory.
LONGEST_SIDE = 2000  # Of a photo sent to the page, in pixels.
Kind = Literal["photo", "crop", "similar"]  # Whole, the face as the model gets it, or in small.
SIDES: dict[Kind, int] = {"crop": 640, "similar": 144}  # Largest, in pixels; none is enlarged.


@dataclass(frozen=True)
class OpenedPhoto:
    """A photo, or why there is none."""

    pixels: np.ndarray | None  # RGB; None when it can't be decoded.
    sha256: str | None  # Of the file; None when it can't be read.
    problem: str | None  # For the reviewer.


@lru_cache(maxsize=KEPT)
def _decode(path: Path, _sha256: str, size: tuple[int, int]) -> np.ndarray:
    return read_photo(path, fit_size=size).pixels


class PhotoShelf:
    """Opens the photos of suspects; names, which may tell classes, are hidden where asked."""

    def __init__(self, suspects: Suspects, *, hide_names: bool) -> None:
        self._about = suspects.about
        self._hide_names = hide_names

    def open(self, face: Suspect) -> OpenedPhoto:
        """The photo of a face; one that can't be read is looked for again each time."""
        sha256 = None
        try:
            path = find_inside(self._about.roots[face.source], face.image)
            sha256 = sha256_of(path)
            return OpenedPhoto(_decode(path, sha256, (face.width, face.height)), sha256, None)
        except PhotoError as error:
            problem = str(error)
        except OSError as error:
            problem = f"{face.source}/{face.image}: can't be read ({error.strerror or error})."
        return OpenedPhoto(None, sha256, self._tell(problem))

    def show(self, face: Suspect, kind: Kind) -> bytes:
        """A picture as PNG, or as JPEG when it is a photo or was shrunk for being very large.

        A similar face is the prepared crop, or else cut from its photo. Raises `PhotoError`.
        """
        if kind == "photo":
            pixels = self._pixels(face)
            shrink = min(1.0, LONGEST_SIDE / max(pixels.shape[:2]))
            pixels = cv2.resize(pixels, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
            return _encode(pixels, ".jpg")
        crop = None
        if kind == "similar" and self._about.prepared is not None and face.crop:
            with suppress(PhotoError):
                crop = read_photo(find_inside(self._about.prepared, face.crop)).pixels
        if crop is None:
            pixels = self._pixels(face)
            try:
                crop = crop_face(pixels, face.box)
            except ValueError as error:  # Of a box that is empty or not finite.
                raise PhotoError(self._tell(f"{face.source}/{face.image}: {error}.")) from error
        most = SIDES[kind]
        shrunk = crop.shape[0] > most
        return _encode(resize_crop(crop, most) if shrunk else crop, ".jpg" if shrunk else ".png")

    def _tell(self, problem: str) -> str:
        return "This face can't be shown." if self._hide_names else problem

    def _pixels(self, face: Suspect) -> np.ndarray:
        opened = self.open(face)
        if opened.pixels is None:
            raise PhotoError(opened.problem)
        return opened.pixels


def find_inside(root: Path, name: str) -> Path:
    """A file below a folder, links followed; `PhotoError` where the name leads out of it."""
    try:
        path = (root / name).resolve()
        inside = path.is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError) as error:  # A loop of links, a null byte.
        raise PhotoError(f"{name!r}: not a file's name ({error}).") from error
    if not inside:
        raise PhotoError(f"{name!r}: leads out of {root}, so it isn't shown.")
    return path


def _encode(pixels: np.ndarray, ending: str) -> bytes:
    jpeg, png = (cv2.IMWRITE_JPEG_QUALITY, 92), (cv2.IMWRITE_PNG_COMPRESSION, 1)
    options = jpeg if ending == ".jpg" else png  # Each warns of the other's.
    _, data = cv2.imencode(ending, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    return data.tobytes()
