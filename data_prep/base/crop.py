"""The crop around a face: one function for training, review and `run.py`."""

import hashlib
import math
from pathlib import PurePosixPath
from typing import Literal

import cv2
import numpy as np

from data_prep.base.records import AnnotatedPhoto, Box

JPEG_QUALITY = 95

CROP_SCALE = 1.5  # Side of the crop as a multiple of the longer side of the box.

Colour = Literal["rgb", "grey"]
"""What a classifier sees of a crop: its colours, or its grey levels in all three channels."""


def crop_face(
    photo: np.ndarray, box: Box, scale: float = CROP_SCALE, most: int | None = None
) -> np.ndarray:
    """Cut a square around a face of a photo (height × width × 3, uint8), as its own memory.

    The side is `scale` (1 or more) × the longer side of the box, rounded to whole pixels, centred
    on the box. Where it would reach over the border it is shifted into the photo; where the photo
    itself is too small it is filled up by reflection. Nothing is squashed, or resized but to `most`
    pixels a side. Raises `ValueError`: the box is empty, not finite, or the scale is under 1.

    >>> crop_face(np.zeros((40, 60, 3), np.uint8), Box(10, 10, 20, 18)).shape
    (15, 15, 3)
    """
    if not all(map(math.isfinite, box)) or box.width <= 0 or box.height <= 0:
        raise ValueError(f"no crop can be cut around the empty box {tuple(box)}")
    if scale < 1:
        raise ValueError(f"crop scale {scale} would cut into the face: use 1 or more")
    height, width = photo.shape[:2]
    side = crop_side(box, scale)
    left, right, x0, x1 = _window((box.xmin + box.xmax) / 2, side, width)
    top, bottom, y0, y1 = _window((box.ymin + box.ymax) / 2, side, height)
    crop = photo[y0:y1, x0:x1]
    if left or right or top or bottom:
        crop = cv2.copyMakeBorder(crop, top, bottom, left, right, cv2.BORDER_REFLECT)
    return crop.copy() if most is None or side <= most else resize_crop(crop, most)


def crop_side(box: Box, scale: float = CROP_SCALE) -> int:
    """Pixels a side of the crop around a face, as it is cut."""
    return max(1, round(scale * max(box.width, box.height)))


def _window(centre: float, side: int, length: int) -> tuple[int, int, int, int]:
    """Pixels to add before and after, and the slice of the photo, along one axis."""
    if side > length:
        before = (side - length) // 2
        return before, side - length - before, 0, length
    start = min(max(round(centre - side / 2), 0), length - side)
    return 0, 0, start, start + side


def resize_crop(crop: np.ndarray, size: int) -> np.ndarray:
    """Bring a square crop (side × side × 3, uint8) to the network's input size.

    Area averaging when shrinking, cubic when enlarging: the two that neither alias nor blur.
    """
    how = cv2.INTER_AREA if crop.shape[0] > size else cv2.INTER_CUBIC
    return cv2.resize(crop, (size, size), interpolation=how)


def fit_crop(crop: np.ndarray, size: int, colour: Colour) -> np.ndarray:
    """What a network is fed of a crop (side × side × 3, uint8, RGB), before standardising.

    It has the size asked for; grey levels (ITU-R BT.601) fill all three channels.
    """
    fitted = resize_crop(crop, size)
    if colour == "rgb":
        return fitted
    return cv2.cvtColor(cv2.cvtColor(fitted, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def crop_name(photo: AnnotatedPhoto, index: int) -> str:
    """File name of a face's crop: readable, unique, and the same in every build."""
    digest = hashlib.sha256(photo.name.encode()).hexdigest()[:8]
    stem = PurePosixPath(photo.image).stem.encode()[:120].decode(errors="ignore")
    return f"{stem}_{index}_{digest}.jpg"


def encode_crop(crop: np.ndarray, quality: int = JPEG_QUALITY) -> bytes:
    """A crop (side × side × 3, uint8, RGB) as the bytes of a JPEG file."""
    # Full chroma resolution: halving it would blur faces of 20 pixels.
    chroma = cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, *chroma]
    return cv2.imencode(".jpg", cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), options)[1].tobytes()
