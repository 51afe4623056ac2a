"""The command `review`: a local page, or a sheet out and in."""

import getpass
import re
import secrets
import socket
import threading
import webbrowser
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import uvicorn
from starlette.types import ASGIApp
from typer import Argument, Option

from data_prep.base.command import spell
from data_prep.base.errors import UserError
from data_prep.base.files import refuse_other_files
from data_prep.base.progress import log, tell
from pipeline.review.app import create_app, tell_next
from pipeline.review.guard import Access, HastyProtocol, is_loopback
from pipeline.review.session import Session, Way
from pipeline.review.suspects import LEDGER, open_suspects, tell_likely

PORT = 8377  # When none is named; a free one when this one is taken.
MOST_PICTURED = 2000  # Faces that get contact sheets; of more, few would look at all.


@dataclass(frozen=True)
class ReviewOptions:
    """Options of `review`."""

    suspects: Annotated[
        Path,
        Argument(
            metavar="DIR",
            help=f"Folder written by: {spell('suspects')}; or by {spell('build')}: its faces in "
            "their order, without an opinion.",
        ),
    ]
    by: Annotated[str | None, Option(help="Who reviews; your login name when left out.")] = None
    blind: Annotated[bool, Option("--blind")] = False
    """A second opinion: without labels, the model's opinion and what others decided, in an order of
    its own, over the faces others have decided."""
    seed: Annotated[int, Option(min=0, help="Of the order of --blind.")] = 0
    first: Annotated[int | None, Option(min=1)] = None
    """Only so many of the most suspect faces."""
    whole: Annotated[bool, Option("--all")] = False
    """Begin with all faces, not only as many as may be wrong."""
    disputed: Annotated[bool, Option("--disputed")] = False
    """Only faces that reviewers disagree about, for one of them (--by) to decide anew."""
    ledger: Path | None = None
    """The ledger; DIR/decisions.jsonl when left out."""
    export: Path | None = None
    """Write a sheet to fill in without a browser, and pictures beside it."""
    sheet: Annotated[Path | None, Option("--import")] = None
    """Read decisions from a filled-in sheet."""
    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own needs a token."""
    port: Annotated[int | None, Option(min=0, max=65535)] = None
    """Port; 0 for any that is free."""
    token: str | None = None
    """Token that visitors must bring; made up when needed."""
    no_open: Annotated[bool, Option("--no-open", help="Don't open a browser.")] = False


def review(options: ReviewOptions) -> None:
    """Review suspected labels on a local page, or with --export and --import in a sheet."""
    name = (getpass.getuser() if options.by is None else options.by).strip()
    if not name or not name.isprintable() or len(name) > 80:
        raise UserError("--by: give a name of 1 to 80 printable characters.")
    check_token(options.token)
    if options.export is not None and options.sheet is not None:
        raise UserError("--export and --import: one at a time.")
    ledger = options.ledger or options.suspects / LEDGER
    by_page = options.export is None and options.sheet is None
    likely = by_page and not (options.whole or options.disputed) and options.first is None
    way = Way(name, options.blind, options.seed, options.first, likely, options.disputed)
    session = Session(open_suspects(options.suspects), ledger, way)
    if options.disputed and not len(session):
        raise UserError(f"{ledger}: reviewers disagree about no face.")
    looked = [session.look_up(place) for place in range(len(session) if options.disputed else 0)]
    if looked and not any(one.decision for one in looked):
        names = ", ".join(sorted({other.by for one in looked for other in one.others}))
        why = f"disagrees about none of {tell(len(looked), 'disputed face')}, and a further opinion"
        raise UserError(f"--by {name}: {why} settles nothing; give one of {names}.")
    if not by_page:
        from pipeline.review import sheet  # The page needs no tables.
    if options.export is not None:
        positions = sheet.list_open(session)
        folder = options.export.with_name(f"{options.export.stem}-pages")
        refuse_other_files(folder, "page-001.png", "--export", mark=None)
        sheet.write_sheet(options.export, session, positions)
        pages = sheet.draw_contact_sheets(folder, session, positions[:MOST_PICTURED])
        pictured = min(len(positions), MOST_PICTURED)
        log(f"{tell(len(positions), 'face')}: {options.export}")
        log(f"{tell(len(pages), 'page')} with the first {pictured}: {folder}")
        log("fill in 'decision': keep, drop, skip, or relabel with a class in 'to'; --import it")
    elif options.sheet is not None:
        added, known = sheet.import_sheet(options.sheet, session)
        log(f"{tell(added, 'decision')} added, {known} stood already: {ledger}")
    else:
        if session.rest and (errors := session.suspects.about.likely_errors):
            total = len(session) + session.rest
            log(f"{tell_likely(errors)} in {tell(total, 'label')}; the most suspect come first")
        faces = tell(len(session), "face")
        log(f"{faces}, {session.count('open')} not looked at by {name}: {ledger}")
        serve(session, options)


def serve(session: Session, options: ReviewOptions) -> None:
    """Serve the page until Ctrl-C."""
    token = options.token
    if token is None and not is_loopback(options.host):
        token = secrets.token_urlsafe(16)
    listener = open_port(options.host, options.port)
    address = name_address(options.host, listener.getsockname()[1], token)
    log(f"review: {address}  (Ctrl-C ends; all that is decided is saved)")
    if not options.no_open:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    run_server(create_app(session, Access(options.host, token)), listener, 2)
    done = session.count("kept") + session.count("changed")
    then = f"; next: {tell_next(session)}" if done else ""
    log(f"{done} of {tell(len(session), 'face')} decided{then}")


def run_server(app: ASGIApp, listener: socket.socket, grace: int) -> None:
    """Serve until Ctrl-C or SIGTERM, then for so many seconds what was asked for."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # Its lines would hold the token.
        timeout_graceful_shutdown=grace,
        server_header=False,
        http=HastyProtocol,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        log("ended")


def check_token(token: str | None) -> None:
    """Refuse a token that can't go into an address, or is soon guessed."""
    if token is not None and not re.fullmatch(r"[A-Za-z0-9_-]{8,200}", token):
        raise UserError("--token: 8 or more letters, digits, - and _, as it goes into a URL.")


def open_port(host: str, port: int | None) -> socket.socket:
    """Listen on an address, at `PORT` or a free one when none is named; `UserError` if not."""
    for candidate in [PORT, 0] if port is None else [port]:
        try:
            family = socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM)[0][0]
            return socket.create_server((host, candidate), family=family, backlog=128)
        except (OSError, OverflowError) as error:
            fault = error
    named = "" if port is None else f" --port {port}"
    raise UserError(
        f"--host {host}{named}: can't be listened on ({fault}); choose others, or leave them out."
    ) from fault


def name_address(host: str, port: int, token: str | None) -> str:
    """The address to open, with the token."""
    if host in ("0.0.0.0", "::"):  # noqa: S104
        host = socket.gethostname()  # Until this machine's address in its network is known.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
            probe.connect(("192.0.2.1", 9))  # Kept for documentation, RFC 5737; nothing is sent.
            host = str(probe.getsockname()[0])
    if ":" in host:
        host = f"[{host.strip('[]')}]"
    return f"http://{host}:{port}/" + ("" if token is None else f"?token={token}")
