"""What trainings log, as lines or as JSON objects, and the processes they run in."""

import json
import os
import pickle
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import typer

from data_prep.base import cluster
from data_prep.base.cluster import ClusterError
from data_prep.base.command import as_command
from data_prep.base.errors import UserError
from pipeline.runs.log import JsonReporter, Reporter, report_as
from pipeline.runs.workers import call_at_once, count_cores, count_jobs
from tests.pipeline.makers import CPU, Told
from tests.pipeline.runs.notes import note, note_or_fail, tell_and_die_once


def read_events(text):
    """Every line is strict JSON."""
    refuse = Mock(side_effect=AssertionError)
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_text_is_lines_on_standard_error_and_the_table_on_standard_output(capsys):
    with report_as("text") as report:
        report.log("step 3", "step", step=3)
        report.finish("weights: a", "| table |", weights=Path("a"))
    assert capsys.readouterr() == ("| table |\n", "step 3\nweights: a\n")


def test_json_is_events_with_facts(capsys):
    with report_as("json") as report:
        report.log("hello")
        report.log("step 3: loss 0.5", "step", step=np.int64(3), loss=np.float32(0.5), lr=1e-3)
        report.finish("weights: a", "| table |", weights=Path("a"), by=[{"b": (1, None)}])
    out, err = capsys.readouterr()
    assert err == ""
    events = read_events(out)
    for event in events:
        told = datetime.fromisoformat(event.pop("time"))
        assert told.utcoffset() == timedelta(0)
        assert abs((datetime.now(UTC) - told).total_seconds()) < 60
    assert events == [
        {"event": "note", "message": "hello"},
        {"event": "step", "message": "step 3: loss 0.5", "step": 3, "loss": 0.5, "lr": 1e-3},
        {"event": "result", "message": "weights: a", "weights": "a", "by": [{"b": [1, None]}]},
    ]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), np.float64("-inf")])
def test_numbers_that_json_does_not_know_are_null(capsys, number):
    JsonReporter().log("diverged", "epoch", row={"loss": [number]})
    assert read_events(capsys.readouterr().out)[0]["row"] == {"loss": [None]}


def test_what_others_print_is_kept_out_and_warnings_are_events(capsys):
    with report_as("json"):
        print("a library speaks")  # noqa: T201
        warnings.warn("odd\nnumbers", RuntimeWarning, stacklevel=1)
    out, err = capsys.readouterr()
    assert err == "a library speaks\n"
    (event,) = read_events(out)
    assert (event["event"], event["category"]) == ("warning", "RuntimeWarning")
    assert event["message"] == "odd\nnumbers"


@dataclass(frozen=True)
class Nothing:
    """A command's options, without any."""


@pytest.mark.parametrize("form", ["text", "json"])
def test_error_of_the_user_is_the_last_line_or_event_and_exit_code_2(capsys, form):
    def fail(_: Nothing):
        with report_as(form):
            raise UserError("Exception in `Keeper`:\n\ta.jpg: can't be read.")

    with pytest.raises(typer.Exit) as caught:
        as_command(fail)()
    assert caught.value.exit_code == 2
    out, err = capsys.readouterr()
    events = [(event["event"], event["message"]) for event in read_events(out)]
    if form == "text":
        assert (events, err) == ([], "error: a.jpg: can't be read.\n")
    else:
        assert (events, err) == ([("error", "a.jpg: can't be read.")], "")


def test_other_errors_are_told_and_not_hidden(capsys):
    with pytest.raises(ZeroDivisionError), report_as("json"):
        print(1 / 0)  # noqa: T201
    (event,) = read_events(capsys.readouterr().out)
    assert event["message"] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("reporter", [Reporter(), JsonReporter()])
def test_reporters_reach_other_processes(reporter):
    log = pickle.loads(pickle.dumps(reporter)).log
    assert type(log.__self__) is type(reporter)


