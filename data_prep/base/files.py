"""Writing files so that nothing half-written is ever taken for a result, and reading them back."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from data_prep.base.errors import UserError


class OutputError(UserError, OSError):
    """An output that can't be written; the message names it and what to do."""


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file under another name, then rename it; parents are created.

    Raises:
        OutputError: The folder is read-only, the disk full, or similar. What was there stays.
    """
    payload = data.encode() if isinstance(data, str) else data
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
        with os.fdopen(handle, "wb") as file:
            file.write(payload)
        # mkstemp makes private files; results are as readable as any other new file.
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise output_error(path, error) from error


def make_folder(path: Path) -> None:
    """Make an output folder before long work, so that what can't be written fails early.

    Raises:
        OutputError: It can't be made, is no folder, or can't be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise output_error(path, error) from error


def write_json(path: Path, record: Any) -> None:
    """Write a record as indented JSON, keys as given, refusing NaN."""
    write_atomically(path, json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object that an earlier run wrote; None when there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def output_error(path: Path, error: OSError) -> OutputError:
    """Say what can't be written, why, and what to do."""
    reason = error.strerror or str(error)
    return OutputError(
        f"{path}: can't be written ({reason}); free some space or choose another output folder."
    )


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes.

    Raises:
        OSError: The file can't be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
