"""Fetching a dataset by its name: a script then repeats a training from nothing else.

kagglehub downloads, goes on with what was stopped, checks and unpacks, into its cache
(`KAGGLEHUB_CACHE` or `~/.cache/kagglehub`). Ours is the rest: licence and size are told first, and
the folder appears whole or not at all, with the hash of every file.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any
from zipfile import BadZipFile

import typer

from data_prep.base import files
from data_prep.base.errors import DatasetError
from data_prep.base.progress import tell

RECORD = "fetched.json"

_NAME = re.compile(r"kaggle:([\w-]+)/([\w-]+)(?:/versions/(\d+))?")

_WHO = (
    "Kaggle asks who you are: make an API token in your Kaggle settings and put it into "
    "~/.kaggle/kaggle.json, or into KAGGLE_USERNAME and KAGGLE_KEY."
)
_UNKNOWN = "Kaggle knows no such dataset; check the owner and the name."
_ANSWERS = {401: _WHO, 403: _WHO, 404: _UNKNOWN}
_FAILED = (
    "Kaggle can't be reached, or answers with an error; run again: it goes on where it stopped."
)


@dataclass(frozen=True)
class FetchOptions:
    """The options of `fetch`."""

    dataset: Annotated[str, typer.Argument()]
    """kaggle:OWNER/NAME, or …/versions/N after it."""
    out: Annotated[Path | None, typer.Option("--out", "-o")] = None
    """Folder that gets the files; called like the dataset if not given."""
    dry_run: Annotated[bool, typer.Option("--dry-run")] = False
    """Only tell version, licence and size."""


def fetch(options: FetchOptions, log: Callable[[str], None]) -> dict[str, Any] | None:
    """Fetch a dataset, telling licence and size first; the record, None for a dry run.

    What is whole by the hashes of `fetched.json` is not fetched again. Raises `DatasetError`: it
    can't be had; `OutputError`: the folder can't be written, has too little space, holds other
    files, or a file in it was changed since it was fetched.
    """
    match = _NAME.fullmatch(options.dataset)
    if match is None:
        raise DatasetError(
            f"'{options.dataset}': write kaggle:OWNER/NAME, such as "
            "kaggle:andrewmvd/face-mask-detection, with /versions/N after it for one that is not "
            "the newest."
        )
    owner, name, version = match.groups()
    out = options.out or Path(name)
    files.refuse_other_files(out, RECORD)
    folder = files.OutputFolder(out, RECORD)
    old = folder.read_record() or {}
    if old.get("source") and not old["source"].startswith(f"kaggle:{owner}/{name}/"):
        raise files.OutputError(f"{out}: holds {old['source']}; choose another folder with -o.")
    about = _describe(owner, name, version)
    source, size = about["source"], about["bytes"]
    log(f"dataset    {about['title']} ({source})")
    log(f"licence    {about['licence'] or 'not stated: ask its publisher before you use it'}")
    log(f"size       {'not stated' if size is None else f'{size / 1e6:.1f} MB'}")
    log(f"goes to    {out}")
    if options.dry_run:
        return None
    inputs = hashlib.sha256(json.dumps(source).encode()).hexdigest()
    whole = folder.find_whole(inputs)
    if whole is not None:
        log("nothing to do: all files are there, with their hashes")
        return whole
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free, least = shutil.disk_usage(there).free, size or 0  # Packed files grow when unpacked.
    if free < least:
        hint = f"{free / 1e6:.0f} MB are free; free some space or choose another output folder."
        raise files.OutputError(f"{out}: {least / 1e6:.0f} MB are to be fetched, {hint}")
    with _explain(source):
        cached = Path(import_module("kagglehub").dataset_download(source.removeprefix("kaggle:")))
    # Links are left out: they may lead anywhere.
    plain = [path for path in cached.rglob("*") if path.is_file() and not path.is_symlink()]
    if not plain:
        raise DatasetError(f"{cached}: the dataset has no files.")
    with folder.stage() as staging:
        paths = {path.relative_to(cached).as_posix(): path for path in sorted(plain)}
        files.place_photos(paths, staging, files.PhotoMode.COPY)
        made = {name: files.sha256_of(staging / name) for name in paths}
        for name in sorted(made.keys() & old.get("files", {}).keys()):
            if old.get("source") == source and made[name] != old["files"][name]:
                hint = f"so it is damaged; remove {cached} and run it again."
                raise DatasetError(f"{cached / name}: is not what was fetched before, {hint}")
        record = {"inputs": inputs, **about, "files": made, "photos": {}}
        folder.swap_in(staging, record)
    log(f"fetched    {tell(len(made), 'file')}")
    return record


def _describe(owner: str, name: str, version: str | None) -> dict[str, Any]:
    """Its source with the version, title, licence and bytes, the last two if they are stated."""
    clients: Any = import_module("kagglehub.clients")
    types: Any = import_module("kagglesdk.datasets.types.dataset_api_service")
    request = types.ApiGetDatasetRequest()
    request.owner_slug, request.dataset_slug = owner, name
    with _explain(f"kaggle:{owner}/{name}"), clients.build_kaggle_client() as client:
        found = client.datasets.dataset_api_client.get_dataset(request)
    newest = found.current_version_number
    number = newest if version is None else int(version)
    return {
        "source": f"kaggle:{owner}/{name}/versions/{number}",
        "title": found.title or name,
        "licence": found.license_name,
        # Told of the newest version alone.
        "bytes": (found.total_bytes or None) if number == newest else None,
    }


@contextmanager
def _explain(source: str) -> Iterator[None]:
    """Say what to do where kagglehub fails."""
    requests: Any = import_module("requests")
    damaged = (import_module("kagglehub.exceptions").DataCorruptionError, BadZipFile)
    try:
        yield
    except requests.RequestException as error:
        status = getattr(error.response, "status_code", 0)
        told = status or type(error).__name__
        raise DatasetError(f"{source}: {_ANSWERS.get(status, _FAILED)} ({told})") from error
    except (*damaged, ValueError) as error:  # Also a broken kaggle.json.
        hint = "if that does not help, remove the dataset from the cache of kagglehub."
        raise DatasetError(f"{source}: {error} Mend it or run it again; {hint}") from error
    except OSError as error:
        raise files.OutputError(
            f"{error.filename or 'the cache of kagglehub'}: can't be written "
            f"({error.strerror or error}); free some space, or put the cache elsewhere with "
            "KAGGLEHUB_CACHE."
        ) from error
