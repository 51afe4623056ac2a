"""What the page and the REST calls share: photos in, faces out, with bounds on all that is held.

One thread runs the nets, and photos that arrive together share a batch. Bytes are bounded before a
body is read (`Service.admit`), pixels before a photo is decoded.
"""

import asyncio
import io
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import PurePath
from typing import Any, Literal, NamedTuple, get_args

from PIL import Image
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from data_prep.base.errors import UserError
from data_prep.base.photo import PhotoError, photo_size
from pipeline.inference.addresses import fetch
from pipeline.inference.draw import COARSE, draw_faces
from pipeline.inference.engines import EngineError
from pipeline.inference.predictor import Predictor
from pipeline.inference.records import BATCH_FRAMES, BATCH_PIXELS, Face, Frame
from pipeline.inference.sources import decode_item
from pipeline.nets.options import find_boxes

BoxesName = Literal["found", "facemask", "ilc", "head"]
BOXES = {"found": None, **{name: find_boxes(name) for name in get_args(BoxesName)[1:]}}
"""Conventions that boxes are told in: as the nets find faces, or as others draw them."""

FETCHERS = 5  # Addresses that are fetched from at a time.
PAUSE = 0.005  # Seconds after which a photo asks again for room for its pixels.
STUCK = 60.0  # Seconds after which a batch that is still running counts as hanging.


class BusyError(UserError):
    """More is asked than fits the queue; about how many seconds to wait is its second argument."""


class Ask(NamedTuple):
    """How faces are looked for, see `trimask.Model.predict`, and how boxes are told."""

    thresh: float = 0.5
    resize: float | None = None
    boxes: str = "found"  # Of `BOXES`.


class Found(NamedTuple):
    """What is kept of a photo once it is answered: all but its pixels."""

    frame: Frame
    size: tuple[int, int] = (0, 0)  # Width and height.
    faces: Sequence[Face] = ()
    jpeg: bytes = b""  # With the faces marked, where asked for.


class Job(NamedTuple):
    """A photo that waits for the nets."""

    frame: Frame
    ask: Ask
    answer: Future[list[Face]]
    due: float  # When it waits for no others any more, by `time.monotonic`.


