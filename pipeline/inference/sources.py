"""Where frames come from: a photo, a folder walked recursively, a glob, or a list of anything.

Another kind, such as a video or a camera, is another `Source`.
"""

import glob
import math
import os
import re
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, islice, takewhile
from pathlib import Path, PurePosixPath
from threading import Condition, Lock
from typing import Any, Protocol, TypeGuard
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from data_prep.base.errors import UserError
from data_prep.base.photo import MAX_PIXELS, PHOTO_SUFFIXES, PhotoError, photo_size, read_photo
from data_prep.formats.contracts import Format
from data_prep.formats.predictions import FILE, PHOTOS_FILE
from pipeline.inference import addresses
from pipeline.inference.addresses import ADDRESSES, BucketFile, ask_head, fetch, hide_password
from pipeline.inference.records import Frame

ANNOTATED, SUMMARY, JOURNAL = "annotated", "summary.json", ".journal.jsonl"
"""In an output folder: the folder of the drawn photos; counts; what was done so far."""

VIDEO, TRACKS = ".video", "tracks"
"""Likewise: what was seen in videos so far; the clearest crops of persons, beside tracks.csv."""

SAVED = ("json", "crops", "blurred", "gallery")
"""What `--save` writes besides datasets: its name of an output file or folder follows from it."""

SAVED_FILES = {"json": "predictions.json", "gallery": "gallery.html"}  # The others are folders.

SAVE_RECORDS = ".saved"  # Of an output folder: what `--save` wrote there, of which predictions.

WRITTEN = frozenset({FILE, PHOTOS_FILE, SUMMARY, JOURNAL, VIDEO, TRACKS, f"{TRACKS}.csv"})
WRITTEN |= {ANNOTATED, SAVE_RECORDS, *Format, *(SAVED_FILES.get(one, one) for one in SAVED)}
"""Names in an output folder that run.py writes: never an input."""

_VIDEO, _FAR_VIDEO = "a video", "a video in an object store"
OWN, OTHERS, LOST = "written by run.py", "results of another run", "can't be read"

READERS = 2
AHEAD, AHEAD_PIXELS = 16, 48_000_000
"""Photos that are decoded before they are asked for, and the pixels that these hold at most."""

MOST_NAME = 240  # Bytes; file systems take 255, and names get numbers and endings.

ASKERS = 16  # Servers that are asked at a time what an address is.

VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv"}
VIDEO_SUFFIXES |= {".flv", ".ts", ".mts", ".m2ts", ".3gp", ".ogv", ".mjpeg"}
"""File name endings taken for videos when a folder is walked."""

_IMAGES = Lock()  # One that is given twice, or to two threads, must not be loaded by both at once.

_STREAMS = ("rtsp://", "rtsps://", "rtmp://", "srt://", "udp://", "rtp://", "tcp://")
_WILDCARDS = frozenset("*?[")


class PhotosError(UserError, ValueError):
    """Nothing to work on; the message says why."""


Item = str | Path | bytes | np.ndarray | Image.Image | BucketFile
"""A photo: a file or its bytes, an http address, 8-bit RGB or grey, an image, a bucket's file."""


class Source(Protocol):
    """Frames in order. One that can't be read is a frame with an error, never an exception."""

    def __iter__(self) -> Iterator[Frame]: ...


@dataclass(frozen=True)
class PhotoSet:
    """A `Source` of photos that are known by name, and the videos that were found beside them.

    Photos come in the order of `images`, turned upright; threads decode a few of them ahead.
    """

    root: Path  # Names are relative to it.
    images: tuple[str, ...]  # Forward slashes, sorted.
    passed_over: tuple[tuple[str, str], ...] = ()  # Other files and folders, each with the reason.
    salvage: bool = False  # See `read_photo`, and for the next.
    max_pixels: int = MAX_PIXELS
    items: Mapping[str, Item] = field(default_factory=dict)  # Photos not below `root`, by name.
    videos: Mapping[str, str] = field(default_factory=dict)  # Files, addresses, camera numbers.

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Frame]:
        """A frame for each photo; one that can't be read has an `error`."""
        rules = {"salvage": self.salvage, "max_pixels": self.max_pixels}
        found = ((name, self.items.get(name, self.root / name)) for name in self.images)
        return _read_ahead(
            (item, partial(decode_item, item, name, index, **rules))
            for index, (name, item) in enumerate(found)
        )


