"""Processes that train beside each other: calls, errors, and an end with the parent's."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pipeline.runs.workers import call_at_once, count_cores


def note(folder, name):
    (folder / name).write_text(str(os.getpid()))


def note_or_fail(folder, name):
    note(folder, name)
    if name == "c":
        raise ValueError("c fails")


def note_and_wait(folder, name):
    note(folder, name)
    time.sleep(60)


def test_calls_share_a_process_that_is_started_once_until_one_fails(tmp_path):
    calls = [(tmp_path, name) for name in "abc"]
    with pytest.raises(ValueError, match="c fails"):
        call_at_once(note_or_fail, calls, 1, start=note, shared=(tmp_path, "start"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "start"]
    assert len({path.read_text() for path in tmp_path.iterdir()} - {str(os.getpid())}) == 1


def test_a_core_each_where_the_machine_does_not_tell_which_are_ours(monkeypatch):
    assert count_cores(torch.device("cuda")) == 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert count_cores(torch.device("cpu")) == os.cpu_count()


@pytest.mark.skipif(sys.platform == "win32", reason="whether a process lives is asked by signal 0")
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    code = (
        "import pathlib, sys; from pipeline.runs.workers import call_at_once\n"
        "from tests.pipeline.runs.test_workers import note_and_wait\n"
        "if __name__ == '__main__':\n"
        "    call_at_once(note_and_wait, [(pathlib.Path(sys.argv[1]), 'worker')], 1)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    env = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py", tmp_path], env=env)
    worker = tmp_path / "worker"
    wait_until(lambda: worker.is_file() and worker.read_text() != "")
    parent.kill()
    parent.wait()
    pid = int(worker.read_text())

    def is_gone():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    wait_until(is_gone)


def wait_until(is_so, seconds=50):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)
