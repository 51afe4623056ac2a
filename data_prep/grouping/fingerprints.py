"""What is kept of a photo to find its near-duplicates.

A photo is decoded and described once, in any process; fingerprints are then compared in another.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

WORKING_SIDE = 352  # pixels, longer side of the photo that the features are found in
THUMBNAIL_SIDE = 96  # pixels, longer side of the thumbnail
MAX_FEATURES = 200
MIN_SIDE = 16  # pixels: a smaller photo gets no features
FLAT_DEVIATION = 2.0  # grey levels: below this standard deviation there is nothing to match

# A SIFT descriptor is 4 rows x 4 columns x 8 directions in the feature's own frame; in a mirrored
# photo the rows and the sense of the directions are reversed.
_MIRROR = np.arange(128).reshape(4, 4, 8)[::-1, :, -np.arange(8)].ravel()


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of a photo to compare it with others; about 20 KB.

    Attributes:
        colour: Mean red, green, blue, levels 0-255, shape (3,), float32.
        thumbnail: Grey photo, longer side `THUMBNAIL_SIDE` at most, uint8.
        points: Features' x, y in thumbnail pixels, 0 at the first pixel's centre, shape (n, 2),
            float32, n at most `MAX_FEATURES`.
        packed: Features' SIFT descriptors as rounded square roots, two 4-bit numbers to a byte
            (the even one high), shape (n, 64), uint8.
    """

    colour: NDArray[np.float32]
    thumbnail: NDArray[np.uint8]
    points: NDArray[np.float32]
    packed: NDArray[np.uint8]


def _shrink(photo: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The photo with its longer side at `side` pixels, or as it is where that is no smaller."""
    height, width = photo.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return photo
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)


def describe_photo(photo: NDArray[np.uint8]) -> Fingerprint:
    """Describe a photo for the search for near-duplicates.

    Args:
        photo: RGB, shape (height, width, 3), any size from 1x1.

    Returns:
        The photo's fingerprint; a flat or tiny photo has no features.
    """
    working = _shrink(photo, WORKING_SIDE)
    grey = np.asarray(cv2.cvtColor(working, cv2.COLOR_RGB2GRAY), np.uint8)
    thumbnail = _shrink(grey, THUMBNAIL_SIDE)
    points, packed = np.zeros((0, 2), np.float32), np.zeros((0, 64), np.uint8)
    if min(grey.shape) >= MIN_SIDE and thumbnail.std() >= FLAT_DEVIATION:
        features, values = cv2.SIFT.create(nfeatures=MAX_FEATURES).detectAndCompute(grey, None)
        if features:
            places = np.array([feature.pt for feature in features[:MAX_FEATURES]])
            scale = np.array(thumbnail.shape[::-1]) / np.array(grey.shape[::-1])
            points = ((places + 0.5) * scale - 0.5).astype(np.float32)
            roots = np.minimum(np.round(np.sqrt(values[:MAX_FEATURES])), 15).astype(np.uint8)
            packed = np.asarray((roots[:, 0::2] << 4) | roots[:, 1::2], np.uint8)
    colour = np.array(cv2.mean(working)[:3], np.float32)
    return Fingerprint(colour, thumbnail, points, packed)


def unpack_descriptors(packed: NDArray[np.uint8], mirrored: bool = False) -> NDArray[np.float32]:
    """Descriptors of unit length, shape (n, 128), as of the mirrored photo if asked."""
    values = np.stack([packed >> 4, packed & 15], axis=2).reshape(-1, 128).astype(np.float32)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1)
    return values[:, _MIRROR] if mirrored else values