def list_photos(items: Sequence[Item]) -> PhotoSet:
    """Photos of any kind, in order, under their own names, with folders where those differ."""
    files = [os.path.abspath(item) for item in items if is_file(item)]  # noqa: PTH100  Without "..".
    root = os.path.commonpath(map(os.path.dirname, files)) if files else ""
    named: dict[str, Item] = {}
    for index, item in enumerate(items):
        name = ""
        if is_file(item):
            name = Path(os.path.relpath(item or ".", root)).as_posix()
        elif isinstance(item, str):
            name = PurePosixPath(re.split("[?#]", item)[0].replace("\\", "/")).name
            name = _fit_name(name).lstrip(".")
        named[_name_apart(name or f"{index}.png", named, index)] = item
    return PhotoSet(Path(root), tuple(named), items=named)


def is_file(item: Item) -> TypeGuard[str | Path]:
    """Whether a photo is given by the name of a file."""
    return isinstance(item, Path) or (isinstance(item, str) and not item.startswith(ADDRESSES))


def _read_ahead(tasks: Iterable[tuple[Item, Callable[[], Frame]]]) -> Iterator[Frame]:
    """What the tasks on some items give, in order, read by threads."""
    room = Condition()
    held = asked = 0  # Pixels read or being read; the place whose turn it is, -1 at the end.

    def read(place: int, task: tuple[Item, Callable[[], Frame]]) -> tuple[Frame, int]:
        nonlocal held
        pixels = 0
        with suppress(PhotoError):
            pixels = math.prod(photo_size(Path(task[0]))) if is_file(task[0]) else 0
        with room:
            room.wait_for(lambda: held + pixels <= AHEAD_PIXELS or asked in {place, -1})
            held += pixels
        frame = Frame("") if asked < 0 else task[1]()
        real = math.prod(frame.size)
        with room:  # Of what is fetched, the size is known only now.
            held += real - pixels
        return frame, real

    pending: deque[Future[tuple[Frame, int]]] = deque()
    readers, places = ThreadPoolExecutor(READERS), enumerate(tasks)
    try:
        for turn in count():
            pending += [readers.submit(read, *one) for one in islice(places, AHEAD - len(pending))]
            if not pending:
                return
            with room:
                asked = turn
                room.notify_all()
            frame, pixels = pending.popleft().result()
            with room:
                held -= pixels
                room.notify_all()
            yield frame
    finally:  # Where the consumer stops before the end, what is not begun need not be read.
        with room:
            asked = -1
            room.notify_all()
        # Not waited for: the garbage collector may end this in any thread, a reader among them.
        readers.shutdown(wait=False, cancel_futures=True)


def decode_item(item: Item, name: str, index: int = 0, **rules: Any) -> Frame:
    """A photo of any kind turned upright, or a frame that says what is wrong; see `read_photo`."""
    from pipeline.nets.learnt import fingerprint_photo  # Here, for `import trimask` to be quick.

    frame, began = Frame(name, index, stamp=stamp_of(item)), time.perf_counter()
    if isinstance(item, BucketFile):
        try:
            with tempfile.TemporaryDirectory() as folder:
                copy = item.fetch(Path(folder))
                read = decode_item(copy, name, index, **rules)
            error = read.error.replace(str(copy), str(item))
            return replace(read, stamp=frame.stamp, error=error)
        except OSError as why:
            return replace(frame, error=f"{item}: can't be fetched ({why}).")
    try:
        content, told = _open(item, name)
        with _IMAGES if isinstance(content, Image.Image) else nullcontext():
            photo = read_photo(content, name=told, upright=True, **rules)
        mark = fingerprint_photo(photo.pixels, Path(item) if is_file(item) else None)
    except (PhotoError, OSError) as why:
        return replace(frame, error=spell(str(why)), seconds=time.perf_counter() - began)
    known: dict[str, Any] = {"orientation": photo.orientation, "salvaged": photo.salvaged}
    known |= {"pixels": photo.pixels, "fingerprint": mark}
    return replace(frame, seconds=time.perf_counter() - began, **known)


