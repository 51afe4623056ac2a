"""How long the page of `review` takes to open, and what it holds, by number of faces.

python -m tests.benchmarks.many_faces SUSPECTS [COUNT …]

SUSPECTS is a folder that `suspects` wrote; its rows are repeated under further object numbers.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from urllib.request import Request, urlopen

import numpy as np
import pandas as pd

from data_prep.base.progress import log
from data_prep.base.tables import markdown_table

DECISIONS = 20


def grow(suspects: Path, out: Path, count: int) -> None:
    """A suspects folder of so many faces: each row several times, one after the other."""
    out.mkdir(parents=True)
    shutil.copy(suspects / "suspects.json", out)
    table = pd.read_csv(suspects / "suspects.csv", keep_default_na=False)
    row, copy = np.divmod(np.arange(count), -(-count // len(table)))
    table = table.iloc[row].reset_index(drop=True)
    table["object"] += 10_000 * copy
    table["rank"] = np.arange(1, count + 1)
    table.to_csv(out / "suspects.csv", index=False)


def time_review(folder: Path) -> dict[str, float]:
    """Until the page's first face is there, of a decision, and the most memory in MiB.

    Seconds are of the wall; of the processor too until then, which a busy machine doesn't change.
    """
    command = [sys.executable, "-m", "pipeline", "review", str(folder), "--all", "--no-open"]
    command += ["--by", "ada", "--port", "0", "--ledger", str(folder / "timed.jsonl")]
    began = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        address = next(line for line in server.stderr if "review: http" in line).split()[1]

        def ask(path: str, body: object = None) -> bytes:
            data = None if body is None else json.dumps(body).encode()
            headers = {"x-review": "1", "content-type": "application/json"}
            with urlopen(Request(address + path, data, headers)) as answer:
                told: bytes = answer.read()
            return told

        edition = json.loads(ask("api/session"))["edition"]
        ask("api/face/0")
        ask("picture/crop/0")
        opened = time.perf_counter() - began
        worked = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        processor = sum(map(int, worked)) / os.sysconf("SC_CLK_TCK")
        each = []
        for position in range(DECISIONS):
            body = {"edition": edition, "position": position, "version": 0, "action": "keep"}
            started = time.perf_counter()
            ask("api/decide", body)
            each.append(time.perf_counter() - started)
        status = Path(f"/proc/{server.pid}/status").read_text()
        server.terminate()
    held = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return {"seconds": opened, "processor": processor, "decision": median(each), "MiB": held}


def main(suspects: Path, *counts: int) -> None:
    """Print a table."""
    rows: list[list[object]] = []
    for count in counts or (10_000, 100_000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            grow(suspects, Path(folder, "found"), count)
            for which in ("first", "again"):
                told = time_review(Path(folder, "found"))
                Path(folder, "found", "timed.jsonl").unlink()
                log(f"{count} faces, {which}: {told}")
                rows.append([count, which, *(f"{value:.3g}" for value in told.values())])
    log(markdown_table(["faces", "opened", "seconds", "processor", "a decision", "MiB"], rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
