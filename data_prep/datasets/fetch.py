"""Fetching a dataset by its name: a script then repeats a training from nothing else."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

from data_prep.base.errors import UserError
from data_prep.base.files import OutputError, sha256_of
from data_prep.base.output_folder import OutputFolder, refuse_other_files
from data_prep.base.progress import show_progress

RECORD = "fetched.json"

_NAME = re.compile(r"kaggle:(?P<owner>[\w-]+)/(?P<name>[\w-]+)(?:/versions/(?P<version>\d+))?")


class FetchError(UserError, RuntimeError):
    """A dataset that can't be fetched; the message says what to do."""


@dataclass(frozen=True)
class DatasetName:
    """A dataset at Kaggle.

    Attributes:
        owner: Who published it.
        name: Its name there.
        version: Its version; the newest when None.
    """

    owner: str
    name: str
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> DatasetName:
        """Read `kaggle:OWNER/NAME` or `kaggle:OWNER/NAME/versions/N`.

        Raises:
            FetchError: It is neither.

        >>> DatasetName.parse("kaggle:andrewmvd/face-mask-detection")
        DatasetName(owner='andrewmvd', name='face-mask-detection', version=None)
        """
        match = _NAME.fullmatch(text)
        if match is None:
            raise FetchError(
                f"'{text}': write kaggle:OWNER/NAME, such as kaggle:andrewmvd/face-mask-detection, "
                "with /versions/N after it for one that is not the newest."
            )
        version = match["version"]
        return cls(match["owner"], match["name"], None if version is None else int(version))


@dataclass(frozen=True)
class About:
    """What is known of a dataset before it is fetched.

    Attributes:
        source: `kaggle:OWNER/NAME/versions/N`.
        title: For people.
        licence: As its publisher calls it; empty when not said.
        bytes: Of what is fetched; None when not said.
    """

    source: str
    title: str
    licence: str
    bytes: int | None


class Remote(Protocol):
    """Where datasets come from."""

    def describe(self, name: DatasetName) -> About:
        """What is known of it, its version among it.

        Raises:
            FetchError: It isn't there, needs credentials, or the network fails.
        """

    def download(self, about: About) -> Path:
        """A folder with its files, which are not to be changed; a stopped download goes on.

        Raises:
            FetchError: As of `describe`, or what came is damaged.
            OutputError: The disk is full, or the like.
        """


def fetch(
    name: DatasetName,
    out: Path,
    remote: Remote,
    *,
    say: Callable[[str], None],
    dry_run: bool = False,
) -> dict[str, Any] | None:
    """Fetch a dataset, licence and size told first.

    The folder appears whole or not at all, with `fetched.json`: source, licence, and the SHA-256 of
    every file. What is whole by these hashes is not fetched again.

    Args:
        name: What to fetch.
        out: The folder to write.
        remote: Where from.
        say: Gets lines for people.
        dry_run: Only tell.

    Returns:
        The record, as written; None for a dry run.

    Raises:
        FetchError: It can't be had.
        OutputError: The folder can't be written, has too little space, holds other files, or a file
            in it was changed since it was fetched.
    """
    refuse_other_files(out, RECORD, "-o")
    folder = OutputFolder(out, RECORD)
    old = folder.read_record() or {}
    _refuse_other_dataset(out, old, name)
    about = remote.describe(name)
    say(f"dataset    {about.title} ({about.source})")
    say(f"licence    {about.licence or 'not stated: ask its publisher before you use it'}")
    say(f"size       {'not stated' if about.bytes is None else f'{about.bytes / 1e6:.1f} MB'}")
    say(f"goes to    {out}")
    if dry_run:
        return None
    inputs = hashlib.sha256(json.dumps(about.source).encode()).hexdigest()
    whole = folder.find_whole(inputs)
    if whole is not None:
        say("nothing to do: all files are there, with their hashes")
        return whole
    _check_space(out, about)
    source = remote.download(about)
    with folder.stage() as staging:
        names = _copy(source, staging)
        if old.get("source") == about.source:
            _compare(source, names, old.get("files", {}))
        record = {"inputs": inputs, **asdict(about), "files": names, "photos": {}}
        folder.swap_in(staging, record)
    say(f"fetched    {len(names)} files")
    return record


def _refuse_other_dataset(out: Path, old: dict[str, Any], name: DatasetName) -> None:
    """Refuse the folder of another dataset."""
    source = str(old.get("source", ""))
    if source and not source.startswith(f"kaggle:{name.owner}/{name.name}/"):
        raise OutputError(f"{out}: holds {source}; choose another folder with -o.")


