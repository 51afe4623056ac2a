"""The annotated film of a video, and the window that shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_prep.base.files import make_folder, writing
from pipeline.inference.draw import draw_faces
from pipeline.inference.records import Clock, Face, Frame

ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "mpeg4")
"""The first that the build of FFmpeg has writes films: H.264 but for the last."""
QUALITY = {"preset": "veryfast", "crf": "23", "b": "4000000"}  # Each takes what it knows.

MOST_SIDE = 1920  # Larger frames are shrunk for the film.


@dataclass
class Film:
    """A `Sink` that draws frames, writes them as an MP4, each at its time, and shows them.

    A film that is killed can be watched up to then; `path` gets it when it is closed.
    """

    path: Path | None
    staged: Path  # What is written to first.
    draw_from: float  # Least detection score of a face.
    clock: Clock
    show: bool = False

    def __post_init__(self) -> None:
        self._file: tuple[Any, Any] | None = None

    def add(self, frame: Frame, faces: Sequence[Face]) -> None:
        """Draw one; stopped in the window by q or Escape, as by Ctrl-C."""
        assert frame.pixels is not None
        with self.clock.measure("draw"):
            seen = [face for face in faces if face.detection >= self.draw_from]
            drawing = draw_faces(frame.pixels, seen)
            factor = MOST_SIDE / max(drawing.shape[:2])
            if factor < 1:
                size = (round(drawing.shape[1] * factor), round(drawing.shape[0] * factor))
                drawing = cv2.resize(drawing, size, interpolation=cv2.INTER_AREA)
            if self.path:
                with writing(self.staged):
                    self._encode(drawing, frame.time_s or 0.0)
        if self.show:
            cv2.imshow(frame.name, cv2.cvtColor(drawing, cv2.COLOR_RGB2BGR))
            if cv2.waitKey(1) & 0xFF in (ord("q"), 27):
                raise KeyboardInterrupt

    def _encode(self, drawing: np.ndarray, time_s: float) -> None:
        import av

        height, width = drawing.shape[:2]
        if self._file is None:
            make_folder(self.staged.parent)
            film = av.open(str(self.staged), "w", options={"movflags": "hybrid_fragmented"})
            name = next(name for name in ENCODERS if name in av.codecs_available)
            stream: Any = film.add_stream(name, rate=30, options=QUALITY)
            stream.width, stream.height = max(2, width - width % 2), max(2, height - height % 2)
            stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 1000)
            stream.codec_context.max_b_frames = 0  # Which some players delay.
            self._file = film, stream
        film, stream = self._file
        if (width, height) != (stream.width, stream.height):
            drawing = cv2.resize(drawing, (stream.width, stream.height))
        picture = av.VideoFrame.from_ndarray(drawing, format="rgb24")
        picture.pts = round(time_s * 1000)
        film.mux(stream.encode(picture))

    def close(self) -> None:
        """Finish it."""
        if self.show:
            cv2.destroyAllWindows()
        if self._file is None or self.path is None:
            return
        film, stream = self._file
        with writing(self.path):
            film.mux(stream.encode())
            film.close()
            make_folder(self.path.parent)
            self.staged.replace(self.path)