def _open(item: Item, name: str) -> tuple[Path | bytes | Image.Image, str]:
    """A photo as `read_photo` takes it, and how messages call it."""
    if is_file(item):
        if spell(name) != name:
            raise PhotoError(f"{item}: the file's name is not valid UTF-8; rename it.")
        return Path(item), name
    if isinstance(item, str):
        return fetch(item), hide_password(item)
    if isinstance(item, np.ndarray):
        try:
            if item.ndim < 2:
                raise ValueError("a row of numbers")
            grey = item.ndim == 3 and item.shape[2] == 1  # As OpenCV's functions may leave it.
            return Image.fromarray(item[..., 0] if grey else item), name
        except (TypeError, ValueError) as error:
            what = f"{name}: an array of {item.dtype} and shape {item.shape} is no photo"
            raise PhotoError(f"{what}; give height × width × 3, uint8, RGB.") from error
    if not isinstance(item, bytes | Image.Image):
        what = f"{name}: of type {type(item).__name__}, which is no photo"
        raise PhotoError(
            f"{what}; give a path, an address, an array, a PIL image, bytes, or a list."
        )
    return item, name


def stamp_of(item: Item) -> tuple[int, int]:
    """Size in bytes and time of change (ns) of a file; -1 when it is gone or is none."""
    if not is_file(item):
        return getattr(item, "stamp", (-1, -1))
    try:
        stat = Path(item).stat()
    except (OSError, ValueError):  # The latter of a name that no file can have.
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def spell(name: str) -> str:
    """A name as it can be written; those of old archives may be in another encoding."""
    return os.fsencode(name).decode(errors="replace")


def find_photos(photos: str, *, leave_out: Path | None = None) -> PhotoSet:
    """Find the photos and videos behind a file, a folder, a glob (`**` reaches into folders), an
    address (of an object store, too), a text file with addresses, or the number of a camera.

    What exists under the very name is taken before it is read as a glob. What run.py wrote into the
    output folder `leave_out` is not there to work on.
    Raises `PhotosError`: nothing there, or the output would fall on the photos themselves.
    """
    if not photos.strip():
        raise PhotosError(
            "photos are given by an empty name; a folder is named '.' or by its path."
        )
    if photos.startswith(addresses.BUCKETS):
        place, items = addresses.list_bucket(photos)
        told = [(name, _why_not(None, name, ()).replace(_VIDEO, _FAR_VIDEO)) for name in items]
        return replace(_choose(photos, place, told), items=items)
    path = Path(photos)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
        if is_file and path.suffix.lower() == ".txt":
            text = path.read_text(encoding="utf-8-sig")
            if "\0" in text:  # As UTF-16 without a mark has beside each letter.
                raise PhotosError(f"{photos}: no text in UTF-8; save it as such.")
            return list_lines(text.splitlines(), photos, path.parent)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise PhotosError(f"{photos}: can't be read ({why}).") from error
    if photos.startswith((*ADDRESSES, *_STREAMS)):
        return list_lines([photos], photos, path)
    if photos.isdecimal() and len(photos) < 4 and not (is_file or is_folder):
        return PhotoSet(Path(), (), videos={f"camera-{photos}": photos})
    root = path.parent if is_file else path
    if not (is_file or is_folder):
        if _WILDCARDS.isdisjoint(photos):
            raise PhotosError(f"{photos}: no such file or folder.")
        root = Path(*takewhile(_WILDCARDS.isdisjoint, path.parts))
    own = {os.path.realpath(leave_out / name) for name in WRITTEN} if leave_out else set()
    for folder in (root.resolve(), *root.resolve().parents):
        if str(folder) in own:
            raise PhotosError(f"{photos}: lies in {folder}, where results go; choose another -o.")
    if is_file and path.suffix.lower() in VIDEO_SUFFIXES:
        return PhotoSet(root, (), videos={path.name: str(path)})
    if is_file:
        return PhotoSet(root, (path.name,))
    names: Iterable[tuple[str, str]]
    if is_folder:
        names = _walk(path, own)
    else:
        matches = [Path(name) for name in glob.glob(photos, recursive=True)]  # noqa: PTH207
        names = ((p.relative_to(root).as_posix(), "") for p in matches if not p.is_dir())
    found = [(name, reason or _why_not(root, name, own)) for name, reason in names]
    return _choose(photos, root, found)


def _choose(photos: str, root: Path, found: Sequence[tuple[str, str]]) -> PhotoSet:
    """Those of the files found that are photos or videos, each with the reason if it is neither."""
    images = sorted(name for name, reason in found if not reason)
    videos = sorted(name for name, reason in found if reason == _VIDEO)
    passed_over = sorted((spell(name), why) for name, why in found if why not in {"", OWN, _VIDEO})
    if not (images or videos):
        known = ", ".join(sorted(PHOTO_SUFFIXES))
        others = f" Passed over: {count_reasons(passed_over)}." if passed_over else ""
        raise PhotosError(f"{photos}: no photos ({known}) in there.{others}")
    places = {name: str(root / name) for name in videos}
    return PhotoSet(root, tuple(images), tuple(passed_over), videos=places)


