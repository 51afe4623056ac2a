"""The commands `review` and `agreement` of `python -m pipeline`."""

from __future__ import annotations

import getpass
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_prep.base.command import explain_errors
from data_prep.base.errors import UserError
from data_prep.base.progress import log

if TYPE_CHECKING:
    from pipeline.review.session import Session


_MOST_PICTURED = 2000
"""Faces that get contact sheets; of more, few would look at all."""


class OptionError(UserError, ValueError):
    """An option that can't be; the message says what can."""


def review_command(
    suspects: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder written by: python -m pipeline suspects.")
    ],
    by: Annotated[
        str | None, typer.Option(help="Who reviews; your login name when left out.")
    ] = None,
    blind: Annotated[
        bool,
        typer.Option(
            "--blind",
            help="A second opinion: without labels, the model's opinion and what others decided, "
            "in an order of its own, over the faces others have decided.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the order of --blind.")] = 0,
    first: Annotated[
        int | None, typer.Option(min=1, help="Only so many of the most suspect faces.")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="The ledger; DIR/decisions.jsonl when left out.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Write a sheet to fill in without a browser, and pictures beside it."),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option("--import", help="Read decisions from a filled-in sheet.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 for any that is free.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="Token that visitors must bring; made up when needed.")
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Don't open a browser.")] = False,
) -> None:
    """Review suspected labels on a local page, or with --export and --import in a sheet."""
    with explain_errors():
        from pipeline.review.serve import serve
        from pipeline.review.session import Session, Way
        from pipeline.review.suspects import LEDGER, open_suspects

        name = _check_name(by if by is not None else getpass.getuser())
        _check_token(token)
        if export is not None and sheet is not None:
            raise OptionError("--export and --import: one at a time.")
        target = ledger or suspects / LEDGER
        session = Session(open_suspects(suspects), target, Way(name, blind, seed, first))
        if export is not None:
            _export(export, session)
        elif sheet is not None:
            from pipeline.review.sheet import import_sheet

            added, known = import_sheet(sheet, session)
            log(f"{added} decisions added, {known} stood already: {target}")
        else:
            log(f"{len(session)} faces, {session.count('open')} not looked at by {name}: {target}")
            serve(session, host=host, port=port, token=token, open_browser=not no_open, say=log)


def agreement_command(
    ledger: Annotated[Path, typer.Argument(help="A ledger, decisions.jsonl.")],
    by: Annotated[
        list[str] | None, typer.Option(help="One of the two reviewers; give it twice.")
    ] = None,
    disputes: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the disputed faces as CSV.")
    ] = None,
) -> None:
    """Tell how far two reviewers agree: Cohen's kappa with its interval, and their disputes."""
    with explain_errors():
        from data_prep.base.files import write_atomically
        from data_prep.decisions.ledger import read_ledger
        from pipeline.review.agreement import compare_reviewers, describe_agreement, write_disputes

        found = read_ledger(ledger)
        for warning in found.warnings:
            log(f"warning: {warning}")
        agreement = compare_reviewers(found, by or [])
        typer.echo(describe_agreement(agreement))
        if disputes is None:
            typer.echo("\n" + write_disputes(agreement), nl=False)
        else:
            write_atomically(disputes, write_disputes(agreement))
            log(f"disputes: {disputes}")


def _export(path: Path, session: Session) -> None:
    from pipeline.review.sheet import draw_contact_sheets, open_positions, write_sheet

    positions = list(open_positions(session))[:_MOST_PICTURED]
    count = write_sheet(path, session)
    folder = path.with_name(f"{path.stem}-pages")
    pages = draw_contact_sheets(folder, session, positions)
    log(f"{count} faces: {path}")
    log(f"{len(pages)} pages with the first {len(positions)}: {folder}")


def _check_name(name: str) -> str:
    """A reviewer's name, fit for a line of the ledger and of a page."""
    if not name.strip() or not name.isprintable() or len(name) > 80:
        raise OptionError("--by: give a name of 1 to 80 printable characters.")
    return name.strip()


def _check_token(token: str | None) -> None:
    if token is not None and not re.fullmatch(r"[A-Za-z0-9_-]{8,200}", token):
        raise OptionError("--token: 8 or more letters, digits, - and _, as it goes into a URL.")
