"""Files and folders of results: nothing half-written counts, no file of others is touched."""

import codecs
import errno
import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

from filelock import lock_descriptor

from data_prep.base.errors import DatasetError, OptionError, UserError
from data_prep.base.progress import show_progress
from data_prep.base.records import AnnotatedPhoto, Finding

STAGING = ".staging"


class OutputError(UserError, OSError):
    """An output that can't be written; the message names it and what to do."""


def as_path(name: str, value: object) -> Path:
    """A path given from Python; an `OptionError` names the argument where it can be none."""
    if not isinstance(value, (str, os.PathLike)) or value == "":
        raise OptionError(f"{name}={value!r}: give a path.")
    try:
        with suppress(FileNotFoundError, NotADirectoryError, ValueError):
            os.stat(value)  # noqa: PTH116  # Path.exists() of newer Pythons raises nothing.
    except OSError as error:  # A name that is too long, or below what may not be entered.
        raise OptionError(f"{name}={os.fspath(value)!r}: {error.strerror}.") from error
    return Path(value)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tell, as an `OutputError`, what can't be written; a `UserError` from inside says more."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise output_error(path, error) from error


PART = ".trimask-part"  # Ends the names of files that are being written.


@contextmanager
def open_atomically(path: Path) -> Iterator[TextIO]:
    """A text file under another name, renamed at the end; `OutputError` leaves what was there."""
    temporary = path.with_name(f".{path.name[:40]}.{uuid4().hex[:8]}{PART}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8", newline="") as file:
                yield file
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a whole file like `open_atomically`."""
    with open_atomically(path) as file:
        file.buffer.write(data.encode() if isinstance(data, str) else data)


def make_folder(path: Path) -> None:
    """Make an output folder before long work, so that what can't be written fails early."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Hold an output folder, made if need be, for one command at a time; a kill lets go of it.

    Gone afterwards if it is new and nothing is in it. Files that a killed run left half-written are
    swept first. Held by flock of the folder itself (on Windows of a file among the temporary ones),
    where the file system knows such locks. Raises `OutputError`: another command holds it, or it
    can't be written.
    """
    is_new = not folder.exists()
    make_folder(folder)
    path, flags = folder, os.O_RDONLY
    if os.name == "nt":  # Folders can't be opened there.
        digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        path, flags = Path(tempfile.gettempdir(), f"trimask-{digest}.lock"), os.O_RDWR | os.O_CREAT
    handle = os.open(path, flags)
    is_free = True
    try:
        with suppress(OSError):  # Of file systems without such locks.
            is_free = lock_descriptor(handle, blocking=False)
        if not is_free:
            why = "another command is writing into it; let it end first, or choose another folder."
            raise OutputError(f"{folder}: {why}")
        for left in folder.rglob(f".*{PART}"):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
        yield
    finally:
        if is_new and is_free:
            with suppress(OSError):
                folder.rmdir()  # Should nothing have been written.
        os.close(handle)


def write_json(path: Path, record: Any) -> None:
    """Write a record as indented JSON, keys as given, refusing NaN."""
    write_atomically(path, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object that an earlier run wrote; None when there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def decode_text(data: bytes) -> str:
    """Text in UTF-8, or in UTF-16 where a byte order mark says so; else a `UnicodeDecodeError`.

    A zero byte is in no text, but in that of UTF-16 without a mark.
    """
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if not is_utf16 and (wrong := data.find(b"\0")) >= 0:
        raise UnicodeDecodeError("utf-8", data, wrong, wrong + 1, "a zero byte")
    return data.decode("utf-16" if is_utf16 else "utf-8-sig")


def output_error(path: Path, error: OSError) -> OutputError:
    """What can't be written, why, and what to do."""
    in_way = isinstance(error, FileExistsError | NotADirectoryError)
    reason = "a file is in the way" if in_way else error.strerror or str(error)
    space = "free some space or " if error.errno == errno.ENOSPC else ""
    return OutputError(f"{path}: can't be written ({reason}); {space}choose another output folder.")


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_dataset_folders(
    folders: Iterable[Path], roots: Iterable[Path], *, around: bool = False
) -> None:
    """Refuse to write into a dataset, or around one unless `around`, wherever links lead."""
    targets = {folder: folder.resolve() for folder in sorted(set(folders))}
    for root in (root.resolve() for root in roots):
        for folder, target in targets.items():
            if target.is_relative_to(root) or (root.is_relative_to(target) and not around):
                hint = "where nothing is ever written; choose another folder with -o."
                raise OutputError(f"{folder}: meets the dataset {root}, {hint}")


