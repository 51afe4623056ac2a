"""Whole comparisons on painted photos: trained, measured, stopped and gone on with."""

import json

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.experiments import compare as comparison
from pipeline.experiments import systems
from pipeline.experiments.compare import compare_systems
from pipeline.experiments.systems import System
from pipeline.nets.cards import DetectorCard, save_weights
from pipeline.runs.folder import PreparedError
from pipeline.runs.recipe import write_recipe
from pipeline.training import once as train_once
from tests.pipeline.makers import CPU, Told, make_shy_net, save_random_weights
from tests.pipeline.tables import TINY


def save_shy_detector(path, seed=0):
    save_weights(path, make_shy_net(seed).state_dict(), DetectorCard())


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Random shipped weights, and small systems in place of those of the field."""
    shipped = save_random_weights(tmp_path / "shipped")
    save_shy_detector(shipped / "detector.safetensors")
    for module in (comparison, train_once):
        monkeypatch.setattr(module, "SHIPPED", shipped)
    tiny = TINY.model_copy(update={"architecture": "sequential", "init": "random"})
    (tmp_path / "tiny.toml").write_text(write_recipe(tiny))
    recipe = str(tmp_path / "tiny.toml")
    single = ("steps=2", "batch_size=2", "input_size=64", "longest=[64,128]", "rotated=[]")
    listed = (
        System("shipped", None),
        System("default", recipe, claim="a claim"),
        System("by-crop", recipe, by_crop=True),
        System("two", recipe, scale=1.0, sets=("incorrect=exclude",)),
        System("single", "single-stage", single=True, sets=single),
    )
    monkeypatch.setattr(systems, "SYSTEMS", listed)
    monkeypatch.setattr(comparison, "time_systems", lambda nets, _: dict.fromkeys(nets, 0.01))
    return listed


def compare(prepared, out, chosen, told=None):
    return compare_systems(chosen, prepared, out, device=CPU, log=told or Told())


def test_every_kind_of_system_is_trained_and_measured(prepared, tmp_path, world):
    found = {one.system.name: one for one in compare(prepared, tmp_path / "out", world)}
    assert {name: one.classes for name, one in found.items()} == {
        "shipped": 3, "default": 3, "by-crop": 3, "two": 2, "single": 2,
    }  # fmt: skip
    runs = sorted(path.name for path in (tmp_path / "out" / "runs").iterdir())
    assert runs == ["001-default", "002-by-crop", "003-two", "004-single"]
    assert found["shipped"].run == ""
    assert found["shipped"].minutes is None
    assert found["default"].minutes > 0
    assert found["by-crop"].seconds is None
    assert found["two"].seconds == 0.01
    assert "accuracy" not in found["single"].figures["set"]
    assert set(found["by-crop"].figures["set"]) == {"photos", "faces", "accuracy", "macro_recall"}
    for one in found.values():
        for name, figure in one.figures["set"].items():
            if isinstance(figure, list):
                assert 0 <= figure[1] <= figure[2] <= 1, name
    both = save_sizes(tmp_path / "shipped")
    assert found["shipped"].megabytes == pytest.approx(sum(both.values()) / 1e6)
    single = tmp_path / "out" / "runs" / "004-single" / "detector.safetensors"
    assert found["single"].megabytes == pytest.approx(single.stat().st_size / 1e6)


def save_sizes(folder):
    return {path.name: path.stat().st_size for path in folder.glob("*.safetensors")}


def test_what_is_done_stays_done(prepared, tmp_path, world, monkeypatch):
    chosen = world[:2]
    first = compare(prepared, tmp_path / "out", chosen)
    before = (tmp_path / "out/runs/001-default/classifier.safetensors").stat().st_mtime_ns

    def fail(*_args, **_options):
        raise AssertionError("measured twice")

    monkeypatch.setattr(comparison, "measure_system", fail)
    told = Told()
    assert compare(prepared, tmp_path / "out", chosen, told) == first
    assert "default: measured before" in told.lines
    assert any(line.startswith("default: trained before") for line in told.lines)
    after = (tmp_path / "out/runs/001-default/classifier.safetensors").stat().st_mtime_ns
    assert after == before


def test_other_weights_and_damaged_figures_are_measured_again(prepared, tmp_path, world):
    out = tmp_path / "out"
    compare(prepared, out, world[:1])
    kept = (out / "figures" / "shipped.json").read_text()
    (out / "figures" / "shipped.json").write_text(kept[:50])
    compare(prepared, out, world[:1])
    assert json.loads((out / "figures" / "shipped.json").read_text()) == json.loads(kept)
    path = tmp_path / "shipped" / "detector.safetensors"
    save_shy_detector(path, seed=3)
    told = Told()
    compare(prepared, out, world[:1], told)
    assert told.lines == ["shipped: measuring"]


def test_stopped_training_is_gone_on_with(prepared, tmp_path, world, monkeypatch):
    real = train_once.train_classifier

    def stop(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_once, "train_classifier", stop)
    with pytest.raises(KeyboardInterrupt):
        compare(prepared, tmp_path / "out", world[1:2])
    monkeypatch.setattr(train_once, "train_classifier", real)
    compare(prepared, tmp_path / "out", world[1:2])
    assert [path.name for path in (tmp_path / "out" / "runs").iterdir()] == ["001-default"]


def test_not_a_prepared_folder(tmp_path, world):
    with pytest.raises(PreparedError, match="not a prepared folder"):
        compare(tmp_path, tmp_path / "out", world)


@pytest.mark.usefixtures("world")
def test_command_writes_tables_and_plot(prepared, tmp_path):
    out = tmp_path / "out"
    args = ["compare", str(prepared), "-o", str(out), "--only", "default", "--only", "by-crop"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    assert "| `default` | 3 | a claim |" in result.output
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == [
        "compare.json", "compare.md", "compare.png",
    ]  # fmt: skip
    assert json.loads((out / "compare.json").read_text())[0]["system"]["name"] == "default"
    result = CliRunner().invoke(app, [*args, "--only", "defualt"])
    assert result.exit_code == 2
    assert "no system 'defualt': did you mean 'default'?" in result.output
