"""Commands killed, stopped, out of disk and run twice at once end in what an undisturbed one gives.

Real processes and real signals, so behind `make test-slow`. They are forked from one that has
imported everything, so that a signal falls into the work. `CHAOS_KILLS` says how often each is
killed, `CHAOS_SEED`, told with every failure, when.
"""

import multiprocessing
import os
import random
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep.base.files import PART, STAGING
from data_prep.base.progress import log
from tests.pipeline.makers import paint_dataset
from tests.pipeline.tables import write_tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX"),
]

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("CHAOS_KILLS", "20"))
SEED = int(os.environ.get("CHAOS_SEED", time.time_ns() % 100_000))
NAMES = ("build", "train", "suspects", "run")
MADE = {
    "train": ("*/classifier.safetensors", "*/valid.csv", "*/recipe.toml"),
    "suspects": ("suspects.csv", "suspects.json"),
    "run": ("predictions.csv", "photos.csv", "annotated/**/*.jpg"),
}
"""Files that are the same each time; the others tell seconds. Of a build all are."""

IMPORTED = (
    *("data_prep.cli", "data_prep.prepare.build", "pipeline.inference.command"),
    *("pipeline.cleaning.search", "pipeline.training.commands", "tests.pipeline.test_chaos"),
)


def work(arguments, told, limit):
    """What the process does, with what it says in a file and no file larger than the limit."""
    os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv = [*map(str, arguments)]
    if arguments[0].endswith(".py"):
        runpy.run_path(arguments[0], run_name="__main__")
    else:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


class Running:
    """A command that has begun."""

    def __init__(self, arguments, told, limit=None):
        self._told = told
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*IMPORTED])
        self._process = context.Process(target=work, args=(arguments, told, limit))
        self._process.start()

    def wait(self, seconds=600):
        """Its exit code and what it said; None and that while it goes on."""
        self._process.join(seconds)
        told = self._told.read_text(errors="replace") if self._told.exists() else ""
        return self._process.exitcode, told

    def send(self, sent):
        os.kill(self._process.pid, sent)
        return self.wait()


class Command:
    """A command on small data, begun or gone on with in any folder."""

    def __init__(self, name, folder, prepared):
        self.name, self.prepared, self.folder = name, prepared, folder
        self.data = paint_dataset(folder / "set", 16)
        self.recipe = write_tiny(folder, architecture="mobilenet0.25", init="detector")
        self.seconds = 0.0

    def arguments(self, out):
        if self.name == "build":
            return ["data_prep", "build", self.data, "-o", out, "--workers", 2]
        if self.name == "run":
            return [str(ROOT / "run.py"), self.data / "images", "-o", out, "--thresh", 0.1]
        how = ["--recipe", self.recipe, "--device", "cpu"]
        if self.name == "suspects":
            how += ["--jobs", 1, "--folds", 3]
            return ["pipeline", "suspects", self.prepared, "-o", out, *how]
        begun = [path.parent for path in sorted(out.glob("*/run.json"))]
        how = ["--resume", begun[-1], "--device", "cpu"] if begun else how
        return ["pipeline", "train", self.prepared, "-o", out, *how]

    def start(self, out, limit=None):
        """The process; `limit` is the bytes that a file may have."""
        told = self.folder / f"{time.monotonic_ns()}.log"
        return Running(self.arguments(out), told, limit)

    def finish(self, out):
        """Go on until it is done."""
        began = time.monotonic()
        code, told = self.start(out).wait()
        self.seconds = self.seconds or time.monotonic() - began
        assert code == 0 or (self.name == "train" and "this training is done" in told), told

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
    """A command, and what it makes when left alone."""
    folder = tmp_path_factory.mktemp(request.param)
    command = Command(request.param, folder, prepared)
    if request.param == NAMES[0]:
        Running(["no-such-module"], folder / "first.log").wait()  # Everything is imported.
    command.finish(folder / "whole")
    made = command.read(folder / "whole")
    assert made
    return command, made


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_stopped_at_random_moments(undisturbed, tmp_path, sent):
    command, expected = undisturbed
    out, moments = tmp_path / "out", random.Random(f"{SEED} {command.name} {sent}")
    wanted, stopped, ended = KILLS if sent == signal.SIGKILL else max(KILLS // 4, 1), [], 0
    while len(stopped) < wanted:
        moment = moments.uniform(0, command.seconds)
        process = command.start(out)
        code, told = process.wait(moment)
        if code is None:
            code, told = process.send(sent)
            stopped.append(round(moment, 2))
            # Before its options are read Ctrl-C ends it as it ends any Python program.
            has_begun = "function(options(**values))" in told
            assert code in {0, 130, -signal.SIGKILL} or not has_begun, told
        else:
            ended += 1
            assert code == 0 or "this training is done" in told, told
            assert command.read(out) == expected, f"CHAOS_SEED={SEED}: {stopped}"
            shutil.rmtree(out)
    command.finish(out)
    assert command.read(out) == expected, f"CHAOS_SEED={SEED}: {stopped}"
    log(f"{command.name}: {sent.name} after {stopped} s of {command.seconds:.2f}, {ended} ended")


def test_full_disk(undisturbed, tmp_path):
    """It says so in one line, and goes on when there is room."""
    command, expected = undisturbed
    out = tmp_path / "disk" / "out"
    out.parent.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    is_mounted = not subprocess.run(
        [*mount, "size=48k", "tmpfs", out.parent], check=False
    ).returncode
    try:
        code, told = command.start(out, None if is_mounted else 2000).wait()
        assert code == 2, told
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
    command, expected = undisturbed
    both = [command.start(tmp_path / "out") for _ in range(2)]
    ended = [process.wait() for process in both]
    assert 0 in [code for code, _ in ended], ended
    for code, text in ended:
        assert code == 0 or (code == 2 and "another command is writing into it" in text), text
    command.finish(tmp_path / "out")
    assert command.read(tmp_path / "out") == expected
