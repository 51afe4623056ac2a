"""The one loader of photos for every stage."""

import io
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from stat import S_ISDIR, S_ISREG

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from data_prep.base.boxes import ORIENTATIONS, UPRIGHT, turn_box_back, turn_size
from data_prep.base.errors import UserError
from data_prep.base.records import SALVAGED, AnnotatedPhoto, Finding

PHOTO_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"),
        *(".avif", ".jp2", ".ppm", ".pgm", ".pbm"),
    }
)
"""File name endings taken for photos when a folder is walked."""

# Pillow warns of large or oddly tagged files that it decodes all the same. Once for all, since
# `catch_warnings` around each photo is not safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")

# Of 16 MB, kept for the next photo: to get new ones may take as long as decoding does.
Image.core.set_blocks_max(8)

Size = tuple[int, int]  # Width and height in pixels.

DECODERS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM")
"""Formats that are decoded, by Pillow's names: others run programs, or are seldom tried."""
_MODULES = {"WEBP": "WebP", "JPEG2000": "Jpeg2K"}

MAX_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)
"""More than so many are no photo: 178,956,970, where Pillow stops."""

TOO_LARGE = "too many pixels"

MAX_BYTES = 2_000_000_000  # More are no photo, either: some system files say that they hold these.

STRIP = 1 << 18  # Pixels that are converted at once: Pillow's copies of more leave the cache.

_ORIENTATION_TAG = 0x0112
_JPEG, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


class PhotoError(UserError, ValueError):
    """A photo that can't be read; the message names the file and the reason."""


@dataclass(frozen=True)
class Photo:
    """A decoded photo: height × width × 3, uint8, RGB; `upright` if turned by its `orientation`."""

    pixels: np.ndarray
    orientation: int
    upright: bool
    salvaged: int = 0  # Stored rows that are there of a photo that lacks its end; 0 if it is whole.

    @property
    def size(self) -> Size:
        """Of `pixels`."""
        return int(self.pixels.shape[1]), int(self.pixels.shape[0])


def check_file(path: Path) -> None:
    """Refuse what is no file to read, without opening it: pipes and devices would never end.

    Raises `PhotoError`: it is missing, empty, too large, or no file.
    """
    try:
        stat = path.stat()
    except (OSError, ValueError) as error:  # The latter of a name that no file can have.
        why = getattr(error, "strerror", None) or error
        raise PhotoError(f"{path}: can't be read ({why}).") from error
    if S_ISDIR(stat.st_mode):
        raise PhotoError(f"{path}: can't be read (Is a directory).")
    if not S_ISREG(stat.st_mode):
        raise PhotoError(f"{path}: a device or a pipe, no photo.")
    if not stat.st_size:
        raise PhotoError(f"{path}: the file is empty (0 bytes); copy it again from its source.")
    if stat.st_size > MAX_BYTES:
        raise PhotoError(f"{path}: of {stat.st_size / 1e9:.1f} GB, too large to be a photo.")


