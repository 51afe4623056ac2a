"""Fetching a dataset by its name: a script then repeats a training from nothing else."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from data_prep.errors import UserError
from data_prep.files import OutputError, sha256_of
from data_prep.output_folder import OutputFolder, refuse_other_files
from data_prep.progress import show_progress

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
