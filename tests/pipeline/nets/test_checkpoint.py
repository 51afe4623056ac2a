"""Checkpoints: whole or not at all, and data only."""

import random
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from data_prep.base.files import OutputError
from pipeline.nets.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from tests.pipeline.nets.test_weights import Bomb

STATE = {
    "step": 7,
    "loss": 0.25,
    "best": None,
    "net": {"a": torch.arange(5.0)},
    "history": [{"epoch": 0, "loss": float("inf")}],
}


def test_round_trip(tmp_path):
    save_checkpoint(tmp_path / "run" / "a.pt", STATE)
    state = load_checkpoint(tmp_path / "run" / "a.pt")
    assert torch.equal(state["net"].pop("a"), STATE["net"]["a"])
    assert state == {**STATE, "net": {}}


def test_no_checkpoint_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "a.pt") is None


def test_failed_saving_leaves_the_old_one(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "a.pt", STATE)

    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match=r"a\.pt: can't be written \(No space left"):
        save_checkpoint(tmp_path / "a.pt", {"step": 8})
    assert load_checkpoint(tmp_path / "a.pt")["step"] == 7
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("content", [b"", b"half a", b"\x80\x02}q\x00", b"PK\x03\x04" + bytes(90)])
def test_damaged_checkpoint(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.pt: .* can't be read; delete it to start again"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_random_damage_is_always_a_checkpoint_error(tmp_path):
    chance, file = random.Random(0), tmp_path / "a.pt"
    save_checkpoint(file, STATE)
    good = file.read_bytes()
    for _ in range(100):
        bad = bytearray(good)
        for _ in range(chance.randint(1, 8)):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        file.write_bytes(bad)
        with suppress(CheckpointError):
            load_checkpoint(file)


def test_code_does_not_run(tmp_path):
    torch.save({"step": Bomb(tmp_path / "mark")}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="delete it"):
        load_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "mark").exists()


def test_something_else_than_a_checkpoint(tmp_path):
    torch.save([1, 2], tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "a.pt")
