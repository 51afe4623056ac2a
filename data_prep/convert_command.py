"""The command `convert` of `python -m data_prep`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from data_prep.console import (
    DONE,
    SOME_LEFT_OUT,
    explain_errors,
    tell_faults,
    tell_unfit,
    tell_unread,
)
from data_prep.crop import CROP_SCALE
from data_prep.formats.reader import Format
from data_prep.options import Alias, Columns, CropsScale, Decisions, FormatOption, Names
from data_prep.place_photos import PhotoMode


def convert_command(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder, in any format that is read.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder to write: new, empty, or of an earlier convert."),
    ],
    to: Annotated[Format, typer.Option(help="Format to write.")],
    photos: Annotated[
        PhotoMode | None,
        typer.Option(
            help="Photos: copied, linked (hard links, one file under two names), or left where "
            "they are. Crops go without.",
            show_default="copy",
        ),
    ] = None,
    decisions: Decisions = None,
    canonical: Annotated[
        bool, typer.Option("--canonical", help="Name classes as TriMask does, not as written.")
    ] = False,
    alias: Alias = None,
    scale: Annotated[
        float | None,
        typer.Option(
            help="Of crops: side as a multiple of the longer box side.",
            show_default=str(CROP_SCALE),
        ),
    ] = None,
    form: FormatOption = None,
    names: Names = None,
    columns: Columns = "",
    crop_scale: CropsScale = 1.0,
) -> None:
    """Write a dataset in another format, and convert.json that says what it could not hold.

    Exit code 0: done. 1: done, but files or faces with faults were left out. 2: not done.
    """
    with explain_errors():
        from data_prep.analysis import OptionError
        from data_prep.convert import RECORD, ConvertOptions, convert
        from data_prep.formats.csv_columns import parse_columns
        from data_prep.formats.reader import ReadOptions
        from data_prep.labels import parse_aliases

        if to is Format.CROPS and photos not in {None, PhotoMode.NONE}:
            raise OptionError("--photos: a folder of crops holds no photos; leave it out.")
        if to is not Format.CROPS and scale is not None:
            raise OptionError("--scale: only crops have one; leave it out or use --to crops.")
        if alias and not (canonical or decisions):
            raise OptionError("--alias: classes keep their written names; add --canonical.")
        without = PhotoMode.NONE if to is Format.CROPS else PhotoMode.COPY
        options = ConvertOptions(
            to,
            photos or without,
            canonical,
            CROP_SCALE if scale is None else scale,
            ReadOptions(
                parse_aliases(alias or []),
                format=form,
                names=names,
                columns=parse_columns(columns),
                crop_scale=crop_scale,
            ),
        )
        result = convert(dataset, out, options, decisions=decisions or ())
    if result.up_to_date:
        typer.echo(f"{out} is up to date: nothing to do.")
    else:
        tell_faults(result.findings, out / RECORD)
        tell_unfit(result.findings, out / RECORD)
        tell_unread(result.findings, out / RECORD)
        for line in describe_conversion(result.record):
            typer.echo(line)
        typer.echo(f"written    {out}, {out / RECORD}")
    raise typer.Exit(SOME_LEFT_OUT if result.record["left_out"] else DONE)


def describe_conversion(record: dict[str, Any]) -> list[str]:
    """What `convert.json` tells, as lines for a person."""
    counts = record["counts"]
    faces = ", ".join(f"{count} {label}" for label, count in counts["faces"].items()) or "none"
    lost = ", ".join(f"{count} {what}" for what, count in record["not_held"].items()) or "nothing"
    found = ", ".join(f"{count} {kind}" for kind, count in record["findings"].items()) or "none"
    return [
        f"photos     {counts['photos']}, {counts['photos_without_faces']} of them without faces",
        f"faces      {faces}",
        f"not held   {lost}",
        f"findings   {found}",
    ]
