"""The page: photos, dropped or taken with a camera, and clips; answers beside them, with tables.

Gradio writes what is dropped into a folder; it lies in memory where the system has such a place,
and a file goes as soon as it is read. Answers are HTML with the pictures inside: no file at all.
"""

import asyncio
import base64
import csv
import os
import secrets
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr

from data_prep.base.errors import UserError
from data_prep.base.html import jpeg_uri, render_html
from data_prep.base.labels import TITLES
from data_prep.base.progress import tell
from data_prep.formats.predictions import FILE
from pipeline.inference.draw import COLOURS
from pipeline.inference.folder import predict_folder
from pipeline.inference.predictor import Predictor
from pipeline.inference.records import Clock, Face, Frame
from pipeline.inference.sources import ANNOTATED, TRACKS, PhotoSet
from pipeline.inference.video.clips import VideoOptions
from pipeline.serve.service import BOXES, Ask, Found, Service, spell_name
from trimask import Faces, Results

SHOWN = 1600  # Longer side in pixels of the largest picture on the page.
SWEEP = (60, 300)
"""Seconds: how often files that were dropped but not read are looked for, and how old they get."""

LONGEST, EVERY, PATIENCE = 30.0, "0.1s", 120.0
"""Of a clip: seconds that are looked at, which frames, and seconds that this may take."""

HELLO = """# TriMask
For every face: mask **worn properly**, **worn wrongly**, or **not worn**. Photos and clips are
looked at on the machine that serves this page, and not kept."""

DRAWN = "As found; as annotators of facemask or ilc do; or around the head with its hair."

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; "
    "object-src 'none'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)
"""No other host can be asked for anything: neither fonts nor scripts nor counters."""

Sent = list[tuple[str, bytes]]  # Photos of a visitor: name and file.


@dataclass(frozen=True)
class Queued(Predictor):
    """A predictor whose frames wait among those of all visitors, and that ends as by Ctrl-C."""

    submit: Callable[[Frame], Future[list[Face]]] = field(kw_only=True)
    ends: float = field(kw_only=True)  # By `time.monotonic`.

    def __call__(self, frames: Sequence[Frame], clock: Clock | None = None) -> list[list[Face]]:
        """The faces of several frames."""
        if time.monotonic() > self.ends:
            raise KeyboardInterrupt
        return [found.result() for found in [self.submit(frame) for frame in frames]]


def make_page(service: Service) -> tuple[gr.Blocks, dict[str, Any]]:
    """The page, and the options that it is to be mounted or launched with."""
    memory = Path("/dev/shm")  # noqa: S108
    place = tempfile.TemporaryDirectory("-trimask", dir=memory if memory.is_dir() else None)
    os.environ["GRADIO_TEMP_DIR"] = folder = service.exits.enter_context(place)

    async def take(paths: Sequence[str] | str | None, *ask: Any) -> tuple[None, Sent, Any, str]:
        files = [paths] if isinstance(paths, str) else paths or []
        sent = await asyncio.to_thread(lambda: [_read(Path(file), Path(folder)) for file in files])
        await asyncio.to_thread(_sweep, Path(folder))
        return None, sent, gr.Video(visible=False), await look(sent, *ask)

    async def watch(dropped: str | None, thresh: float, boxes: str) -> tuple[None, Any, str]:
        out = Path(folder) / secrets.token_hex(8)
        try:
            sent = await asyncio.to_thread(_read, Path(dropped or ""), Path(folder))
            with service.admit(len(sent[1])):
                ask = Ask(thresh, None, boxes)
                film, told = await asyncio.to_thread(run_clip, service, sent, ask, out)
        except (UserError, TimeoutError) as error:
            film, told = None, tell_fault(error)
        return None, gr.Video(film, visible=film is not None), told

    async def look(sent: Sent, thresh: float, boxes: str) -> str:
        some, ask = sent[: service.limits.photos], Ask(thresh, None, boxes)
        try:
            with service.admit(sum(len(data) for _, data in sent)):
                found = await asyncio.gather(
                    *(service.find(data, name, ask, SHOWN) for name, data in some)
                )
        except (UserError, TimeoutError) as error:
            return tell_fault(error)
        return await asyncio.to_thread(show, found, len(sent) - len(some))

    with gr.Blocks(title="TriMask", analytics_enabled=False, delete_cache=SWEEP) as page:
        gr.Markdown(HELLO)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                with gr.Tab("Photos"):
                    drop = gr.File(file_count="multiple", file_types=["image"], height=150)
                clip = None
                if all(map(find_spec, ("av", "trackers"))):
                    with gr.Tab("Clip"):
                        clip = gr.File(file_types=["video"], height=150)
                        most = f"{service.limits.body / 1e6:g} MB"
                        gr.Markdown(
                            f"{most} at most; the first {LONGEST:g} s, ten frames a second."
                        )
                with gr.Tab("Camera"):
                    camera = gr.Image(sources=["webcam"], type="filepath", image_mode=None)
                thresh = gr.Slider(0.1, 0.95, 0.5, step=0.05, label="Least detection score")
                boxes = gr.Radio(list(BOXES), value="found", label="Draw boxes", info=DRAWN)
            with gr.Column(scale=5, min_width=320):
                film = gr.Video(visible=False, label="With faces marked; gone in 5 minutes")
                out = gr.Markdown(show([]), sanitize_html=False, elem_classes="tm")
        sent = gr.State([], time_to_live=SWEEP[1])
        hidden: Any = {"api_visibility": "private", "show_progress": "minimal"}
        for event, taken in ((drop.upload, drop), (camera.input, camera)):
            shown: Any = [taken, sent, film, out]
            event(take, [taken, thresh, boxes], shown, scroll_to_output=True, **hidden)
        if clip:
            given = [clip, thresh, boxes]
            hidden_too: Any = {"concurrency_limit": 1, "scroll_to_output": True, **hidden}
            clip.upload(watch, given, [clip, film, out], **hidden_too)
        for control in (thresh.release, boxes.input):
            control(look, [sent, thresh, boxes], out, **hidden)
    page.has_launched = True  # Else Gradio takes any path of this machine for one that was dropped.
    page.queue(max_size=service.limits.queue, default_concurrency_limit=4, api_open=False)
    return page, {
        "theme": gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        "css_paths": Path(__file__).parent / "templates" / "page.css",
        "footer_links": [],
        "run_history": False,
        "show_error": False,
        "max_file_size": service.limits.body,
    }