def test_lines_of_several_processes_do_not_mix():
    code = (
        "import sys; from pipeline.runs.log import JsonReporter; log = JsonReporter().log\n"
        "for i in range(200): log('x' * 700, 'step', who=sys.argv[1], step=i)"
    )
    both = f'{sys.executable} -c "$0" a & {sys.executable} -c "$0" b & wait'
    done = subprocess.run(["sh", "-c", both, code], capture_output=True, text=True, check=True)
    events = read_events(done.stdout)
    assert len(events) == 400
    for who in "ab":
        assert [event["step"] for event in events if event["who"] == who] == list(range(200))


@pytest.mark.parametrize("jobs", [1, 2])
def test_calls_share_processes_until_one_fails(tmp_path, jobs):
    calls = [(tmp_path, name) for name in "abc"]
    with pytest.raises(ValueError, match="c fails"):
        call_at_once(note_or_fail, calls, jobs, "calls", device=CPU, log=Reporter().log)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]
    where = {path.read_text() for path in tmp_path.iterdir()}
    assert where == {str(os.getpid())} if jobs == 1 else str(os.getpid()) not in where
    assert len(where) <= jobs


def test_a_core_each_where_the_machine_does_not_tell_which_are_ours(monkeypatch):
    assert count_cores(torch.device("cuda")) == 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert count_cores(torch.device("cpu")) == os.cpu_count()


def test_jobs_are_a_number_or_a_ray(monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda _: True)
    counts = {1: 1, "2": 2, "9": 3, "ray": "ray", "ray=a:1": "ray=a:1"}
    assert {jobs: count_jobs(jobs, CPU, 3) for jobs in counts} == counts
    assert count_jobs(None, CPU, 1) == count_jobs(None, torch.device("cuda"), 3) == 1
    for wrong in ("0", "-1", "two", "dask", "1.5"):
        with pytest.raises(ClusterError, match=f"--jobs {wrong}: give a number from 1, ray or "):
            count_jobs(wrong, CPU, 3)
    with pytest.raises(ClusterError, match="--jobs ray=: not known"):
        count_jobs("ray=", CPU, 3)
    monkeypatch.setattr(cluster, "find_spec", lambda _: None)
    with pytest.raises(ClusterError, match=r"pip install 'trimask\[ray\]'"):
        count_jobs("ray", CPU, 3)


@pytest.mark.slow
def test_a_ray_does_what_processes_here_do(tmp_path):
    pytest.importorskip("ray")
    told = Told()
    calls = [(tmp_path, name) for name in "ab"]
    call_at_once(tell_and_die_once, calls, "ray", "calls", device=CPU, log=told)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "died"]
    assert str(os.getpid()) not in {(tmp_path / name).read_text() for name in "ab"}
    assert sorted(told.lines) == [f"{name} in {Path.cwd()}" for name in "ab"]
    assert {"event": "epoch", "name": "b"} in told.events
    with pytest.raises(UserError, match="c fails"):
        call_at_once(tell_and_die_once, [(tmp_path, "c")], "ray", "calls", device=CPU, log=told)
    nowhere = {"device": CPU, "log": told}
    with pytest.raises(ClusterError, match=r"--jobs ray=127\.0\.0\.1:9: no Ray there"):
        call_at_once(note, calls, "ray=127.0.0.1:9", "calls", **nowhere)


@pytest.mark.skipif(sys.platform == "win32", reason="whether a process lives is asked by signal 0")
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    code = (
        "import pathlib, sys; from pipeline.runs.workers import call_at_once\n"
        "from types import SimpleNamespace; from pipeline.runs.log import Reporter\n"
        "from tests.pipeline.runs.notes import note_and_wait\n"
        "if __name__ == '__main__':\n"
        "    calls = [(pathlib.Path(sys.argv[1]), 'worker')]\n"
        "    here = SimpleNamespace(type='cpu')\n"
        "    call_at_once(note_and_wait, calls, 2, 'calls', device=here, log=Reporter().log)\n"
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
