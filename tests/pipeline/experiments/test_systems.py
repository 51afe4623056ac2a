"""Systems compared on painted photos: their data, what is trained, measured, timed and shown."""

import json
import shutil
from dataclasses import asdict, replace
from itertools import cycle
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from data_prep.base.errors import OptionError
from data_prep.base.photo import read_photo
from pipeline.experiments.measure import PreparedData
from pipeline.nets.cards import DetectorCard, save_weights
from pipeline.runs.folder import PreparedError
from tests.benchmarks import systems as comparison
from tests.benchmarks.repeated import open_annotated
from tests.benchmarks.systems import (
    ROUNDS,
    SYSTEMS,
    CompareOptions,
    System,
    choose_systems,
    compare_systems,
    describe,
    prepare_data,
    time_systems,
)
from tests.pipeline.makers import (
    Told,
    assert_refused,
    make_shy_net,
    save_random_weights,
)
from tests.pipeline.tables import write_tiny


def test_systems_of_the_field_are_there_as_their_originals_were():
    of = {system.name: system for system in SYSTEMS}
    assert len(of) == len(SYSTEMS)
    assert all(one.load_recipe().name == one.name for one in SYSTEMS if one.recipe is not None)
    assert of["sams-gray"].scale == of["sams-colour"].scale == 1.0
    assert of["sams-gray"].load_recipe().colour == "grey"
    assert of["dataroots"].drawn
    assert of["covid-fastai"].load_recipe().incorrect == "without_mask"
    assert (of["covid-fastai"].blur, of["covid-fastai"].cleaned) == ("global", True)
    assert of["single-stage"].load_recipe().incorrect == "exclude"
    assert of["single-stage"].load_recipe().rotated == [90, 180, 270]


def test_systems_are_chosen_by_name_in_their_order():
    assert [system.name for system in choose_systems(["fast", "shipped"])] == ["shipped", "fast"]
    assert choose_systems([]) == SYSTEMS
    with pytest.raises(OptionError, match="no system 'zzz': known: shipped, default, fast"):
        choose_systems(["fast", "zzz"])


def test_what_the_base_has_is_not_built_again(prepared, tmp_path):
    base, told = PreparedData.open(prepared), Told()
    for system in (System("plain", "fast"), System("clean", "fast", cleaned=True)):
        assert prepare_data(system, base, tmp_path / "data", (), told) is base
    assert told.lines == ["clean: no --decisions, so its labels are as annotated"]
    assert not (tmp_path / "data").exists()


def test_other_crops_have_the_same_split(prepared, tmp_path):
    base, told = PreparedData.open(prepared), Told()
    system = System("tight", "fast", scale=1.0)
    data = prepare_data(system, base, tmp_path / "data", (), told)
    assert data.folder == tmp_path / "data" / "none-1"
    assert told.lines == [f"tight: building {data.folder}"]
    assert (data.scale, base.scale) == (1.0, 1.5)
    keys = ["source", "image", "object", "label", "split", "group"]
    assert data.table[keys].equals(base.table[keys])
    sides = [
        read_photo(one.folder / one.table["crop"].iloc[0]).pixels.shape[0] for one in (data, base)
    ]
    assert sides[0] * 1.5 == pytest.approx(sides[1], abs=1)
    assert prepare_data(system, base, tmp_path / "data", (), Told()).data == data.data