class Batcher:
    """One thread with the nets; whoever asks within `wait` seconds of the first shares a batch.

    A photo that the nets fail on is told so; the others of its batch are run again without it.
    """

    def __init__(self, predictor: Predictor, wait: float, sizes: Histogram) -> None:
        self.predictor, self.wait, self.sizes = predictor, wait, sizes
        self.nets = ThreadPoolExecutor(1)
        self.since = math.inf  # When the batch began that is running, by `time.monotonic`.
        self.pace = 0.1  # Seconds a photo took, of the last batch.
        self._waiting: deque[Job] = deque()

    @property
    def hangs(self) -> bool:
        """Whether a batch has been running for too long."""
        return time.monotonic() - self.since > STUCK

    def submit(self, frame: Frame, ask: Ask) -> Future[list[Face]]:
        """The faces of a photo, best detection first, as soon as they are known."""
        job = Job(frame, ask, Future(), time.monotonic() + self.wait)
        self._waiting.append(job)
        self.nets.submit(self._run)
        return job.answer

    def _run(self) -> None:
        if not self._waiting:
            return  # It went with an earlier batch.
        time.sleep(max(0.0, self._waiting[0].due - time.monotonic()))
        count = min(len(self._waiting), BATCH_FRAMES)  # Their pixels are bounded.
        batch = [self._waiting.popleft() for _ in range(count)]
        self.since = began = time.monotonic()
        wanted = [job for job in batch if job.answer.set_running_or_notify_cancel()]
        for ask in dict.fromkeys(job.ask for job in wanted):
            self._answer([job for job in wanted if job.ask == ask])
        self.since, self.pace = math.inf, (time.monotonic() - began) / count
        self.sizes.observe(count)

    def _answer(self, jobs: Sequence[Job]) -> None:
        thresh, resize, boxes = jobs[0].ask
        try:
            predictor = replace(self.predictor, thresh=thresh, resize=resize, boxes=BOXES[boxes])
            found = predictor([job.frame for job in jobs])
            numbers = ((*f.box, f.detection, *f.probabilities) for f in chain(*found))
            if not all(map(math.isfinite, chain(*numbers))):
                raise EngineError("the nets answer with what is no number: no faces are told.")
        except BaseException as error:  # noqa: BLE001  One photo's fault must not end all.
            if len(jobs) == 1:
                why = str(error) or type(error).__name__
                jobs[0].answer.set_exception(EngineError(f"{jobs[0].frame.name}: {why}"))
            else:
                for job in jobs:
                    self._answer([job])
        else:
            for job, faces in zip(jobs, found, strict=True):
                job.answer.set_result(faces)


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for."""

    body: int = 32_000_000  # Bytes of a request.
    pixels: int = 50_000_000  # Of a photo, after enlargement.
    photos: int = 32  # In a request.
    queue: int = 64  # Requests at a time; further ones are turned away.
    held: int = 256_000_000  # Bytes of all requests at a time.
    seconds: float = 60.0  # For an answer, and before it for what lies at an address.
    urls: str = "none"  # Hosts that photos are fetched from: none, public, or any.


@dataclass
class Service:
    """The nets with a queue before them; one for all visitors, used by one event loop."""

    predictor: Predictor
    limits: Limits = field(default_factory=Limits)
    wait: float = 0.005  # Seconds that a photo waits for others to share its batch.

    def __post_init__(self) -> None:
        known: Any = {"registry": CollectorRegistry()}
        ProcessCollector(**known)
        self.registry = known["registry"]
        self.asked = Counter("trimask_requests", "Requests for faces.", ["status"], **known)
        self.seconds = Histogram("trimask_request_seconds", "Until the answer.", **known)
        self._waiting = Gauge("trimask_waiting", "Requests not answered yet.", **known)
        self._photos = Counter("trimask_photos", "Photos.", ["outcome"], **known)
        self._faces = Counter("trimask_faces", "Faces found.", ["label"], **known)
        sizes = Histogram("trimask_batch", "Photos of a batch.", buckets=(1, 2, 4, 8, 16), **known)
        self.batcher = Batcher(self.predictor, self.wait, sizes)
        self.exits = ExitStack()  # What is done at the end.
        self.exits.callback(self.batcher.nets.shutdown)
        self._fetchers, self._fetching = ThreadPoolExecutor(FETCHERS), asyncio.Semaphore(FETCHERS)
        self.exits.callback(self._fetchers.shutdown, wait=False, cancel_futures=True)
        self._known, self._pixels = self.predictor.known, 0
        self._requests = self._bytes = 0

    @contextmanager
    def admit(self, size: int) -> Iterator[None]:
        """Count a request of so many bytes as being worked on.

        Raises `BusyError`: too many; `TimeoutError`: the nets hang, and would only heap up more.
        """
        if self.batcher.hangs:
            raise TimeoutError
        full = self._bytes and self._bytes + size > self.limits.held
        if full or self._requests >= self.limits.queue:
            told = f"{self._requests} requests are being worked on"
            raise BusyError(told, max(1, math.ceil(self._requests * self.batcher.pace)))
        self._requests, self._bytes = self._requests + 1, self._bytes + size
        self._waiting.inc()
        try:
            yield
        finally:
            self._requests, self._bytes = self._requests - 1, self._bytes - size
            self._waiting.dec()

    async def find(self, photo: bytes | str, name: str, ask: Ask, draw: int = 0) -> Found:
        """The faces of a photo, given by its bytes or address; a frame with an error has none.

        With `draw` drawn, too, so many pixels a side at most. Raises `TimeoutError`, `EngineError`.
        """
        async with AsyncExitStack() as held:
            data = await self._fetch(photo, name, held) if isinstance(photo, str) else photo
            async with asyncio.timeout(self.limits.seconds):
                found = data if isinstance(data, Found) else await self._find(data, name, ask, draw)
        self._photos.labels("unreadable" if found.frame.error else "read").inc()
        for face in found.faces:
            self._faces.labels(face.label).inc()
        return found

    async def _fetch(self, address: str, name: str, held: AsyncExitStack) -> bytes | Found:
        """What lies at an address; of so few at a time that their bytes can be held."""
        bring = partial(fetch, address, public=self.limits.urls == "public")
        try:
            async with asyncio.timeout(self.limits.seconds):
                await held.enter_async_context(self._fetching)
                return await asyncio.get_running_loop().run_in_executor(self._fetchers, bring)
        except (PhotoError, TimeoutError) as error:
            return Found(Frame(name, error=str(error) or f"{name}: not there in time."))

    async def _find(self, photo: bytes, name: str, ask: Ask, draw: int) -> Found:
        pixels = 0
        with suppress(PhotoError):  # Decoding tells what is wrong.
            area = math.prod(photo_size(io.BytesIO(photo)))
            pixels = math.ceil(area * max(1.0, ask.resize or 0) ** 2)
        if pixels > self.limits.pixels:
            most = f"{pixels / 1e6:.1f} million pixels; {self.limits.pixels / 1e6:g} are the most"
            return Found(Frame(name, error=f"{name}: has, as enlarged, {most} here."))
        while self._pixels and self._pixels + pixels > 2 * BATCH_PIXELS:
            await asyncio.sleep(PAUSE)
        self._pixels += pixels
        try:
            frame = await asyncio.to_thread(decode_item, photo, name)
            if frame.error:
                return Found(frame)
            faces = await asyncio.wrap_future(self.batcher.submit(frame, ask))
            jpeg = await asyncio.to_thread(draw_jpeg, frame, faces, draw) if draw else b""
            told = replace(frame, pixels=None, learnt=self._known.tell(frame.fingerprint))
            return Found(told, frame.size, faces, jpeg)
        finally:
            self._pixels -= pixels


def spell_name(name: str | None) -> str:
    """The name of a photo without folders, for answers."""
    return PurePath((name or "").replace("\\", "/")).name or "photo"


def draw_jpeg(frame: Frame, faces: Sequence[Face], longest: int) -> bytes:
    """The photo with its faces marked as a JPEG file, of so many pixels a side at most."""
    assert frame.pixels is not None
    drawing, buffer = Image.fromarray(draw_faces(frame.pixels, faces)), io.BytesIO()
    drawing.thumbnail((longest, longest))
    drawing.save(buffer, "JPEG", **COARSE)
    return buffer.getvalue()