def _read(path: Path, folder: Path) -> tuple[str, bytes]:
    """Name and bytes of a file dropped into a folder, which then is no more; none of any other."""
    data, path = b"", path.resolve()
    if path.parent.parent == folder.resolve():
        with suppress(OSError):  # Another visitor had the same.
            data = path.read_bytes()
        shutil.rmtree(path.parent, ignore_errors=True)
    return spell_name(path.name), data


def _sweep(folder: Path) -> None:
    """Remove what nobody read, and the empty files that Gradio leaves for each one it gets."""
    for path in folder.iterdir():
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > SWEEP[1]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def run_clip(service: Service, sent: tuple[str, bytes], ask: Ask, out: Path) -> tuple[Path, str]:
    """A clip's film, in a folder, and its persons as HTML with tables to take along.
    Raises `UserError`: it can't be read, or the nets fail.
    """
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        work, place = Path(folder), Path(folder) / "clip"
        place.write_bytes(sent[1])
        predictor = Queued(
            **vars(service.predictor),
            submit=lambda frame: service.batcher.submit(frame, ask),
            ends=time.monotonic() + PATIENCE,
        )
        clip = PhotoSet(work, (), videos={sent[0]: str(place)})
        options = VideoOptions(EVERY, longest=LONGEST)
        summary = predict_folder(clip, work, predictor, draw_from=ask.thresh, video=options)
        (told,) = summary["videos"]
        if not told["frames"]:
            reason = told["damaged"]["first"] if told["damaged"] else "the nets are busy"
            raise UserError(reason.replace(str(place), sent[0]).rstrip("."))
        tables = {name: (work / name).read_bytes() for name in (FILE, f"{TRACKS}.csv")}
        people = list(csv.DictReader(tables[f"{TRACKS}.csv"].decode().splitlines()))
        page = render_html(
            "pipeline.serve",
            "clip.html",
            clip=told,
            people=[(row, jpeg_uri((work / row["crop"]).read_bytes())) for row in people],
            counted=tell(len(people), "person"),
            frames=tell(told["frames"], "frame"),
            late=PATIENCE if summary["videos_left"] else 0,
            tables={name: base64.b64encode(data).decode() for name, data in tables.items()},
            titles=TITLES,
            colours=COLOURS,
        )
        (film,) = (work / ANNOTATED).iterdir()
        out.mkdir()
        return film.rename(out / film.name), page.replace("\n", "")


def tell_fault(error: Exception) -> str:
    """Why there is no answer, as HTML."""
    return show([], error=str(error.args[0]) if error.args else "The nets are busy")


def show(found: Sequence[Found], left: int = 0, error: str = "") -> str:
    """Photos with their faces as HTML: what was found, a table to take along, pictures."""
    answers = Results(
        tuple(Faces(o.frame.name, tuple(o.faces), o.frame.orientation) for o in found)
    )
    table = answers.to_frame().to_csv(index=False, float_format="%.5f").encode()
    read = sum(not one.frame.error for one in found)
    counts = Counter(face.label for one in found for face in one.faces)
    page = render_html(
        "pipeline.serve",
        "answers.html",
        photos=[(one.frame, one.faces, jpeg_uri(one.jpeg)) for one in found],
        faces=tell(counts.total(), "face")
        + ("" if read == len(found) else f" on {read} of {tell(len(found))}"),
        counts={name: counts[name] for name in TITLES if counts[name]},
        table=base64.b64encode(table).decode(),
        titles=TITLES,
        colours=COLOURS,
        left=left,
        error=error,
    )
    return page.replace("\n", "")  # Markdown takes an empty line for the end of HTML.