def find_only_photos(photos: str, leave_out: Path | None = None) -> PhotoSet:
    """As `find_photos`; where there are videos alone that is an error, too."""
    found = find_photos(photos, leave_out=leave_out)
    if not found.images:
        raise PhotosError(f"{photos}: only videos in there; photos are needed.")
    return found


def list_lines(lines: Sequence[str], source: str, folder: Path) -> PhotoSet:
    """Photos and videos at addresses, and files relative to a folder; `#` begins a remark.

    An address without an ending of either is asked what it is. Raises `PhotosError`: none given.
    """
    places = [line for line in map(str.strip, lines) if line and not line.startswith("#")]
    if not places:
        raise PhotosError(f"{source}: no addresses or files in there.")
    with ThreadPoolExecutor(ASKERS) as pool:
        films = list(pool.map(_is_video, places))
    items: list[Item] = []
    videos: dict[str, str] = {}
    for number, (place, film) in enumerate(zip(places, films, strict=True), start=1):
        is_address, name = place.startswith((*ADDRESSES, *_STREAMS)), Path(place).name
        if not film:
            items.append(place if is_address else folder / place)
            continue
        if is_address:
            parts = urlsplit(place)
            name = re.sub(r"[^\w.-]+", "-", f"{parts.hostname}{parts.path}").strip("-.")
        name = _name_apart(_fit_name(name), videos, number)
        videos[name] = place if is_address else str(folder / place)
    return replace(list_photos(items), videos=videos)


def _is_video(place: str) -> bool:
    """Whether a video is there, as its ending says, or else the server."""
    with suppress(ValueError):
        path = urlsplit(place).path if "://" in place else place
        ending = PurePosixPath(path).suffix.lower()
        if ending in VIDEO_SUFFIXES or place.startswith(_STREAMS):
            return True
        if place.startswith(ADDRESSES) and ending not in PHOTO_SUFFIXES:
            # Of a server that says nothing it is told later why no photo can be had.
            kind = ask_head(place).get("content-type", "image/")
            return not kind.startswith(("image/", "text/"))  # The latter of a page to log in, say.
    return False


def _fit_name(name: str) -> str:
    """The end of a name, where it is longer than those of files may be."""
    return os.fsencode(name)[-MOST_NAME:].decode(errors="ignore")


def _name_apart(name: str, taken: Container[str], number: int) -> str:
    """A name that is not taken, by a number before it."""
    while name in taken:
        name = f"{number}-{PurePosixPath(name).name}"
    return name


def _walk(root: Path, own: Container[str]) -> Iterator[tuple[str, str]]:
    """Files below a folder; folders that are not entered, each with the reason."""
    failed: list[OSError] = []
    for folder, folders, files in os.walk(root, onerror=failed.append):
        below = Path(folder).relative_to(root).as_posix()
        start = "" if below == "." else f"{below}/"
        yield from ((start + name, "") for name in files)
        for name in folders.copy():
            link = "a link to a folder" if Path(folder, name).is_symlink() else ""
            others = OTHERS if JOURNAL in files and name in WRITTEN else ""
            reason = _why_not(root, start + name, own, folder=True) or others or link
            if reason:
                folders.remove(name)
                yield f"{start}{name}/", reason
    for error in failed:
        name = Path(error.filename).relative_to(root).as_posix()
        yield f"{name}/", f"{LOST} ({error.strerror})"


def _why_not(root: Path | None, name: str, own: Container[str], *, folder: bool = False) -> str:
    """Why a file or folder holds no photo to work on, or ""; no root where files are no disk's."""
    parts = name.split("/")
    for place, part in enumerate(parts):
        if root and part in WRITTEN and os.path.realpath(root.joinpath(*parts[: place + 1])) in own:
            return OWN
    if any(part.startswith(".") for part in parts):
        return "hidden"
    if folder:
        return ""
    suffix, is_there = PurePosixPath(name).suffix.lower(), not root or (root / name).is_file()
    if suffix in VIDEO_SUFFIXES and is_there:
        return _VIDEO
    if suffix not in PHOTO_SUFFIXES:
        return f"ending {suffix}" if suffix else "no ending"
    return "" if is_there else "no file"


def count_reasons(passed_over: Iterable[tuple[str, str]]) -> str:
    """What was passed over, counted by reason, the most frequent first."""
    counts = Counter(reason for _, reason in passed_over)
    return ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
