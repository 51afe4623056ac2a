"""An output folder is one command's at a time, and what a killed one left is swept."""

import subprocess
import sys
from pathlib import Path

import pytest

from data_prep.base.files import PART, OutputError, OutputFolder, hold_folder, make_folder

KILLED = """
import sys, time
from pathlib import Path
from data_prep.base import files
out = Path(sys.argv[1])
files.Path.replace = lambda *_: print("held", flush=True) or time.sleep(60)
with files.hold_folder(out):
    files.write_atomically(out / "deep" / "a.csv", "half")
"""


def tree(folder):
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_folder_is_held_by_one_at_a_time_and_gone_when_nothing_is_in_it(tmp_path):
    out = tmp_path / "deep" / "out"
    for _ in range(2):
        with hold_folder(out):
            refused = pytest.raises(OutputError, match="another command is writing into it")
            with refused, hold_folder(out):
                pass
            assert out.is_dir()
        assert not out.exists()


def test_a_killed_command_lets_go_and_its_half_written_files_are_swept(tmp_path):
    out, theirs = tmp_path / "out", {".notes.12345678", "b.trimask-part", ".hidden"}
    out.mkdir()
    for name in theirs:
        (out / name).write_text("not ours")
    with subprocess.Popen([sys.executable, "-c", KILLED, str(out)], stdout=-1) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match="another command"), hold_folder(out):
            pass
        assert [path.suffix for path in (out / "deep").iterdir()] == [PART]
        process.kill()
    with hold_folder(out):
        assert {path.name for path in out.rglob("*")} == theirs | {"deep"}


def test_staging_of_another_command_is_left_alone(tmp_path):
    folder = OutputFolder(tmp_path / "out", "record.json")
    with folder.stage() as staging:
        (staging / "a").write_text("1")
        before = tree(folder.path)
        with pytest.raises(OutputError, match="another command"), folder.stage():
            pass
        assert tree(folder.path) == before
        folder.swap_in(staging, {"inputs": "x", "files": {"a": ""}, "photos": {}})
    assert {path.name for path in folder.path.iterdir()} == {"a", "record.json"}


@pytest.mark.parametrize("command", ["build", "audit", "convert --to yolo", "merge"])
def test_second_command_says_so_and_spoils_nothing(run, dataset, tmp_path, command):
    out = tmp_path / "out"
    table = tmp_path / "recode.toml"
    table.write_text(f'[sources.one]\npath = "{dataset.name}"\n')
    name, *more = command.split()
    arguments = [name, table if name == "merge" else dataset, "-o", out, *more]
    with hold_folder(out):
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        assert f"error: {out}: another command is writing into it" in result.stderr
        assert list(out.iterdir()) == []
    assert run(*arguments).exit_code == 0
    assert not [path for path in Path(out).rglob("*") if path.name.startswith(".")]


def test_a_file_in_the_way_of_a_folder_is_named_as_such(tmp_path):
    (tmp_path / "out").write_text("mine")
    for folder in (tmp_path / "out", tmp_path / "out" / "below"):
        with pytest.raises(OutputError, match=r"can't be written \(a file is in the way\)"):
            make_folder(folder)
    assert (tmp_path / "out").read_text() == "mine"
