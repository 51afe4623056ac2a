"""Frames of clips, streams and cameras, by PyAV and OpenCV; PyAV is imported when one is read."""

import math
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from threading import Condition, Event, Thread
from typing import Any

import cv2
import numpy as np

from data_prep.base.boxes import UPRIGHT
from data_prep.base.errors import OptionError
from data_prep.base.progress import log
from pipeline.inference.addresses import hide_password, quote_address
from pipeline.inference.records import Frame
from pipeline.inference.sources import PhotoSet, spell
from pipeline.inference.video.alarms import Alarm

EXTRA = 'pip install "trimask[video]"'
FORMATS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,mjpeg,h264,hevc,m4v,ivf,dv,mxf"
"""Kinds of files that are read: none that is a list of other files."""
FROM_ZERO = {"matroska,webm", "asf"}  # Kinds whose length counts from time 0, as PyAV calls them.
MOST_PIXELS = 50_000_000  # Of a frame.
TRY_WINDOW = (sys.executable, "-c", "import cv2; cv2.namedWindow('TriMask')")

WAIT = 10.0  # Seconds without an answer after which a stream counts as lost.
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # Seconds before it is joined again; then the last.

_TURNS = {0: UPRIGHT, 1: 8, 2: 3, 3: 6}  # EXIF's orientation for quarter turns to the left.
_COVER = 0x400  # FFmpeg's flag of the picture on the cover of a piece of music.

Picture = Callable[[], tuple[np.ndarray, int]]
"""Gives pixels and the EXIF orientation that they were turned upright by, once asked."""


@dataclass(frozen=True)
class VideoOptions:
    """What is asked of videos beyond what is asked of photos."""

    every: str = "1"  # Frames that are taken: `3` is each third, `0.5s` two of each second.
    alarm: Alarm | None = None
    show: bool = False
    longest: float = math.inf  # Seconds of a clip that are looked at.

    def fit(self, photos: PhotoSet) -> PhotoSet:
        """Pass over videos where the packages that they need are not installed.
        Raises `OptionError`: nothing is left, the options are wrong, or there is no display.
        """
        choose_frames(self.every)
        if self != VideoOptions() and not photos.videos:
            raise OptionError("--every, --show and --alarm with a command or URL are for videos.")
        # In a process of its own, which Qt ends where it finds no display.
        if self.show and subprocess.run(TRY_WINDOW, capture_output=True).returncode:
            why = "no display here, or OpenCV has no windows, as opencv-python-headless"
            raise OptionError(f"--show: {why}; leave it out, the film shows the same.")
        if not photos.videos or all(map(find_spec, ("av", "trackers"))):
            return photos
        if not photos.images:
            raise OptionError(f"videos need more packages: {EXTRA}")
        left = tuple((name, f"a video: {EXTRA}") for name in photos.videos)
        return replace(photos, videos={}, passed_over=photos.passed_over + left)


def choose_frames(every: str) -> Callable[[int, float], bool]:
    """Tells of each frame in turn, by index and seconds, whether it is taken.
    Raises `OptionError`: `every` is neither a number nor seconds.
    """
    if re.fullmatch(r"[1-9]\d{0,8}", every):
        return lambda index, _: index % int(every) == 0
    seconds = float(every[:-1]) if re.fullmatch(r"\d+(\.\d+)?s", every) else 0.0
    if not seconds:
        raise OptionError(f"--every {every}: write 3 for each third frame, or 0.5s.")
    last = -1.0

    def choose(_: int, time_s: float) -> bool:
        nonlocal last
        before, last = last, (time_s + 1e-6) // seconds
        return last > before

    return choose


@dataclass
class Clip:
    """A source of all frames of a file, or of an address with an end.

    Frames are upright, 8-bit RGB; of interlaced ones a field is taken. Stretches that can't be read
    are frames with errors.
    """

    name: str
    place: str
    every: str = "1"
    longest: float = math.inf  # Seconds from its beginning.
    dead: Exception | None = None  # Why it can't be had, where that is known.

    def __iter__(self) -> Iterator[Frame]:
        import av

        try:
            if self.dead:
                raise self.dead
            with open_video(self.place) as container:
                yield from self._read(container)
        except (av.FFmpegError, OSError) as error:
            why = ": damaged, cut short or of an unknown kind; copy it again or convert it"
            hint = "" if "://" in self.place else why
            late = isinstance(error, av.error.ExitError)
            told = f"no answer in {WAIT:g} s" if late else spell(str(error.strerror))
            yield self._fault(f"can't be read as a video ({told}){hint}")

    def _fault(self, what: str) -> Frame:
        return Frame(self.name, error=f"{hide_password(self.place)}: {what}.")

    def _read(self, container: Any) -> Iterator[Frame]:
        import av

        streams = [one for one in container.streams.video if not one.disposition & _COVER]
        if not streams:
            yield self._fault(f"only {'sound' if container.streams.audio else 'data'} in it")
            return
        streams[0].thread_type = "AUTO"
        streams[0].codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        choose, index, first, now = choose_frames(self.every), -1, None, 0.0
        packets = container.demux(streams[0])
        while True:
            try:
                pictures = next(packets).decode()
            except StopIteration:
                break
            except av.InvalidDataError:
                yield self._fault(f"damaged after {now:.1f} s")
                continue
            except OSError:  # So do servers end that don't tell the length, too.
                last = av.Packet()
                last.stream, last.time_base = streams[0], streams[0].time_base
                pictures = last.decode()
            for picture in pictures:
                index, told = index + 1, picture.time
                told = index / float(streams[0].average_rate or 25) if told is None else told
                first = told if first is None else first
                now = max(now, told - first)
                if now > self.longest:
                    return
                if choose(index, now):
                    began = time.perf_counter()
                    pixels, turned = to_pixels(picture)
                    took = time.perf_counter() - began
                    frame = Frame(self.name, index, pixels, orientation=turned)
                    yield replace(frame, time_s=now, seconds=took)
        whole = (container.duration or 0) / av.time_base
        begin = 0 if container.format.name in FROM_ZERO else (container.start_time or 0)
        late = max(0.0, (first or 0.0) - begin / av.time_base)
        if index < 0:
            yield self._fault("no frames in it")
        elif now + late < whole - max(1.0, 0.02 * whole):
            yield self._fault(f"cut short, ends after {now:.1f} of {whole:.1f} s")


