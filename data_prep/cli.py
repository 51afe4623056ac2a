"""The command line: `python -m data_prep audit|build|convert|…`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from data_prep import audit as auditing
from data_prep import build as building
from data_prep.analysis import BuildOptions
from data_prep.blur import MAJORITY_RATIO
from data_prep.console import DONE, SOME_LEFT_OUT, explain_errors, tell_faults, tell_unfit
from data_prep.convert_command import convert_command
from data_prep.crop import CROP_SCALE
from data_prep.fetch_command import fetch_command
from data_prep.formats.csv_columns import parse_columns
from data_prep.labels import CLASSES, parse_aliases
from data_prep.merge_command import merge_command
from data_prep.options import Alias, Columns, CropsScale, Decisions, FormatOption, Names
from data_prep.overlay import describe_overlay
from data_prep.page import PAGE

app = typer.Typer(
    help="From annotations and photos to a clean table of faces and their crops.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("convert")(convert_command)
app.command("merge")(merge_command)
app.command("fetch")(fetch_command)

Roots = Annotated[
    list[Path],
    typer.Argument(
        metavar="ROOT",
        help="Dataset folders with photos and annotations in any known format: PASCAL VOC, YOLO, "
        "COCO, CSV, or crops in folders called after the classes. It is recognised by what is "
        "there; each folder's name becomes its source.",
        show_default=False,
    ),
]
Scale = Annotated[float, typer.Option(help="Crop side as a multiple of the longer box side.")]
Folds = Annotated[int, typer.Option(help="Parts of the split; one of them is for validation.")]
Fold = Annotated[int, typer.Option(help="Which part is for validation, from 0.")]
Seed = Annotated[int, typer.Option(help="Of the split's shuffling.")]
Blur = Annotated[
    Literal["binned", "global", "none"],
    typer.Option(
        help="How the largest class is thinned out: the blurriest of each size bin, the "
        "blurriest of all, or not at all."
    ),
]
Ratio = Annotated[float, typer.Option(help="The largest class keeps this multiple of the second.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Threads; one per core if not given.")]


@app.command("build")
def build_command(
    roots: Roots,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The prepared folder.", file_okay=True)
    ] = Path("prepared"),
    scale: Scale = CROP_SCALE,
    folds: Folds = 5,
    fold: Fold = 0,
    seed: Seed = 0,
    blur: Blur = "binned",
    ratio: Ratio = MAJORITY_RATIO,
    alias: Alias = None,
    form: FormatOption = None,
    names: Names = None,
    columns: Columns = "",
    crop_scale: CropsScale = 1.0,
    decisions: Decisions = None,
    write_voc: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also write the VOC files with the decisions worked in, to DIR/<source>/.",
        ),
    ] = None,
    workers: Workers = None,
) -> None:
    """Prepare datasets for training: faces.csv, crops, audit.html, manifest.json.

    Exit code 0: done. 1: done, but files or faces with faults were left out. 2: not done.
    """
    with explain_errors():
        aliases, by_name = parse_aliases(alias or []), parse_columns(columns)
        reading = (aliases, form, names, by_name, crop_scale)
        options = BuildOptions(scale, folds, fold, seed, blur, ratio, *reading)
        result = building.build(
            roots, out, options, decisions=decisions or (), voc=write_voc, workers=workers
        )
    if result.up_to_date:
        typer.echo(f"{out} is up to date: nothing to do.")
    else:
        tell_faults(result.findings, out / PAGE)
        tell_unfit(result.findings, out / PAGE)
        for line in describe_summary(result.manifest):
            typer.echo(line)
        typer.echo(f"written    {out / 'faces.csv'}, {out / 'crops'}, {out / PAGE}")
    if write_voc is not None and result.corrected is not None:
        typer.echo(f"written    {write_voc} with {len(result.corrected)} corrected files")
    raise typer.Exit(SOME_LEFT_OUT if result.manifest["left_out"] else DONE)


@app.command("audit")
def audit_command(
    roots: Roots,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for audit.html and audit.json.")
    ] = Path("audit"),
    known_groups: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Known near-duplicate groups to compare with: photo stems, a group per line.",
        ),
    ] = None,
    scale: Scale = CROP_SCALE,
    folds: Folds = 5,
    fold: Fold = 0,
    seed: Seed = 0,
    blur: Blur = "binned",
    ratio: Ratio = MAJORITY_RATIO,
    alias: Alias = None,
    form: FormatOption = None,
    names: Names = None,
    columns: Columns = "",
    crop_scale: CropsScale = 1.0,
    decisions: Decisions = None,
    workers: Workers = None,
) -> None:
    """Report what is in datasets and what is wrong with them: audit.html, audit.json.

    Exit code 0: done. 1: done, but files or faces have faults. 2: not done.
    """
    with explain_errors():
        aliases, by_name = parse_aliases(alias or []), parse_columns(columns)
        reading = (aliases, form, names, by_name, crop_scale)
        options = BuildOptions(scale, folds, fold, seed, blur, ratio, *reading)
        result = auditing.audit(
            roots,
            out,
            options,
            decisions=decisions or (),
            known_groups=known_groups,
            workers=workers,
        )
    tell_faults(result.findings, out / PAGE)
    tell_unfit(result.findings, out / PAGE)
    for line in describe_summary(result.summary):
        typer.echo(line)
    if result.known_groups is not None:
        found, total = result.known_groups
        typer.echo(f"known      {found} of {total} known near-duplicate groups found whole")
    typer.echo(f"written    {out / PAGE}, {out / auditing.RECORD}")
    raise typer.Exit(SOME_LEFT_OUT if result.summary["left_out"] else DONE)


def describe_summary(summary: Mapping[str, Any]) -> list[str]:
    """What `analysis.summarise` gave, as lines for a person."""
    lines = [f"{'faces':<24}{'train':>8}{'kept':>8}{'valid':>8}"]
    for label in CLASSES:
        train, valid = (_sum_counts(summary["counts"], part, label) for part in ("train", "valid"))
        kept = summary["kept_per_class"].get(label, 0)
        lines.append(f"{label:<24}{train:>8}{kept:>8}{valid:>8}")
    leaks, findings = summary["leaked_share"], summary["findings"]
    found = ", ".join(f"{count} {kind}" for kind, count in findings.items()) or "none"
    decided = (
        [f"decisions  {describe_overlay(summary['decisions'])}"] if "decisions" in summary else []
    )
    return [
        *lines,
        f"photos     {summary['photos']} with {summary['faces']} faces; "
        f"{summary['photos_in_duplicate_groups']} photos in {summary['duplicate_groups']} "
        "near-duplicate groups",
        f"leaks      {leaks['ours']:.1%} of validation faces "
        f"({leaks['naive']:.1%} under a naive split by crop)",
        f"findings   {found}",
        *decided,
    ]


def _sum_counts(counts: Mapping[str, int], part: str, label: str) -> int:
    return sum(count for key, count in counts.items() if key.endswith(f"/{part}/{label}"))