def test_base_with_decisions_is_refused(prepared, tmp_path):
    folder = tmp_path / "prepared"
    shutil.copytree(prepared, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["decisions"] = {"applied": {"relabel": 1}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PreparedError, match="labels than the annotated ones; build it without"):
        open_annotated(folder)
    with pytest.raises(PreparedError, match="not a prepared folder"):
        open_annotated(tmp_path)


def test_changed_datasets_are_noticed(prepared, tmp_path):
    base = PreparedData.open(prepared)
    faces = base.table
    other = faces["split"].where(faces["image"] != faces["image"].iloc[0], "elsewhere")
    changed = replace(base, table=faces.assign(split=other))
    with pytest.raises(PreparedError, match="have changed since it was built"):
        prepare_data(System("t", "fast", scale=1.2), changed, tmp_path / "data", (), Told())


def test_fastest_round_of_each_in_turn(prepared, monkeypatch):
    """Time goes on only when a net says so, by the next of its times for every photo."""
    now, log = [0.0], []
    monkeypatch.setattr(comparison, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(comparison, "PHOTOS", 4)

    def net(name, *times):
        left = cycle(times)

        def find(photos):
            log.append((name, len(photos)))
            now[0] += next(left) * len(photos)

        return find

    nets = {"a": net("a", 0.5, 0.2, 0.9), "b": net("b", 3.0)}
    seconds = time_systems(nets, PreparedData.open(prepared))
    assert seconds == {"a": pytest.approx(0.2), "b": pytest.approx(3.0)}
    assert log == [("a", 4), ("b", 4)] * ROUNDS


FIGURES = {
    "photos": 4,
    "faces": 12,
    **{name: [0.5, 0.25, 0.75] for name in ("map50", "map50_95", "accuracy", "macro_recall")},
    **{name: [0.9, 0.8, 1.0] for name in ("two_map50", "tnr", "fnr", "auc")},
}


def compared(name, recipe=None, seconds=0.02, **options):
    return {
        **{"system": asdict(System(name, recipe, **options)), "classes": 3, "run": "001"},
        **{"figures": {"set": FIGURES}, "minutes": 1.26, "megabytes": 2.25, "seconds": seconds},
    }


def test_tables_of_costs_and_figures():
    other = compared("other", seconds=0.03, claim="a claim")
    text = describe([compared("default", "default"), other])
    assert "| `default` | 3 | – | 1.3 | 2.2 | 20 | 1.00 × |" in text
    assert "| `other` | 3 | a claim | 1.3 | 2.2 | 30 | 1.50 × |" in text
    assert "set, 4 validation photos, 12 faces:" in text
    row = next(line for line in text.splitlines() if line.startswith("| `other` | 0.5"))
    assert row.count("0.500 (0.250 to 0.750)") == 4
    assert row.count("0.900 (0.800 to 1.000)") == 4


def save_shy_detector(path, seed=0):
    save_weights(path, make_shy_net(seed).state_dict(), DetectorCard())


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Random shipped weights, and small systems in place of those of the field."""
    shipped = save_random_weights(tmp_path / "shipped")
    save_shy_detector(shipped / "detector.safetensors")
    monkeypatch.setattr(comparison, "SHIPPED", shipped)
    monkeypatch.setattr(comparison, "START", shipped / "detector.safetensors")
    recipe = write_tiny(tmp_path, architecture="sequential", init="random")
    single = ("steps=2", "batch_size=2", "input_size=64", "longest=[64,128]", "rotated=[]")
    listed = (
        System("shipped", None),
        System("default", recipe, claim="a claim"),
        System("two", recipe, scale=1.0, sets=("incorrect=exclude",)),
        System("single", "single-stage", single=True, sets=single),
    )
    monkeypatch.setattr(comparison, "SYSTEMS", listed)
    monkeypatch.setattr(comparison, "time_systems", lambda nets, _: dict.fromkeys(nets, 0.01))
    return listed


def compare(prepared, out, *chosen, told=None):
    options = CompareOptions(prepared, out, list(chosen), device="cpu")
    return compare_systems(options, told or Told())


@pytest.mark.slow
@pytest.mark.usefixtures("world", "without_plots")
def test_every_kind_of_system_is_trained_and_measured(prepared, tmp_path, measured):
    found = {one["system"]["name"]: one for one in compare(prepared, tmp_path / "out")}
    assert {name: one["classes"] for name, one in found.items()} == {
        "shipped": 3, "default": 3, "two": 2, "single": 2,
    }  # fmt: skip
    runs = sorted(path.name for path in (tmp_path / "out" / "runs").iterdir())
    assert runs == ["001-default", "002-two", "003-single"]
    assert found["shipped"]["run"] == ""
    assert found["shipped"]["minutes"] is None
    assert found["default"]["minutes"] > 0
    assert found["two"]["seconds"] == 0.01
    assert [nets.classifier is None for nets in measured] == [False, False, False, True]
    both = sum(path.stat().st_size for path in (tmp_path / "shipped").glob("*.safetensors"))
    assert found["shipped"]["megabytes"] == pytest.approx(both / 1e6)
    single = tmp_path / "out" / "runs" / "003-single" / "detector.safetensors"
    assert found["single"]["megabytes"] == pytest.approx(single.stat().st_size / 1e6)
    told, before = Told(), single.stat().st_mtime_ns
    again = compare(prepared, tmp_path / "out", told=told)
    assert again == list(found.values()), "what is trained stays trained"
    assert single.stat().st_mtime_ns == before
    assert sum("trained before" in line for line in told.lines) == 3


@pytest.fixture
def measured(monkeypatch):
    """Measuring takes no time; the nets that are measured are noted."""
    seen = []

    def measure(nets, *_given):
        seen.append(nets)
        return {"set": FIGURES}

    monkeypatch.setattr(comparison, "measure_system", measure)
    return seen


@pytest.mark.usefixtures("world", "measured")
def test_command_writes_tables_and_plot(prepared, tmp_path):
    out = tmp_path / "out"
    args = [str(prepared), "-o", str(out), "--only"]
    result = CliRunner().invoke(comparison.app, [*args, "shipped"])
    assert result.exit_code == 0, result.output
    assert "| `shipped` | 3 | – |" in result.output
    assert {"compare.json", "compare.md"} == {path.name for path in out.iterdir()}
    assert json.loads((out / "compare.json").read_text())[0]["system"]["name"] == "shipped"
    refused = CliRunner().invoke(comparison.app, [*args, "defualt"])
    assert_refused(refused, "'defualt': did you mean 'default'?")


def test_masks_are_drawn_on_every_bare_face_of_training(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "draw_on_crop", lambda crop, *_: 255 - crop)
    faces = PreparedData.open(prepared).table
    table = comparison.mask_bare_faces(faces, prepared, tmp_path)
    train = table[table["split"] == "train"]
    assert train["label"].value_counts().to_dict() == {"without_mask": 12, "with_mask": 12}
    assert (table["split"] == "valid").sum() == (faces["split"] == "valid").sum()
    bare, masked = (train[train["label"] == name] for name in ("without_mask", "with_mask"))
    for first, second in zip(bare["crop"], masked["crop"], strict=True):
        real, drawn = (read_photo(prepared / path).pixels for path in (first, second))
        assert np.abs(255 - real.astype(int) - drawn).mean() < 12, "JPEG"
