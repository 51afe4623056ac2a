"""The command line: `python -m data_prep audit|build|convert|…`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from data_prep.base.command import DONE, SOME_LEFT_OUT, explain_errors
from data_prep.base.crop import CROP_SCALE
from data_prep.base.labels import CLASSES, parse_aliases
from data_prep.base.progress import log_findings
from data_prep.datasets.place_photos import PhotoMode
from data_prep.decisions.overlay import describe_overlay
from data_prep.formats.contracts import Format
from data_prep.formats.csv_columns import FIELDS, parse_columns
from data_prep.prepare import audit as auditing
from data_prep.prepare import build as building
from data_prep.prepare.analysis import BuildOptions
from data_prep.prepare.blur import MAJORITY_RATIO
from data_prep.prepare.page import PAGE

Alias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=CLASS",
        help=f"Another name of a class; CLASS is one of {', '.join(CLASSES)}. May be repeated.",
    ),
]
Decisions = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="LEDGER",
        help="Reviewers' decisions to apply (decisions.jsonl); the datasets stay as they are. "
        "May be repeated.",
    ),
]
FormatOption = Annotated[
    Format | None,
    typer.Option("--format", help="Of what is read; recognised by what is there if not given."),
]
Names = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="Class names for the ids of YOLO labels: data.yaml, or a text file with a name per "
        "line. Looked for in the dataset if not given.",
    ),
]
Columns = Annotated[
    str,
    typer.Option(
        metavar="FIELD=COLUMN,...",
        help="Columns of CSV tables, such as image=file,label=class,xmin=left; usual names are "
        f"known. Fields: {', '.join(FIELDS)}.",
    ),
]
CropsScale = Annotated[
    float,
    typer.Option(
        "--crop-scale",
        help="Of folders of ready crops: their side as a multiple of the face's longer side.",
    ),
]


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
        from data_prep.base.labels import parse_aliases
        from data_prep.datasets.convert import RECORD, ConvertOptions, convert
        from data_prep.formats.contracts import ReadOptions
        from data_prep.formats.csv_columns import parse_columns
        from data_prep.prepare.analysis import OptionError

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
        log_findings(result.findings, out / RECORD, notes=True)
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


def fetch_command(
    dataset: Annotated[str, typer.Argument(help="kaggle:OWNER/NAME, or …/versions/N after it.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder that gets the files.", show_default="the dataset's name"
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell version, licence and size.")
    ] = False,
) -> None:
    """Fetch a dataset from Kaggle, licence and size told first; goes on where it was stopped.

    Needs the package kagglehub. Exit code 0: done. 2: not done.
    """
    with explain_errors():
        from data_prep.datasets.fetch import DatasetName, Kaggle, fetch

        name = DatasetName.parse(dataset)
        fetch(name, out or Path(name.name), Kaggle(), say=typer.echo, dry_run=dry_run)


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
        from data_prep.datasets.merge import RECORD, merge_datasets

        result = merge_datasets(recode, out, mode=photos, workers=workers)
    if result.up_to_date:
        typer.echo(f"{out} is up to date: nothing to do.")
    else:
        log_findings(result.findings, out / RECORD, notes=True)
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
        log_findings(result.findings, out / PAGE)
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
    log_findings(result.findings, out / PAGE)
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
