"""Photos that belong together though they may not look alike, as their dataset says."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from data_prep.errors import DatasetError
from data_prep.files import write_atomically
from data_prep.records import AnnotatedPhoto

GROUPS = "groups.csv"
"""In a dataset's folder: `image`, below the folder, and `group`, any name. Photos with one group's
name are never split, nor are they from the photo that is called so, as `source/image`."""


def write_groups(path: Path, groups: Mapping[str, str]) -> None:
    """Write `groups.csv`.

    Args:
        path: The file.
        groups: The group of each image.

    Raises:
        OutputError: The file can't be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "group"])
    writer.writerows(sorted(groups.items()))
    write_atomically(path, text.getvalue())


def read_groups(root: Path) -> dict[str, str]:
    """The group of each image of a dataset; nothing where it has no `groups.csv`.

    Raises:
        DatasetError: The file is no table with these columns.
    """
    path = root / GROUPS
    if not path.is_file():
        return {}
    try:
        table = pd.read_csv(path, keep_default_na=False, dtype=str)
        return dict(zip(table["image"], table["group"], strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(
            f"{path}: not a table with the columns image and group ({error}); mend it, or move it "
            "away if it is not meant for grouping."
        ) from error


def join_groups(photos: Sequence[AnnotatedPhoto], groups: Sequence[str]) -> list[str]:
    """Join near-duplicate groups whose photos belong together by `groups.csv`.

    Args:
        photos: The photos of all datasets.
        groups: The near-duplicate group of each, "" of those that can't be read.

    Returns:
        The group of each, called after the first group of those that are joined.

    Raises:
        DatasetError: A `groups.csv` can't be used.
    """
    known = {root: read_groups(root) for root in dict.fromkeys(photo.root for photo in photos)}
    if not any(known.values()):
        return list(groups)
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    order: dict[str, int] = {}
    for photo, group in zip(photos, groups, strict=True):
        if not group:
            continue
        order.setdefault(f"near {group}", len(order))
        called = {f"called {photo.source}/{photo.image}"}
        if own := known[photo.root].get(photo.image):
            called.add(f"called {own}")
        for name in sorted(called):
            leader[find(name)] = find(f"near {group}")
    first: dict[str, str] = {}
    for name in order:
        first.setdefault(find(name), name.removeprefix("near "))
    return [first[find(f"near {group}")] if group else "" for group in groups]