def open_video(place: str) -> Any:
    """A container of PyAV that reads from where it is told, and nowhere else."""
    import av

    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS}
    if "://" in place:
        options = {"protocol_whitelist": "http,https,tcp,tls,udp,rtp,rtsp,rtmp,srt,crypto"}
    if place.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    place = quote_address(place) if "://" in place else place
    return av.open(place, options=options, timeout=WAIT, metadata_errors="replace")


def to_pixels(picture: Any) -> tuple[np.ndarray, int]:
    """A decoded frame as pixels, and EXIF's orientation by which it was turned upright."""
    pixels = picture.to_ndarray(format="rgb24")
    if picture.interlaced_frame:
        pixels = cv2.resize(pixels[::2], (picture.width, picture.height))
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)), _TURNS[turns]


@dataclass
class Live:
    """A source of the newest frame of a camera or a stream when one is asked for; others drop.

    Once lost it is joined again, with growing pauses, until the consumer stops; one that can't be
    had at all gives a frame with an error.
    """

    name: str
    open_: Callable[[], Generator[Picture]]
    every: str = "1"
    dropped: int = 0
    joined_again: int = 0
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=10_000))  # Seconds.

    def __iter__(self) -> Iterator[Frame]:
        self._room, self._stop, self._error = Condition(), Event(), ""
        self._newest: deque[tuple[int, float, float, Picture]] = deque(maxlen=1)
        Thread(target=self._capture, daemon=True).start()
        try:
            while self._newest or not self._error:
                with self._room:
                    if not self._room.wait_for(lambda: self._newest, 0.2):
                        continue
                    index, captured, at, picture = self._newest.pop()
                try:
                    pixels, turned = picture()
                except Exception as error:  # noqa: BLE001 - One frame of many; any format may come.
                    yield Frame(self.name, index, error=f"{self.name}: not decoded ({error}).")
                    continue
                yield Frame(self.name, index, pixels, orientation=turned, time_s=at)
                self.latencies.append(time.monotonic() - captured)
            yield Frame(self.name, error=self._error)
        finally:
            self._stop.set()

    def describe(self) -> dict[str, Any]:
        """What summary.json tells of it."""
        delays = np.array(self.latencies or [0.0]) * 1000
        half, most = np.percentile(delays, (50, 95)).round(1).tolist()
        lost = {"dropped": self.dropped, "joined_again": self.joined_again}
        return {"latency_ms": {"median": half, "p95": most}, **lost}

    def _capture(self) -> None:
        index, tries, began, choose = 0, 0, 0.0, choose_frames(self.every)
        while not self._stop.is_set():
            why = "it ended"
            try:
                with closing(self.open_()) as pictures:
                    for picture in pictures:
                        now = time.monotonic()
                        began = began or now
                        self.joined_again, tries = self.joined_again + (tries > 0), 0
                        if choose(index, now - began):
                            with self._room:
                                self.dropped += len(self._newest)
                                self._newest.append((index, now, now - began, picture))
                                self._room.notify_all()
                        index += 1
                        if self._stop.is_set():
                            return
            except Exception as error:  # noqa: BLE001 - Drivers and networks fail in any way.
                why = spell(getattr(error, "strerror", None) or str(error))
            if not index:
                self._error = f"{self.name}: can't be read ({why})."
                return
            pause = PAUSES[min(tries, len(PAUSES) - 1)]
            tries += 1
            log(f"{self.name}: lost ({why}); joined again in {pause:g} s")
            self._stop.wait(pause)


def open_source(name: str, place: str, options: VideoOptions) -> Clip | Live:
    """What reads a video: a file, an address, or the number of a camera."""
    if place.isdecimal():
        return Live(name, partial(read_camera, int(place)), options.every)
    ends, dead = "://" not in place, None
    if place.startswith("http"):
        import av

        log(f"{name}: asked for, which takes {WAIT:g} s if there is no answer")
        try:
            with open_video(place) as container:
                ends = bool(container.duration)
        except (av.FFmpegError, OSError) as error:  # The clip tells why.
            ends, dead = True, error
    if ends:
        return Clip(name, place, options.every, options.longest, dead)
    return Live(name, partial(read_stream, place), options.every)


def read_stream(place: str) -> Generator[Picture]:
    """Frames of a stream as they come in."""
    with open_video(place) as container:
        for picture in container.decode(video=0):
            yield partial(to_pixels, picture)


def read_camera(number: int) -> Generator[Picture]:
    """Frames of a local camera, by OpenCV's number of it."""
    cv2.utils.logging.setLogLevel(0)  # Each way to a camera would tell at length why it is none.
    camera = cv2.VideoCapture(number)
    try:
        while (read := camera.read())[0]:
            yield partial(lambda bgr: (cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), UPRIGHT), read[1])
        raise OSError("no camera of that number, or another program uses it")
    finally:
        camera.release()
