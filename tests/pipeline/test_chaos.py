"""Commands killed, stopped, out of disk and run twice at once end in what an undisturbed one gives.

Real processes and real signals, so behind `make test-slow`; `CHAOS_KILLS` says how often each is
killed.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep.base.files import PART, STAGING
from tests.pipeline.makers import paint_dataset
from tests.pipeline.tables import write_tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX"),
]

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("CHAOS_KILLS", "20"))
NAMES = ("build", "train", "suspects", "run")
MADE = {
    "train": ("*/classifier.safetensors", "*/valid.csv", "*/recipe.toml"),
    "suspects": ("suspects.csv", "suspects.json"),
    "run": ("predictions.csv", "photos.csv", "annotated/**/*.jpg"),
}
"""Files that are the same each time; the others tell seconds. Of a build all are."""


class Command:
    """A command on small data, begun or gone on with in any folder."""

    def __init__(self, name, folder, prepared):
        self.name, self.prepared = name, prepared
        self.data = paint_dataset(folder / "set", 16)
        self.recipe = write_tiny(folder)

    def arguments(self, out):
        if self.name == "build":
            return ["-m", "data_prep", "build", self.data, "-o", out, "--workers", 2]
        if self.name == "run":
            return ["run.py", self.data / "images", "-o", out, "--thresh", 0.1]
        how = ["--recipe", self.recipe, "--device", "cpu"]
        if self.name == "suspects":
            return ["-m", "pipeline", "suspects", self.prepared, "-o", out, *how, "--jobs", 1]
        begun = [path.parent for path in sorted(out.glob("*/run.json"))]
        how = ["--resume", begun[-1], "--device", "cpu"] if begun else how
        return ["-m", "pipeline", "train", self.prepared, "-o", out, *how]

    def start(self, out, limit=None):
        """The process; `limit` is the bytes that a file may have."""

        def set_limit():
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return subprocess.Popen(
            [sys.executable, *map(str, self.arguments(out))],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=set_limit,  # Safe: there are no threads here.
        )

    def finish(self, out):
        """Go on until it is done."""
        process = self.start(out)
        _, told = process.communicate(timeout=600)
        is_done = self.name == "train" and "this training is done" in told
        assert process.returncode == 0 or is_done, told

    def read(self, out):
        """What it made, whatever the run is called; nothing half-written is left."""
        left = [path for path in out.rglob("*") if path.name.endswith(PART) or path.name == STAGING]
        assert left == []
        patterns = MADE.get(self.name, ("**/*",))
        if self.name == "train":
            out = max(path.parent for path in out.glob("*/classifier.json"))
            patterns = [pattern.removeprefix("*/") for pattern in patterns]
        files = {path for pattern in patterns for path in out.glob(pattern) if path.is_file()}
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module", params=NAMES)
def undisturbed(request, tmp_path_factory, prepared):
    """A command, what it makes when left alone, and how many seconds it takes."""
    folder = tmp_path_factory.mktemp(request.param)
    command = Command(request.param, folder, prepared)
    began = time.monotonic()
    command.finish(folder / "whole")
    seconds = time.monotonic() - began
    made = command.read(folder / "whole")
    assert made
    return command, made, seconds


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_killed_at_random_moments(undisturbed, tmp_path, sent):
    command, expected, seconds = undisturbed
    out, moments = tmp_path / "out", random.Random(sent)
    for _ in range(KILLS if sent == signal.SIGKILL else max(KILLS // 4, 1)):
        process = command.start(out)
        try:
            process.communicate(timeout=moments.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(sent)
            process.communicate(timeout=600)
        else:
            command.finish(out)
            assert command.read(out) == expected
            shutil.rmtree(out)
    command.finish(out)
    assert command.read(out) == expected


def test_full_disk(undisturbed, tmp_path):
    """It says so in one line, and goes on when there is room."""
    command, expected, _ = undisturbed
    out = tmp_path / "disk" / "out"
    out.parent.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    is_mounted = not subprocess.run(
        [*mount, "size=48k", "tmpfs", out.parent], check=False
    ).returncode
    try:
        process = command.start(out, None if is_mounted else 2000)
        _, told = process.communicate(timeout=600)
        assert process.returncode == 2, told
        assert "Traceback" not in told
        assert "can't be written" in told
        if is_mounted:
            subprocess.run([*mount, "remount,size=2g", out.parent], check=True)
        command.finish(out)
        assert command.read(out) == expected
    finally:
        if is_mounted:
            subprocess.run(["umount", out.parent], check=True)


def test_two_at_once(undisturbed, tmp_path):
    """One does it; the other says that the folder is taken, or finds nothing left to do."""
    command, expected, _ = undisturbed
    both = [command.start(tmp_path / "out") for _ in range(2)]
    told = [process.communicate(timeout=600)[1] for process in both]
    codes = [process.returncode for process in both]
    assert 0 in codes, told
    for code, text in zip(codes, told, strict=True):
        assert code == 0 or (code == 2 and "another command is writing into it" in text), text
    command.finish(tmp_path / "out")
    assert command.read(tmp_path / "out") == expected
