"""The command `trimask`: every command of every package, in groups, without loading torch."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from data_prep.base.command import Command, as_command, load_command, spell
from data_prep.base.files import RECORDS
from data_prep.cli import app as data_prep_app
from data_prep.datasets import convert, fetch, merge
from data_prep.formats import predictions
from data_prep.prepare import build
from data_prep.prepare.page import PAGE
from evaluate.options import METRICS_FILE
from pipeline.cli import COMMANDS, check_options, trimask
from pipeline.experiments import clean_effect, sweep
from pipeline.inference import export
from pipeline.review import suspects
from tests.pipeline.makers import save_photo

ROOT = Path(__file__).parents[1]
INTERNALS = re.compile(r"list\[|<Path|<bool|<\w+ range>|default: \(|None")  # Of typer and Python.


@pytest.mark.parametrize(("name", "target"), [(n, t) for n, (t, _) in COMMANDS.items()])
def test_every_command_is_where_the_table_says(name, target):
    assert callable(load_command(target, check_options))
    shown = CliRunner().invoke(trimask, [name, "--help"])
    assert shown.exit_code == 0, shown.output
    assert f"trimask {name}" in shown.output.replace("root ", "trimask ")
    assert not INTERNALS.findall(shown.output)


@pytest.mark.parametrize("app", [trimask, data_prep_app])
def test_help_on_the_commands_is_plain(app):
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "--help" in shown
    assert not INTERNALS.findall(shown)


@dataclass(frozen=True, kw_only=True)
class Inherited:
    fold: int = 0
    """Which part is
    for validation."""
    seed: Annotated[int, typer.Option(help="Of the shuffling.")] = 0
    """A remark."""


@dataclass(frozen=True, kw_only=True)
class Options(Inherited):
    folder: Annotated[Path, typer.Argument(metavar="ROOT")]
    """Where photos are."""


def test_text_below_a_field_is_its_help():
    def show(options: Options) -> None:
        """Show them."""

    app = typer.Typer()
    app.command()(as_command(show))
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "100"}).output
    for name, text in (
        ("ROOT", "Where photos are."),
        ("--fold", "Which part is for validation. [default: 0]"),
        ("--seed", "Of the shuffling. [default: 0]"),
    ):
        assert any(name in line and text in " ".join(line.split()) for line in shown.splitlines())


def test_help_may_be_asked_for_again_and_again():
    def show(options: Options) -> None:
        """Show them."""

    app = typer.Typer()
    app.command(cls=Command)(as_command(show))
    command = typer.main.get_command(app)
    context = command.make_context("show", ["photos"])
    first = [one.display_type(context) for one in command.get_params(context)]
    for _ in range(sys.getrecursionlimit()):
        params = command.get_params(context)
    assert [one.display_type(context) for one in params] == first


@pytest.mark.parametrize("name", ["trimask", "python"])
def test_commands_of_other_steps_can_be_pasted(name, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name])
    told = spell("review", Path("my suspects"), "--by", "Ada's", "PHOTOS")
    start = ["trimask"] if name == "trimask" else ["python", "-m", "pipeline"]
    assert shlex.split(told) == [*start, "review", "my suspects", "--by", "Ada's", "PHOTOS"]
    assert told.endswith(" PHOTOS")


def test_folder_that_may_not_be_entered_is_a_line(capsys):
    def show(_: Inherited) -> None:
        raise PermissionError(13, "Permission denied", "set/faces.csv")

    with pytest.raises(typer.Exit) as caught:
        as_command(show)()
    assert caught.value.exit_code == 2
    assert capsys.readouterr().err == "error: [Errno 13] Permission denied: 'set/faces.csv'\n"


def test_no_command_of_data_prep_is_missing():
    names = {command.name for command in data_prep_app.registered_commands}
    assert names <= set(COMMANDS)


def test_list_shows_the_groups_and_loads_no_net_library():
    program = (
        "import sys; from typer.testing import CliRunner; from pipeline.cli import trimask\n"
        "print(CliRunner().invoke(trimask, ['--help']).output)\n"
        "print([m for m in ('torch', 'fastai', 'pandas', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert all(f"─ {group} ─" in done.stdout for group in ("use", "data", "train", "clean"))
    assert done.stdout.splitlines()[-1] == "[]"


START = "import sys; sys.argv[0] = 'trimask'; import trimask"


@pytest.mark.parametrize("entry", ["run.py", "-m pipeline", "-m data_prep", "-m evaluate", START])
def test_ctrl_c_while_libraries_load_is_a_line(entry, tmp_path):
    interrupt = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    for library in ("numpy", "typer"):
        (tmp_path / f"{library}.py").write_text(interrupt)
    command = [sys.executable, *(["-c", entry] if entry == START else entry.split()), "--help"]
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    env = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


def test_unknown_command_names_the_nearest():
    result = CliRunner().invoke(trimask, ["trian", "x"])
    assert result.exit_code == 2
    assert "Did you mean 'train'" in result.output


def test_unknown_engine_is_refused(tmp_path):
    save_photo(tmp_path / "photos" / "a.png", seed=1)
    options = ["-o", str(tmp_path / "out"), "--engine", "steam"]
    result = CliRunner().invoke(trimask, ["run", str(tmp_path / "photos"), *options])
    assert result.exit_code == 2
    assert "'steam' is not one of" in result.output


def test_folders_of_every_command_are_told_from_the_users():
    """By the names that the commands write, so that none writes into another's."""
    written = {build.MANIFEST, build.FACES, build.AUDIT, PAGE, merge.RECORD, convert.RECORD}
    written |= {fetch.RECORD, METRICS_FILE, predictions.FILE, suspects.TABLE, sweep.TABLE}
    assert written | {clean_effect.RESULT, export.RECORD} <= RECORDS
