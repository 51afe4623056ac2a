"""The command line: `python -m data_prep audit|build|convert|…`."""

import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import typer

from data_prep.base.command import DONE, SOME_LEFT_OUT, Command, Group, as_command, spell
from data_prep.base.files import Outcome
from data_prep.base.labels import CLASSES
from data_prep.base.progress import log_findings, tell
from data_prep.datasets import convert as converting
from data_prep.datasets import merge as merging
from data_prep.datasets.fetch import FetchOptions, fetch
from data_prep.decisions.overlay import describe_overlay
from data_prep.prepare import build as building
from data_prep.prepare.options import AuditOptions, BuildOptions
from data_prep.prepare.page import PAGE

SHIPPED = "ledgers"  # The folder of ledgers that come with the project, to be copied first.


def convert_command(options: converting.ConvertOptions) -> None:
    """Write a dataset in another format, and convert.json that says what it could not hold.

    Exit code 0: done. 1: done, but files or faces with faults were left out. 2: not done.
    """
    _show(options.out, converting.convert(options), describe_conversion, converting.RECORD, "")


def merge_command(options: merging.MergeOptions) -> None:
    """Write several datasets as one: annotations.csv, photos/<source>/, merge.json.

    Exit code 0: done. 1: done, but files or faces with faults were left out. 2: not done.
    """
    merged = merging.merge_datasets(options)
    _show(options.out, merged, describe_merge, merging.RECORD, merging.TABLE)


def fetch_command(options: FetchOptions) -> None:
    """Fetch a dataset from Kaggle, licence and size told first; goes on where it was stopped.

    Needs the package kagglehub. Exit code 0: done. 2: not done.
    """
    fetch(options, log=typer.echo)


def build_command(options: BuildOptions) -> None:
    """Prepare datasets for training: faces.csv, crops, audit.html, manifest.json.

    Exit code 0: done. 1: done, but files or faces with faults were left out. 2: not done.
    """
    describe = partial(describe_summary, prepared=options.out)
    _show(options.out, building.build(options), describe, PAGE, building.FACES, "crops")


def audit_command(options: AuditOptions) -> None:
    """Report what is in datasets and what is wrong with them: audit.html, audit.json.

    Exit code 0: done. 1: done, but files or faces have faults. 2: not done.
    """
    _show(options.out, building.audit(options), describe_summary, building.AUDIT, PAGE)


def _show(
    out: Path,
    result: Outcome,
    describe: Callable[[Mapping[str, Any]], list[str]],
    last: str,
    *written: str,
) -> None:
    """Show what a command did and wrote, and end with its exit code."""
    if result.up_to_date:
        typer.echo(f"{out} is up to date: nothing to do.")
    else:
        is_page = PAGE in (last, *written)
        log_findings(result.findings, out / (PAGE if is_page else last), notes=not is_page)
        names = ", ".join(str(out / name) for name in (*written, last))
        for line in (*describe(result.record), f"written    {names}"):
            typer.echo(line)
    raise typer.Exit(SOME_LEFT_OUT if result.record["left_out"] else DONE)


def describe_conversion(record: Mapping[str, Any]) -> list[str]:
    """What `convert.json` tells, as lines for a person."""
    counts = record["counts"]
    return [
        f"photos     {counts['photos']}, {counts['photos_without_faces']} of them without faces",
        f"faces      {_list_counts(counts['faces'])}",
        f"not held   {_list_counts(record['not_held'], 'nothing')}",
        f"findings   {_list_counts(record['findings'])}",
    ]


def describe_merge(record: Mapping[str, Any]) -> list[str]:
    """What `merge.json` tells, as a table and lines for a person."""
    lines = [f"{'source':<16}{'class':<24}{'before':>8}{'after':>8}"]
    for name, source in record["sources"].items():
        for label in dict.fromkeys([*source["before"], *source["after"]]):
            before, after = (source[when].get(label, 0) for when in ("before", "after"))
            lines.append(f"{name:<16}{label:<24}{before:>8}{after:>8}")
        lines.append(
            f"{name:<16}{tell(source['photos'])}; excluded "
            f"{tell(source['excluded_faces'], 'face')} and {tell(source['excluded_photos'])}; "
            f"{tell(source['emptied_photos'])} lost all faces"
        )
    found = record["duplicates"]
    lines.append(
        f"duplicates {tell(found['groups_across_sources'], 'near-duplicate group')} across sources "
        f"with {tell(found['photos_in_them'])}"
    )
    lines += [f"group      {', '.join(members)}" for members in found["first_groups"]]
    return [*lines, f"findings   {_list_counts(record['findings'])}"]


def describe_summary(summary: Mapping[str, Any], prepared: Path = Path("PREPARED")) -> list[str]:
    """What `analysis.summarise` gave, as lines for a person; `prepared` is what was built."""
    counts: Counter[str] = Counter()
    for key, number in summary["counts"].items():
        counts[key.partition("/")[2]] += number
    tests = any(key.startswith("test/") for key in counts)
    lines = [f"{'faces':<24}{'train':>8}{'kept':>8}{'valid':>8}{'test' * tests:>{8 * tests}}"]
    for label in CLASSES:
        train, valid, test = (counts[f"{part}/{label}"] for part in ("train", "valid", "test"))
        numbers = [train, summary["kept_per_class"].get(label, 0), valid, *[test] * tests]
        lines.append(f"{label:<24}" + "".join(f"{number:>8}" for number in numbers))
    leaks = summary["leaked_share"]
    lines += [
        f"photos     {summary['photos']} with {tell(summary['faces'], 'face')}; "
        f"{tell(summary['photos_in_duplicate_groups'])} in "
        f"{tell(summary['duplicate_groups'], 'near-duplicate group')}",
        f"leaks      {leaks['ours']:.1%} of validation faces "
        f"({leaks['naive']:.1%} under a naive split by crop)",
        f"findings   {_list_counts(summary['findings'])}",
    ]
    if (dropped := summary.get("dropped_duplicates")) is not None:
        photos = sum(one["object"] is None for one in dropped)
        told = f"{tell(len(dropped) - photos, 'box')} and {tell(photos)} there twice left out"
        lines.append(f"duplicates {told}; where labels contradict each other all stay")
    if "decisions" in summary:
        lines.append(f"decisions  {describe_overlay(summary['decisions'])}")
        if summary["decisions"]["not_applied"].get("disputed"):
            paths = [ledger["file"] for ledger in summary["decisions"]["ledgers"]]
            ledger, copying = paths[0], ""
            if len(paths) > 1 or Path(ledger).parent.name == SHIPPED:
                names = chain(["all.jsonl"], (f"all-{number}.jsonl" for number in count(2)))
                ledger = next(name for name in names if not Path(name).exists())
                copying = f"cat {shlex.join(paths)} > {ledger}; "
            how = spell("review", prepared, "--disputed", "--ledger", ledger, "--by", "NAME")
            then = f"then build with --decisions {shlex.quote(ledger)} alone"
            told = f"disputes   to settle them, one who disagrees decides anew, as NAME: {copying}"
            lines.append(f"{told}{how}; {then}")
    return lines


def _list_counts(counts: Mapping[str, int], none: str = "none") -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or none


app = typer.Typer(
    cls=Group,
    help="From annotations and photos to a clean table of faces and their crops.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (convert_command, merge_command, fetch_command, build_command, audit_command):
    app.command(_command.__name__.removesuffix("_command"), cls=Command)(as_command(_command))
