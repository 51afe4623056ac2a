"""Tiny clips with painted faces."""

import contextlib
import re
import socketserver
import struct
import threading
import time
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.pipeline.makers import Objects, paint_photo

WALK: tuple[Objects, ...] = tuple(
    [("with_mask", (10 + 2 * index, 15, 50 + 2 * index, 55))] for index in range(12)
)
"""One person who walks to the right."""


def write_clip(
    path: Path,
    faces: Iterable[Objects] = WALK,
    *,
    size: tuple[int, int] = (120, 90),
    times: Iterable[float] | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rotation: int | None = None,
    flags: int = 0,
) -> Path:
    """Write a clip, a painted frame for each list of faces; times in seconds, else 25 a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    faces = list(faces)
    begin = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=begin) as container:
        quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        stream = container.add_stream(codec, rate=25, options=quiet)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        context = stream.codec_context
        ticks = 1000 if times else 25  # Old codecs know few rates.
        context.time_base, context.max_b_frames, context.gop_size = Fraction(1, ticks), 0, 4
        context.flags |= flags
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for there, at in zip(faces, times or np.arange(len(faces)) / 25, strict=True):
            picture = av.VideoFrame.from_ndarray(paint_photo(there, *size), "rgb24")
            picture.pts = round(at * ticks)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """A file with a second of silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        for index in range(8):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.rate, silence.pts = 8000, index * 1024
            container.mux(stream.encode(silence))
        container.mux(stream.encode())
    return path


class RtspServer(socketserver.ThreadingTCPServer):
    """Sends a clip again and again by RTSP (RFC 2326), RTP with H.264 (RFC 6184) in its own TCP."""

    daemon_threads = allow_reuse_address = True

    def __init__(self, faces: Iterable[Objects] = WALK) -> None:
        super().__init__(("127.0.0.1", 0), _Rtsp)
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = 120, 90, "yuv420p"
        encoder.time_base, encoder.max_b_frames, encoder.gop_size = Fraction(1, 25), 0, 4
        encoder.options = {"tune": "zerolatency"}
        packets = []
        for index, there in enumerate(faces):
            picture = av.VideoFrame.from_ndarray(paint_photo(there, 120, 90), "rgb24")
            picture.pts = index
            packets += encoder.encode(picture)
        self.units = [re.split(rb"\x00\x00\x00?\x01", bytes(packet))[1:] for packet in packets]
        self.address = f"rtsp://127.0.0.1:{self.server_address[1]}/live"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Rtsp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
        sdp += "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:v\r\n"
        while line := self.rfile.readline():
            method, number = line.split()[0], b"1"
            while (header := self.rfile.readline()).strip():
                if header.lower().startswith(b"cseq:"):
                    number = header.split(b":")[1].strip()
            more = {
                b"DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n",
                b"SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n",
            }.get(method, "Session: 1\r\n")
            body = sdp if method == b"DESCRIBE" else ""
            answer = f"RTSP/1.0 200 OK\r\nCSeq: {number.decode()}\r\n{more}\r\n{body}"
            self.wfile.write(answer.encode())
            if method == b"PLAY":
                break
        count = 0
        with contextlib.suppress(OSError):
            for index in range(3000):
                units = self.server.units[index % len(self.server.units)]
                for unit in units:
                    last = unit is units[-1]
                    rtp = struct.pack(">BBHII", 128, 96 | last << 7, count % 65536, index * 3600, 1)
                    self.wfile.write(b"$\0" + struct.pack(">H", 12 + len(unit)) + rtp + unit)
                    count += 1
                time.sleep(0.01)
