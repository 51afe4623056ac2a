"""What a photo is compared by, and a file of many."""

import errno
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from data_prep.base.files import writing

WORKING_SIDE = 352  # pixels, longer side of the photo that the features are found in
THUMBNAIL_SIDE = 96  # pixels, longer side of the thumbnail
MAX_FEATURES = 200
MIN_SIDE = 16  # pixels: a smaller photo gets no features
FLAT_DEVIATION = 2.0  # grey levels: below this standard deviation there is nothing to match

# A SIFT descriptor is 4 rows x 4 columns x 8 directions in the feature's own frame; in a mirrored
# photo the rows and the sense of the directions are reversed.
_MIRROR = np.arange(128).reshape(4, 4, 8)[::-1, :, -np.arange(8)].ravel()
_PAIRS = np.stack(np.divmod(np.arange(256), 16), axis=1).astype(np.float32)  # Of a packed byte.


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of a photo to compare it with others; about 20 KB.

    `packed` holds the features' SIFT descriptors as rounded square roots, two 4-bit numbers to a
    byte, the even one high.
    """

    colour: NDArray[np.float32]  # Mean red, green, blue, levels 0-255, (3,).
    thumbnail: NDArray[np.uint8]  # Grey, longer side `THUMBNAIL_SIDE` at most.
    points: NDArray[np.float32]  # Features' x, y in its pixels, 0 at the first's centre, (n, 2).
    packed: NDArray[np.uint8]  # (n, 64).


def _shrink(photo: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The photo with its longer side at `side` pixels, or as it is where that is no smaller."""
    height, width = photo.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return photo
    return resize(photo, (max(1, round(width * factor)), max(1, round(height * factor))))


def describe_photo(photo: NDArray[np.uint8]) -> Fingerprint:
    """What a photo (RGB, height × width × 3, any size from 1 × 1) is compared by.

    A flat or tiny photo has no features.
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
    values = np.take(_PAIRS, packed, axis=0).reshape(-1, 128)
    values /= np.sqrt(np.maximum(np.einsum("ij,ij->i", values, values), 1))[:, None]
    return np.take(values, _MIRROR, axis=1) if mirrored else values


def resize(picture: NDArray[np.uint8], size: tuple[int, ...]) -> NDArray[np.uint8]:
    """In proportion to the areas that pixels cover; the size is width, height."""
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


_HEAD = struct.Struct("<IIHHI3f")  # Checksum, bytes of the note, height, width, features, colour.


class Fingerprints(Sequence[Fingerprint]):
    """Fingerprints in a file, read one at a time: however many there are, they take no memory.

    A record is a note, and a fingerprint or none. Opened again under the same key, as after a kill,
    the file has all records that are whole, and goes on behind them. To be closed at the end.
    """

    def __init__(self, path: Path, key: str = "") -> None:
        """Open the file of the key, or begin it anew; `OutputError`."""
        self.path, self._places, self._count = path, list[int](), 0
        self.notes: list[bytes] = []  # Of the records that were there.
        self.numbers: list[int] = []  # The record that each fingerprint is in.
        with writing(path):
            path.touch()
            self._file = path.open("r+b", buffering=0)  # What is written outlives a kill at once.
        if self._file.readline() != (first := f"{key}\n".encode()):
            self._file.truncate(0)
            self._write(0, first)
        place = self._file.tell()
        while record := self._read(place):
            self._count_in(place, record[1])
            self.notes.append(record[0])
            place = self._file.tell()
        self._file.truncate(place)

    def _count_in(self, place: int, print_: Fingerprint | None) -> None:
        if print_ is not None:
            self.numbers.append(self._count)
            self._places.append(place)
        self._count += 1

    def _write(self, place: int, data: bytes) -> None:
        with writing(self.path):
            self._file.seek(place)
            if self._file.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def append(self, print_: Fingerprint | None, note: bytes = b"") -> None:
        """Add a record; `OutputError`."""
        about, rest = (len(note), 0, 0, 0, 0.0, 0.0, 0.0), note
        if print_ is not None:
            sizes = *print_.thumbnail.shape, len(print_.points)
            about = len(note), *sizes, *print_.colour
            parts = print_.thumbnail, print_.points, print_.packed
            rest = b"".join([note, *(part.tobytes() for part in parts)])
        place, head = self._file.seek(0, os.SEEK_END), _HEAD.pack(0, *about)[4:]
        self._write(place, struct.pack("<I", crc32(rest, crc32(head))) + head + rest)
        self._count_in(place, print_)

    def _read(self, place: int) -> tuple[bytes, Fingerprint | None] | None:
        """The record there; None at the end, and where it is not whole."""
        self._file.seek(place)
        head = self._file.read(_HEAD.size).ljust(_HEAD.size, b"\0")
        checksum, skip, height, width, features, *colour = _HEAD.unpack(head)
        rest, end = self._file.read(skip + height * width + features * 72), skip + height * width
        if crc32(rest, crc32(head[4:])) != checksum:
            return None
        print_ = Fingerprint(
            np.array(colour, np.float32),
            np.frombuffer(rest, np.uint8, height * width, skip).reshape(height, width),
            np.frombuffer(rest, np.float32, features * 2, end).reshape(-1, 2),
            np.frombuffer(rest, np.uint8, features * 64, end + features * 8).reshape(-1, 64),
        )
        return rest[:skip], print_ if height else None

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: Any) -> Any:
        record = self._read(self._places[number])
        return record and record[1]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
