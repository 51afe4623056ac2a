"""How many photos a second the service answers, against run.py on the same photos in turn.

python -m tests.benchmarks.serve_load PHOTOS [REQUESTS]

The load goes to 127.0.0.1 only, and ends by itself: REQUESTS for the memory, EACH for a client.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import cycle, islice
from pathlib import Path
from threading import Thread, local
from urllib.request import urlopen

import numpy as np

from data_prep.base.files import read_object
from data_prep.base.progress import log

BOUNDARY = "8f1d0c2e"
CLIENTS = (1, 8, 64)
EACH = 10  # Requests of a client.
ROUNDS = 3


class Client:
    """Sends photos over connections that are kept, one for each thread."""

    def __init__(self, port: int, photos: Sequence[Path]) -> None:
        self.port, self._mine = port, local()
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n'
        end = f"\r\n--{BOUNDARY}--\r\n".encode()
        self.bodies = [(head % p.name).encode() + p.read_bytes() + end for p in photos]

    def time_one(self, body: bytes) -> float:
        """Seconds until one photo is answered; -1 where the server was too busy."""
        began = time.perf_counter()
        if not hasattr(self._mine, "connection"):
            self._mine.connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        self._mine.connection.request("POST", "/v1/predict", body, headers)
        answer = self._mine.connection.getresponse()
        told = answer.read()
        if answer.status not in (200, 429):
            raise RuntimeError(f"{answer.status}: {told[:200]!r}")
        return time.perf_counter() - began if answer.status == 200 else -1.0

    def send(self, count: int, clients: int) -> tuple[float, np.ndarray]:
        """Seconds in all, and of each of so many requests by so many clients at a time."""
        began = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            each = list(pool.map(self.time_one, islice(cycle(self.bodies), count)))
        return time.perf_counter() - began, np.array(each)

    def resident(self) -> float:
        """MiB that the server holds."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            text = answer.read().decode()
        (found,) = re.findall(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)
        return float(found) / 2**20


@contextmanager
def serving(*options: str):
    """The port of a server in a process of its own."""
    command = [sys.executable, "-m", "pipeline", "serve", "--port", "0", "--no-page", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            for line in server.stderr:
                if found := re.match(r"serving: http://127\.0\.0\.1:(\d+)/", line):
                    Thread(target=server.stderr.read, daemon=True).start()
                    yield int(found[1])
                    return
            raise RuntimeError("the server did not start")
        finally:
            server.terminate()


def time_run(folder: Path) -> float:
    """Photos a second of run.py, its start left out, decoding and the table included."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "run.py", str(folder), "-o", f"{out}/out", "--no-draw"]
        subprocess.run(command, check=True, capture_output=True)
        summary = read_object(Path(out) / "out" / "summary.json") or {}
    return summary["photos"] / summary["seconds"]["total"]


def main(folder: Path, requests: int) -> None:
    """Log throughput and times by number of clients, then memory over many requests."""
    photos = sorted(path for path in folder.iterdir() if path.is_file())
    with serving() as port:
        client = Client(port, photos)
        client.send(len(photos), 8)
        ratios = []
        for _ in range(ROUNDS):
            seconds, _ = client.send(len(photos), 8)
            ratios.append(len(photos) / seconds / time_run(folder))
        told = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
        log(f"{len(photos)} photos, 8 clients: {np.median(ratios):.2f} of run.py's ({told})")
        for clients in CLIENTS:
            seconds, each = client.send(EACH * clients, clients)
            done = each[each >= 0]
            middle, slow = np.percentile(done, (50, 95)) * 1000
            told = f"{clients} clients: {len(done) / seconds:.1f} photos/s, p50 {middle:.0f} ms"
            log(f"{told}, p95 {slow:.0f} ms, {len(each) - len(done)} of {len(each)} turned away")
        held = [client.resident()]
        for _ in range(5):
            client.send(requests // 5, 8)
            held.append(client.resident())
        log(f"MiB after each {requests // 5} requests: " + ", ".join(f"{mib:.0f}" for mib in held))


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2000)
