"""What processes are asked to do: beside the tests, whose imports would take them seconds."""

import os
import time
from pathlib import Path

from data_prep.base.errors import UserError


def note(folder, name, _log):
    (folder / name).write_text(str(os.getpid()))


def note_or_fail(folder, name, log):
    note(folder, name, log)
    if name == "c":
        raise ValueError("c fails")


def note_and_wait(folder, name, log):
    note(folder, name, log)
    time.sleep(60)


def tell_and_die_once(folder, name, log):
    """What a training may do there; the first process of `b` is killed."""
    log(f"{name} in {Path.cwd()}", "epoch", name=name)
    if name == "b" and not (folder / "died").exists():
        (folder / "died").write_text("")
        os._exit(1)
    note(folder, name, log)
    if name == "c":
        raise UserError("c fails")