def read_photo(
    content: Path | bytes | Image.Image,
    name: object = None,
    *,
    upright: bool = False,
    fit_size: Size | None = None,
    salvage: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Photo:
    """Read a photo as 8-bit RGB, turned as its EXIF orientation says if it is to be `upright`.

    It is a file, the bytes of one, or what Pillow has opened; messages call these by `name`.
    Grey, palette, CMYK, 16-bit and 32-bit photos are converted; transparent pixels are laid on
    white; of an animation the first frame is taken. Without `upright` pixels are as stored, unless
    only the turned photo has `fit_size`, the (width, height) that annotations refer to. With
    `salvage` a JPEG that lacks its end has grey rows there. Devices and pipes are not opened.
    Raises `PhotoError`: it is missing, empty, truncated, no photo, or of more pixels.
    """
    if isinstance(content, Path):
        name = content
        check_file(content)
        try:
            content = content.read_bytes()
        except OSError as error:
            raise PhotoError(f"{name}: can't be read ({error.strerror or error}).") from error
    try:
        image = _open(io.BytesIO(content)) if isinstance(content, bytes) else content
        if not image.width * image.height:
            raise ValueError(f"{image.width} × {image.height} pixels")
        if image.width * image.height > max_pixels:
            raise Image.DecompressionBombError(f"{image.width} × {image.height}")
        stored, orientation = _measure(image)
        if not upright and fit_size is not None:
            upright = _only_fits_turned(stored, orientation, fit_size)
        if orientation != UPRIGHT and _turns_itself(image):
            image.load()
            image = image if upright else image.transpose(_BACK[orientation])
        elif orientation != UPRIGHT and upright:
            image = ImageOps.exif_transpose(image)
        pixels = _to_rgb(image)
    except UnidentifiedImageError as error:
        told = _identify(content) or "not a photo in a known format; check the file."
        raise PhotoError(f"{name}: {told}") from error
    except Image.DecompressionBombError as error:
        raise PhotoError(f"{name}: {TOO_LARGE} to be a photo ({error}).") from error
    except Exception as error:  # Decoders raise anything on damaged files and damaged EXIF data.
        if salvage and isinstance(content, bytes) and content.startswith(_JPEG):
            # With the end that it lacks, the decoder gives the rows there are, the rest grey.
            whole = content + _JPEG_END
            if rows := _count_rows(read_photo(whole, name).pixels):
                ended = read_photo(whole, name, upright=upright, fit_size=fit_size)
                return replace(ended, salvaged=rows)
        hint = "copy it again from its source."
        raise PhotoError(f"{name}: damaged or truncated ({error}); {hint}") from error
    return Photo(pixels, orientation, upright)


@dataclass(frozen=True)
class PhotoFrame:
    """The pixels that annotations refer to; `upright` if they are first turned by the EXIF tag."""

    size: Size
    orientation: int
    upright: bool


def read_frame(path: Path | io.BytesIO, *, fit_size: Size | None = None) -> PhotoFrame:
    """The pixels that annotations refer to, from the header alone; see `read_photo`."""
    if isinstance(path, Path):
        check_file(path)
    try:
        with _open(path) as image:
            size, orientation = _measure(image)
            turns = fit_size is not None and _only_fits_turned(size, orientation, fit_size)
            return PhotoFrame(size[::-1] if turns else size, orientation, turns)
    except Exception as error:
        told = _identify(path) or f"not a readable photo ({error})."
        raise PhotoError(f"{path}: {told}") from error


def photo_size(path: Path | io.BytesIO, *, fit_size: Size | None = None) -> Size:
    """Width and height in pixels, from the header alone; see `read_frame`."""
    return read_frame(path, fit_size=fit_size).size


def upright_size(path: Path) -> Size:
    """Width and height of a photo as it is looked at, to which relative coordinates refer."""
    frame = read_frame(path)
    return turn_size(*frame.size, frame.orientation)


def keep_shown(photo: AnnotatedPhoto, decoded: Photo) -> tuple[AnnotatedPhoto, list[Finding]]:
    """A photo with the faces that the rows there are show, if it lacks its end; findings say so."""
    if not decoded.salvaged:
        return photo, []
    turn = decoded.orientation if decoded.upright else UPRIGHT
    stored = turn_size(*decoded.size, turn)
    ends = [turn_box_back(face.box, *stored, turn).ymax for face in photo.faces]
    shown = tuple(f for f, end in zip(photo.faces, ends, strict=True) if end <= decoded.salvaged)
    lost = len(photo.faces) - len(shown)
    message = f"{photo.name}: lacks its end; {decoded.salvaged} of {stored[1]} rows are there."
    findings = [Finding(photo.name, SALVAGED, message)]
    if lost:
        message = f"{photo.name}: {lost} of its faces reach into the rows that are lost; left out."
        findings.append(Finding(photo.name, "lost-faces", message, dropped=True))
    return replace(photo, faces=shown, left_out=photo.left_out + lost), findings


def _open(file: Path | io.BytesIO) -> Image.Image:
    known = list_formats().values()
    return Image.open(file, formats=[name for name in DECODERS if name in known])


@cache
def list_formats() -> dict[str, str]:
    """Those of `DECODERS` that this system has, by endings of file names; others stay unloaded."""
    for name in DECODERS:
        import_module(f"PIL.{_MODULES.get(name, name.capitalize())}ImagePlugin")
    return {ending: name for ending, name in Image.EXTENSION.items() if name in DECODERS}


_OTHERS = (
    (rb"(?s).{4}ftyp(hei|hev|mif1|msf1)", "a HEIC photo, whatever its ending; write it as JPEG."),
    (rb"(?s).{4}ftyp(?!avi)|RIFF.{4}AVI |\x1aE\xdf\xa3", "a video, no photo; run.py takes it."),
    (rb"version https://git-lfs", "a pointer of Git LFS, no photo; get the photo: git lfs pull."),
    (rb"\s*<(!doctype|html|\?xml|svg)", "a web page or a drawing, no photo; get the photo itself."),
)
"""How files that are saved under the names of photos start."""


def _identify(content: object) -> str:
    """What a file, or its bytes, is instead of a photo; "" if it isn't known."""
    start = content if isinstance(content, bytes) else b""
    if isinstance(content, Path):
        with suppress(OSError), content.open("rb") as file:
            start = file.read(64)
    return next((told for form, told in _OTHERS if re.match(form, start, re.IGNORECASE)), "")


def _measure(image: Image.Image) -> tuple[Size, int]:
    """Width and height of the photo as stored, and its EXIF orientation."""
    value = image.getexif().get(_ORIENTATION_TAG, UPRIGHT)
    orientation = value if isinstance(value, int) and value in ORIENTATIONS else UPRIGHT
    # Of an orientation in XMP alone it turns the pixels, but does not give the sides so.
    told_turned = _turns_itself(image) and _ORIENTATION_TAG in image.tag_v2  # type: ignore[attr-defined]
    return turn_size(*image.size, orientation) if told_turned else image.size, orientation


def _turns_itself(image: Image.Image) -> bool:
    """Whether Pillow gives the sides of the upright photo, and turns the pixels as it loads it."""
    return image.format == "TIFF"


_BACK = {
    **{2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180},
    **{4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE},
    **{6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270},
}
"""How a photo turned upright by an orientation is as stored again."""


def _count_rows(pixels: np.ndarray) -> int:
    """Rows above those at the end that are all alike; all, if only the last is like itself."""
    others = np.flatnonzero((pixels != pixels[-1]).any(axis=(1, 2)))
    rows = int(others[-1]) + 1 if len(others) else 0
    return len(pixels) if rows == len(pixels) - 1 else rows


def _only_fits_turned(stored: Size, orientation: int, fit_size: Size) -> bool:
    return stored != fit_size and turn_size(*stored, orientation) == fit_size


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        return _grey_to_rgb(image)
    clear = image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        part = image.crop((0, top, image.width, min(top + rows, image.height)))
        if clear:
            ground = Image.new("RGBA", part.size, (255, 255, 255, 255))
            part = Image.alpha_composite(ground, part.convert("RGBA"))
        rgb[top : top + rows] = np.asarray(part if part.mode == "RGB" else part.convert("RGB"))
    return rgb


def _grey_to_rgb(image: Image.Image) -> np.ndarray:
    """Grey of more bits, or floats, in 8: by the least usual range that holds all, or their own."""
    values = np.asarray(image)
    grey = np.where(np.isfinite(values), values, 0).astype(np.float64)
    low, top = min(grey.min(), 0.0), 65535.0
    if values.dtype.kind == "f" or (image.format in {"TIFF", None} and values.dtype.itemsize == 4):
        usual = (1.0, 255.0, top) if values.dtype.kind == "f" else (255.0, top)
        top = next((end for end in usual if low == 0 and grey.max() <= end), grey.max() - low)
    eight_bit = np.clip(np.rint((grey - low) * (255.0 / (top or 1.0))), 0, 255).astype(np.uint8)
    return np.repeat(eight_bit[:, :, None], 3, axis=2)