RECORDS = frozenset(
    {"manifest.json", "faces.csv", "crops", "audit.json", "audit.html", "merge.json", "run.json"}
    | {"fetched.json", "convert.json", "metrics.json", "predictions.csv", "suspects.csv"}
    | {"sweep.csv", "clean-effect.json", "export.json"}
)
"""By these names a folder tells which command wrote it."""


UNSEEN = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""What systems lay into folders that people look at."""


def refuse_other_files(
    out: Path,
    record: str,
    option: str = "-o",
    *,
    mark: str | None = "inputs",
    parts: str = "",
    beside: bool = False,
) -> None:
    """Refuse a folder with files but without the record that marks it as written here.

    Another file may be called like the record: `mark` is a key that all of this kind have; None for
    a record that is no JSON. `parts` are, as a pattern, what a stopped command leaves without one.
    With `beside` files of the user may lie there, and only what another command wrote is refused.
    """
    why, strange = None, {path.name for path in out.iterdir()} - UNSEEN if out.is_dir() else set()
    strange = strange & RECORDS if beside else strange
    if (out / record).is_file():
        if mark is not None and mark not in (read_object(out / record) or {}):
            why = f"{out / record}: was not written by this command; choose another folder with"
    elif strange and not (parts and any(out.rglob(parts))):
        why = f"{out}: holds other files; choose an empty or a new folder with"
    elif out.exists() and not out.is_dir():
        why = f"{out}: is a file; choose a folder with"
    if why is not None:
        raise OutputError(f"{why} {option}.")


def refuse_other_table(path: Path, columns: Iterable[str], what: str) -> None:
    """Refuse to write over what is no CSV that begins with these columns."""
    own = ",".join(columns).encode()
    if path.exists() and not (path.is_file() and path.read_bytes().startswith(own)):
        raise OutputError(f"{path}: is there, but no table of {what}; choose another with -o.")


def remove_written(root: Path, name: str) -> None:
    """Remove a file that an earlier run wrote below a folder, and folders that it leaves empty."""
    path = root / name
    # A record that someone edited, or a link, must not lead out of the folder.
    if not path.parent.resolve().is_relative_to(root.resolve()):
        return
    path.unlink(missing_ok=True)
    with suppress(OSError):  # The first that is not empty ends it.
        for folder in itertools.takewhile(lambda folder: folder != root, path.parents):
            folder.rmdir()


@dataclass(frozen=True)
class Outcome:
    """What a command that writes a folder did: its record, and findings, none when `up_to_date`."""

    record: dict[str, Any]
    findings: tuple[Finding, ...]
    up_to_date: bool


@dataclass(frozen=True)
class OutputFolder:
    """A folder that appears whole or not at all, and knows what was written into it.

    Its record is a JSON object that has `inputs`, a hash of all that the results depend on;
    `files`, the SHA-256 of each file; and `photos`, the bytes of each photo.
    """

    path: Path
    record: str

    def read_record(self) -> dict[str, Any] | None:
        """The record of the last run; None when there is none that can be read."""
        return read_object(self.path / self.record)

    def find_whole(self, inputs: str) -> dict[str, Any] | None:
        """The record of the last run if it had the same inputs and all it wrote is there.

        Raises `OutputError`: a file was changed since: it would be lost by writing again.
        """
        record = self.read_record()
        if record is None or record.get("inputs") is None:
            return None
        whole = record["inputs"] == inputs
        for path, digest in ((self.path / name, told) for name, told in record["files"].items()):
            if path.is_file() and sha256_of(path) != digest:
                hint = "move it away, or choose another folder with -o."
                raise OutputError(f"{path}: was changed after it was written; {hint}")
            whole &= path.is_file()
        for path, size in ((self.path / name, told) for name, told in record["photos"].items()):
            whole = whole and path.is_file() and path.stat().st_size == size
        return record if whole else None

    @contextmanager
    def stage(self, keep: str = "") -> Iterator[Path]:
        """A folder inside this one to write to first; it is removed in the end.

        Meanwhile this one is held, see `hold_folder`; it goes, too, if it is new and nothing came
        into it. What is called `keep` in the inner one outlives a kill and Ctrl-C until next time.
        """
        is_new = not self.path.exists()
        staging, is_kept = self.path / STAGING, False
        with hold_folder(self.path), writing(self.path):
            try:
                for left in staging.glob("*"):
                    if left.name != keep:
                        shutil.rmtree(left) if left.is_dir() else left.unlink()
                if self.read_record() is None:
                    # First of all, so that what a killed run leaves is known for ours.
                    write_json(self.path / self.record, {"inputs": None})
                staging.mkdir(parents=True, exist_ok=True)
                yield staging
            except KeyboardInterrupt:
                is_kept = bool(keep)
                raise
            finally:
                if not is_kept:
                    shutil.rmtree(staging, ignore_errors=True)
                if not is_kept and is_new and (self.read_record() or {}).keys() == {"inputs"}:
                    (self.path / self.record).unlink()

    def swap_in(self, staging: Path, record: dict[str, Any]) -> None:
        """Put what was staged in the place of what the last run wrote, the record last.

        Raises `OutputError`: a file of that name is there which was not written here.
        """
        names = [*record["files"], *record["photos"]]
        old = self.read_record() or {}
        ours = {*old.get("files", ()), *old.get("photos", ())}
        gone = ours - set(names)
        for name in names:
            if name not in ours and os.path.lexists(self.path / name):
                hint = "move it away, or choose another folder with -o."
                raise OutputError(f"{self.path / name}: was not written by this command; {hint}")
        # Should we be killed from here on, this says what is ours and that it is not whole.
        kept = {kind: {**old.get(kind, {}), **record[kind]} for kind in ("files", "photos")}
        write_json(self.path / self.record, {"inputs": None, **kept})
        for name in sorted(gone):
            remove_written(self.path, name)
        for name in names:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).replace(self.path / name)
        write_json(self.path / self.record, record)


def hash_photos(photos: Iterable[AnnotatedPhoto], more: object) -> str:
    """Hash of what photos and annotations say, for telling whether anything changed.

    Photos count by size and time of change: reading them all would be the work to avoid. What was
    read counts, not the files: one may annotate all photos, and class names add to it.
    """
    digest = hashlib.sha256(json.dumps(more, sort_keys=True, default=repr).encode())
    resolve = cache(Path.resolve)
    for photo in photos:
        stat = photo.path.stat()
        there = replace(photo, root=resolve(photo.root))
        digest.update(f"{there!r}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


class PhotoMode(StrEnum):
    """What becomes of the photos."""

    COPY = "copy"
    LINK = "link"
    NONE = "none"


def place_photos(photos: Mapping[str, Path], folder: Path, mode: PhotoMode) -> dict[str, int]:
    """Copy or link photos, given by their paths below the folder; the bytes of each.

    `LINK` makes hard links, and copies where that can't be done, as on another disk. Raises
    `DatasetError`: a photo can't be read; `OutputError`: a photo can't be written.
    """
    if mode is PhotoMode.NONE:
        return {}
    sizes = {}
    for name, path in show_progress(photos.items(), len(photos), "placing files"):
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if mode is PhotoMode.LINK:
                with suppress(OSError):
                    # Links in the dataset are followed: a hard link to a link would dangle.
                    os.link(path.resolve(), target)
            if mode is PhotoMode.COPY or not target.exists():
                with path.open("rb") as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)
                times = path.stat()
                os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
            sizes[name] = target.stat().st_size
        except OSError as error:
            if error.filename != str(path):
                raise output_error(target, error) from error
            why = f"can't be read ({error.strerror or error}); is the disk still there?"
            raise DatasetError(f"{path}: {why}") from error
    return sizes