def _compare(source: Path, new: dict[str, str], old: dict[str, str]) -> None:
    """The same version has the same files: others are damaged where they are kept."""
    for name in sorted(new.keys() & old.keys()):
        if new[name] != old[name]:
            raise FetchError(
                f"{source / name}: is not what was fetched before, so it is damaged; remove "
                f"{source} and run it again."
            )


def _check_space(out: Path, about: About) -> None:
    """The least that is needed: packed files grow when they are unpacked."""
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if about.bytes is not None and free < about.bytes:
        raise OutputError(
            f"{out}: {about.bytes / 1e6:.0f} MB are to be fetched, {free / 1e6:.0f} MB are free; "
            "free some space or choose another output folder."
        )


def _copy(source: Path, target: Path) -> dict[str, str]:
    """Copy plain files and tell their hashes; links, which may lead anywhere, are left out."""
    files = sorted(path for path in source.rglob("*") if path.is_file() and not path.is_symlink())
    hashes = {}
    for path in show_progress(files, len(files), "copying files"):
        name = path.relative_to(source).as_posix()
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        hashes[name] = sha256_of(copy)
    if not hashes:
        raise FetchError(f"{source}: the dataset has no files.")
    return hashes


CREDENTIALS = (
    "make an API token in your Kaggle settings and put it into ~/.kaggle/kaggle.json, or into "
    "KAGGLE_USERNAME and KAGGLE_KEY"
)


class Kaggle:
    """Kaggle as a `Remote`.

    What is fetched stays in its library's cache, `KAGGLEHUB_CACHE` or `~/.cache/kagglehub`, too;
    a stopped download goes on from there.

    Raises:
        FetchError: The library isn't installed.
    """

    def __init__(self) -> None:
        try:
            self._hub: Any = import_module("kagglehub")
        except ImportError as error:
            raise FetchError(
                "kagglehub is not installed; get it with: pip install kagglehub"
            ) from error
        self._clients: Any = import_module("kagglehub.clients")
        self._types: Any = import_module("kagglesdk.datasets.types.dataset_api_service")

    def describe(self, name: DatasetName) -> About:
        """See `Remote.describe`."""
        request = self._types.ApiGetDatasetRequest()
        request.owner_slug, request.dataset_slug = name.owner, name.name
        with self._explain(f"kaggle:{name.owner}/{name.name}"), self._client() as client:
            found = client.datasets.dataset_api_client.get_dataset(request)
        version = name.version or found.current_version_number
        # Size and licence are told of the newest version.
        is_newest = version == found.current_version_number
        return About(
            source=f"kaggle:{name.owner}/{name.name}/versions/{version}",
            title=found.title or name.name,
            licence=found.license_name,
            bytes=(found.total_bytes or None) if is_newest else None,
        )

    def download(self, about: About) -> Path:
        """See `Remote.download`."""
        with self._explain(about.source):
            return Path(self._hub.dataset_download(about.source.removeprefix("kaggle:")))

    def _client(self) -> Any:
        return self._clients.build_kaggle_client()

    @contextmanager
    def _explain(self, source: str) -> Iterator[None]:
        requests: Any = import_module("requests")
        exceptions: Any = import_module("kagglehub.exceptions")
        try:
            yield
        except requests.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            raise FetchError(_explain_status(source, status)) from error
        except requests.RequestException as error:
            raise FetchError(
                f"{source}: Kaggle can't be reached ({type(error).__name__}). Run it again: it "
                "goes on where it stopped."
            ) from error
        except (exceptions.DataCorruptionError, BadZipFile) as error:
            raise FetchError(
                f"{source}: what came is damaged; run it again, and if that does not help, remove "
                "it from the cache of kagglehub first."
            ) from error
        except ValueError as error:  # A broken kaggle.json, or what is no archive.
            raise FetchError(
                f"{source}: {error} Mend it, or remove the dataset from the cache of kagglehub."
            ) from error
        except OSError as error:
            raise OutputError(
                f"{error.filename or 'the cache of kagglehub'}: can't be written "
                f"({error.strerror or error}); free some space, or put the cache elsewhere with "
                "KAGGLEHUB_CACHE."
            ) from error


def _explain_status(source: str, status: int) -> str:
    if status in {401, 403}:
        return f"{source}: Kaggle asks who you are ({status}): {CREDENTIALS}."
    if status == 404:
        return f"{source}: Kaggle knows no such dataset (404); check the owner and the name."
    return f"{source}: Kaggle answers with an error ({status}); try again later."
