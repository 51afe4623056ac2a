"""The command `serve`."""

import signal
from dataclasses import dataclass, field, replace
from typing import Annotated

import typer

from data_prep.base.errors import UserError
from data_prep.base.progress import log
from pipeline.nets.options import SHIPPED, Device, EngineName, Quality, Unsure, Weights
from pipeline.review.command import check_token, name_address, open_port, run_server
from pipeline.review.guard import Access, Guard, is_loopback

PORT = 8378
TOKEN = "TRIMASK_TOKEN"  # noqa: S105  The variable's name.
GRACE = 10  # Seconds that requests have to be answered when the service is stopped.


@dataclass(frozen=True)
class ServeOptions:
    """Options of `serve`."""

    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own needs a token."""
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = PORT
    token: Annotated[
        str | None, typer.Option(help=f"What visitors must bring; or set {TOKEN}.", envvar=TOKEN)
    ] = None
    name: list[str] = field(default_factory=list)
    """A name that the host goes by; may be repeated."""
    page: Annotated[bool, typer.Option(help="Serve the page, too, not only REST.")] = True
    wait_ms: Annotated[float, typer.Option(min=0, max=1000)] = 5.0
    """How long a photo waits for others to join it."""
    queue: Annotated[int, typer.Option(min=1)] = 64
    """Requests worked on at a time; others are told to wait."""
    max_mb: Annotated[float, typer.Option(min=0.1, help="Megabytes of a request at most.")] = 32.0
    allow_urls: Annotated[bool, typer.Option("--allow-urls")] = False
    """Fetch photos from public hosts that requests name."""
    allow_private_urls: Annotated[bool, typer.Option("--allow-private-urls")] = False
    """From hosts of this network and machine, too."""
    device: Device = "auto"
    engine: EngineName = "auto"
    quality: Quality = "normal"
    unsure: Unsure = False
    weights: Weights = SHIPPED


def serve(options: ServeOptions) -> None:
    """Serve a page for photos, and REST: POST /v1/predict, GET /v1/model, /metrics, /healthz.

    Ctrl-C or SIGTERM ends it once the requests that were taken are answered.
    """
    check_token(options.token)
    if options.token is None and not is_loopback(options.host):
        raise UserError(f"--host {options.host}: others can reach it; set --token or {TOKEN}.")
    listener = open_port(options.host, options.port)
    if options.page:
        from pipeline.serve import page
    from pipeline.inference.predictor import Predictor
    from pipeline.serve.api import create_app
    from pipeline.serve.service import Limits, Service

    asked = {name: getattr(options, name) for name in ("device", "engine", "quality", "unsure")}
    predictor = Predictor.load(options.weights, **asked)
    log(f"nets: {predictor.origin}; engine {predictor.engine}")
    urls = "any" if options.allow_private_urls else "public" if options.allow_urls else "none"
    limits = Limits(body=int(options.max_mb * 1e6), queue=options.queue, urls=urls)
    service = Service(predictor, limits, options.wait_ms / 1000)
    app = create_app(service)
    names = tuple(name.lower() for name in options.name)
    access = Access(
        options.host, options.token, names, limits.body, own_header=False, open_path="/healthz"
    )
    if options.page:
        blocks, how = page.make_page(service)
        page.gr.mount_gradio_app(app, blocks, "/", **how)
        access = replace(access, policy=page.POLICY)
    address = name_address(options.host, listener.getsockname()[1], options.token)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # For uvicorn raises it at its end.
    log(f"serving: {address}  (Ctrl-C ends)")
    run_server(Guard(app, access), listener, GRACE)
