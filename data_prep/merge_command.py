"""The command `merge` of `python -m data_prep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from data_prep.console import DONE, SOME_LEFT_OUT, explain_errors, tell_faults, tell_unread
from data_prep.place_photos import PhotoMode


def merge_command(
    recode: Annotated[
        Path, typer.Argument(metavar="RECODE.toml", help="Sources and what their classes become.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder to write: new, empty, or of an earlier merge."),
    ],
    photos: Annotated[
        PhotoMode, typer.Option(help="Photos: copied, linked (hard links), or left out.")
    ] = PhotoMode.COPY,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads; one per core if not given.")
    ] = None,
) -> None:
    """Write several datasets as one: annotations.csv, photos/<source>/, merge.json.

    Exit code 0: done. 1: done, but files or faces with faults were left out. 2: not done.
    """
    with explain_errors():
        from data_prep.merge_datasets import RECORD, merge_datasets

        result = merge_datasets(recode, out, mode=photos, workers=workers)
    if result.up_to_date:
        typer.echo(f"{out} is up to date: nothing to do.")
    else:
        tell_faults(result.findings, out / RECORD)
        tell_unread(result.findings, out / RECORD)
        for line in describe_merge(result.record):
            typer.echo(line)
        typer.echo(f"written    {out / 'annotations.csv'}, {out / RECORD}")
    raise typer.Exit(SOME_LEFT_OUT if result.record["left_out"] else DONE)


def describe_merge(record: dict[str, Any]) -> list[str]:
    """What `merge.json` tells, as a table and lines for a person."""
    lines = [f"{'source':<16}{'class':<24}{'before':>8}{'after':>8}"]
    for name, source in record["sources"].items():
        labels = dict.fromkeys([*source["before"], *source["after"]])
        for label in labels:
            before, after = (source[when].get(label, 0) for when in ("before", "after"))
            lines.append(f"{name:<16}{label:<24}{before:>8}{after:>8}")
        lines.append(
            f"{name:<16}{source['photos']} photos; excluded {source['excluded_faces']} faces and "
            f"{source['excluded_photos']} photos; {source['emptied_photos']} photos lost all "
            f"faces; {source['identical_photos_left_out']} identical photos left out"
        )
    found = record["duplicates"]
    lines.append(
        f"duplicates {found['groups_across_sources']} near-duplicate groups across sources with "
        f"{found['photos_in_them']} photos; {found['identical_across_sources']} photos identical"
    )
    for title, groups in (("group", "first_groups"), ("identical", "first_identical")):
        lines += [f"{title:<11}{', '.join(members)}" for members in found[groups]]
    kinds = ", ".join(f"{count} {kind}" for kind, count in record["findings"].items())
    return [*lines, f"findings   {kinds or 'none'}"]
