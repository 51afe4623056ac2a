"""A folder through both stages: what is written, and what a second run does."""

import csv
import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from data_prep.base.files import OutputError
from data_prep.base.labels import CLASSES
from data_prep.base.tables import TableError
from data_prep.formats.predictions import COLUMNS, AlarmRule, read_photos
from pipeline.inference import command, sinks, sources
from pipeline.inference import predictor as running
from pipeline.inference.draw import COLOURS
from pipeline.inference.folder import predict_folder
from pipeline.inference.sinks import JOURNAL
from pipeline.inference.sources import find_photos
from tests.makers import hash_tree
from tests.pipeline.makers import FACES, BrightDetector, Killed, save_photo, stand_ins

CONTRACTED = ["image", "xmin", "ymin", "xmax", "ymax", "label", "score", "detection"]
CONTRACTED += ["p_with_mask", "p_without_mask", "p_mask_weared_incorrect"]


@pytest.fixture
def photos(tmp_path):
    """Six photos in folders: two faces each, but one has none."""
    root = tmp_path / "photos"
    for index, name in enumerate(("b.png", "a.jpg", "sub/c.png", "sub/deep er/d.jpg", "z.png")):
        save_photo(root / name, seed=index)
    save_photo(root / "empty.png", [])
    return root


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def run(photos, out, thresh=0.3, resize=None, predictor=None, **options):
    """The summary, and how many photos the detector was shown."""
    predictor = predictor or stand_ins(thresh, resize=resize)
    before = hash_tree(photos)
    found = find_photos(str(photos), leave_out=out)
    summary = predict_folder(found, out, predictor, **options)
    assert hash_tree(photos) == before, "the user's folder is not touched"
    return summary, len(predictor.detector.seen)


def rows(out):
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def outcome(out):
    """Everything but times: names and bytes of the results."""
    files = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    summary = json.loads(files.pop("summary.json"))
    files.pop(JOURNAL)
    for key in ("seconds", "photos_per_second", "photos_done_now"):
        summary.pop(key)
    return files, summary


def test_one_row_per_face_sorted_by_image(photos, out):
    run(photos, out)
    table = rows(out)
    assert list(table[0]) == list(COLUMNS)
    assert list(COLUMNS[: len(CONTRACTED)]) == CONTRACTED
    names = ["a.jpg", "b.png", "sub/c.png", "sub/deep er/d.jpg", "z.png"]
    assert [row["image"] for row in table] == [name for name in names for _ in range(2)]
    first = table[2]
    box = [float(first[key]) for key in ("xmin", "ymin", "xmax", "ymax")]
    assert (first["label"], box) == ("with_mask", [20, 15, 60, 55])
    for row in table:
        shares = [float(row[key]) for key in CONTRACTED[-3:]]
        assert sum(shares) == pytest.approx(1, abs=1e-4)
        assert float(row["score"]) == pytest.approx(float(row["detection"]) * max(shares), abs=1e-4)
        assert row["orientation"] == "1"


def test_every_photo_is_drawn_at_its_place(photos, out):
    run(photos, out)
    drawn = sorted(
        p.relative_to(out / "annotated").as_posix() for p in out.rglob("annotated/**/*.*")
    )
    assert drawn == sorted(p.relative_to(photos).as_posix() for p in photos.rglob("*.*"))
    with Image.open(out / "annotated" / "b.png") as image:
        pixels = np.asarray(image)
    factor = pixels.shape[1] // 120
    assert pixels.shape == (90 * factor, 120 * factor, 3)
    colour = pixels[35 * factor, 20 * factor]
    assert np.abs(colour.astype(int) - COLOURS["with_mask"]).max() < 40


def test_alarms_are_counted_by_the_rule_that_evaluate_writes(photos, out, tmp_path):
    told = {"threshold": 0.5, "classes": ["without_mask"], "of": list(CLASSES), "thresh": 0.0}
    path = tmp_path / "alarm.json"
    path.write_text(json.dumps(told))
    summary, _ = run(photos, out, alarm=AlarmRule.read(path))
    due = [row for row in rows(out) if float(row["p_without_mask"]) >= 0.5]
    assert summary["alarms"]["faces"] == len(due) == 5
    assert summary["alarms"]["photos"] == len({row["image"] for row in due})
    surest = max(float(row["detection"]) for row in due)
    path.write_text(json.dumps(told | {"thresh": surest + 0.01}))
    assert run(photos, out, alarm=AlarmRule.read(path))[0]["alarms"]["faces"] == 0
    for wrong in (told | {"threshold": 2}, told | {"classes": ["mask"]}, {}, []):
        path.write_text(json.dumps(wrong))
        with pytest.raises(TableError, match="no rule of an alarm"):
            AlarmRule.read(path)
    with pytest.raises(TableError, match=r"none\.json: can't be read; give the alarm\.json"):
        AlarmRule.read(tmp_path / "none.json")


def test_what_makes_counts_mean_less_is_said_above_them(photos, out, tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(command, "log", said.append)
    monkeypatch.setattr(command.typer, "echo", lambda line: said.append(str(line)))
    rule = AlarmRule(0.5, ("without_mask",), thresh=0.1, nets={"detector": "another"})
    summary, _ = run(photos, out, alarm=rule)
    summary["unlike"] = {"said": "9 of 9 photos look unlike"}
    options = command.RunOptions(str(photos), out=out, thresh=0.3)
    command.tell_result(options, summary, find_photos(str(photos)), rule)
    first = next(place for place, line in enumerate(said) if line.startswith("faces: "))
    told = [place for place, line in enumerate(said) if re.search("unlike|hides|other nets", line)]
    assert len(told) == 3
    assert max(told) < first


def test_summary_counts(photos, out):
    (photos / "broken.jpg").write_bytes(b"no photo")
    summary, _ = run(photos, out)
    assert summary == json.loads((out / "summary.json").read_text())
    assert (summary["photos"], summary["photos_done_now"]) == (7, 6)  # One can't be read.
    assert summary["photos_without_faces"] == 1
    assert summary["faces"] == {"with_mask": 5, "without_mask": 5, "mask_weared_incorrect": 0}
    assert [item["image"] for item in summary["unreadable"]] == ["broken.jpg"]
    assert "not a photo in a known format" in summary["unreadable"][0]["reason"]
    assert {"total", "detect", "classify"} <= set(summary["seconds"])
    assert summary["seconds"]["total"] > 0
    assert (summary["device"], summary["bf16"], summary["engine"]) == ("cpu", False, "torch")
    assert not (out / "annotated" / "broken.jpg").exists()
    told = read_photos(out / "photos.csv")
    assert [row.image for row in told][:3] == ["a.jpg", "b.png", "broken.jpg"]
    assert {(row.width, row.height, row.faces) for row in told if row.faces} == {(120, 90, 2)}
    assert (told[2].width, told[2].faces) == (0, 0)
    assert told[2].reason == summary["unreadable"][0]["reason"]


def test_faces_below_the_thresholds_are_left_out_or_not_drawn(photos, out):
    save_photo(photos / "dim.png", level=150)  # a score of 0.59
    summary, _ = run(photos, out, 0.6, draw_from=0.6)
    assert summary["photos_without_faces"] == 2
    assert not [row for row in rows(out) if row["image"] == "dim.png"]
    assert all(float(row["detection"]) >= 0.6 for row in rows(out))
    drawings = []
    for draw_from in (0.5, 0.7):
        run(photos, out, 0.5, draw_from=draw_from)
        assert len([row for row in rows(out) if row["image"] == "dim.png"]) == 2
        drawings.append((out / "annotated" / "dim.png").read_bytes())
    assert drawings[0] != drawings[1]


def test_without_drawing(photos, out):
    run(photos, out, draw=False)
    assert sorted(p.name for p in out.iterdir()) == [
        JOURNAL,
        "photos.csv",
        "predictions.csv",
        "summary.json",
    ]


def test_second_run_does_nothing(photos, out):
    (photos / "broken.jpg").write_bytes(b"no photo")
    run(photos, out)
    before, times = outcome(out), {p: p.stat().st_mtime_ns for p in out.rglob("annotated/**/*.*")}
    summary, seen = run(photos, out)
    assert (seen, summary["photos_done_now"], summary["photos"]) == (0, 0, 7)
    assert outcome(out) == before
    assert {p: p.stat().st_mtime_ns for p in out.rglob("annotated/**/*.*")} == times


def test_changed_touched_broken_and_new_photos_are_done(photos, out):
    run(photos, out)
    save_photo(photos / "b.png", FACES[:1])
    os.utime(photos / "z.png", ns=(1, 1))
    save_photo(photos / "new.png", seed=9)
    (photos / "a.jpg").unlink()
    (photos / "sub" / "c.png").write_bytes(b"broken")
    summary, seen = run(photos, out)
    assert (seen, summary["photos_done_now"], summary["photos"]) == (3, 3, 6)
    names = [row["image"] for row in rows(out)]
    assert names == ["b.png", *["new.png"] * 2, *["sub/deep er/d.jpg"] * 2, *["z.png"] * 2]
    assert not (out / "annotated" / "sub" / "c.png").exists()


@pytest.mark.parametrize(
    "changed", [{"thresh": 0.4}, {"draw_from": 0.6}, {"resize": 2.0}, "detector", "classifier"]
)
def test_changed_settings_or_weights_do_all_again(photos, out, changed):
    run(photos, out)
    if isinstance(changed, str):
        predictor = stand_ins()
        net = getattr(predictor, changed)
        net.card = net.card.model_copy(update={"sha256": "other"})
        net.sha256 = "other"
        changed = {"predictor": predictor}
    assert run(photos, out, **changed)[1] == 6


@pytest.mark.parametrize(
    ("lost", "done"), [("annotated/b.png", 1), ("predictions.csv", 0), (JOURNAL, 6)]
)
def test_what_is_lost_is_made_again(photos, out, lost, done):
    run(photos, out)
    before = outcome(out)
    (out / lost).unlink()
    assert run(photos, out)[1] == done
    assert outcome(out) == before


def test_killed_before_a_drawing_was_renewed(photos, out, tmp_path, monkeypatch):
    """The drawing of the photo as it was before must not pass for the new one."""
    run(photos, out)
    save_photo(photos / "b.png", FACES[:1])

    def kill(*_):
        raise Killed

    monkeypatch.setattr(sinks, "save_drawing", kill)
    with pytest.raises(Killed):
        run(photos, out)
    monkeypatch.undo()
    run(photos, out)
    run(photos, tmp_path / "whole")
    assert outcome(out) == outcome(tmp_path / "whole")


def test_drawing_of_other_settings_does_not_stay(photos, out, tmp_path):
    save_photo(photos / "dim.png", level=150)
    run(photos, out)
    run(photos, out, 0.8, draw=False)
    run(photos, out, 0.8)
    run(photos, tmp_path / "whole", 0.8)
    assert outcome(out) == outcome(tmp_path / "whole")


def test_drawings_of_other_photos_do_not_stay(photos, out, tmp_path):
    run(photos, out)
    save_photo(tmp_path / "others" / "a.jpg", seed=9)
    with (out / "photos.csv").open("a") as table:
        table.write("camera-0,8,8,1,0,,,0\ncamera-0.mp4,8,8,1,0,,,0\n")
    for name in ("camera-0", "camera-0.mp4"):
        (out / ".video" / name).mkdir(parents=True)
        (out / "annotated" / f"{name.removesuffix('.mp4')}.mp4").touch()
    run(tmp_path / "others", out)
    names = sorted(path.name for path in (out / "annotated").rglob("*"))
    assert names == ["a.jpg", "camera-0.mp4"], "a film of a camera can't be made again"
    (out / "annotated" / "camera-0.mp4").unlink()
    run(photos, out)
    assert len([*(out / "annotated").rglob("*.*")]) == 6


def test_photo_that_arrives_while_it_is_read_is_read_again(photos, out, monkeypatch):
    """A file half copied is unreadable; by the end of the run it may be whole."""
    whole = (photos / "b.png").read_bytes()
    (photos / "b.png").write_bytes(whole[: len(whole) // 2])
    real = sources.read_photo

    def read(path, **options):
        try:
            return real(path, **options)
        finally:
            if path.name == "b.png":
                path.write_bytes(whole)

    monkeypatch.setattr(sources, "read_photo", read)
    found = find_photos(str(photos), leave_out=out)
    assert predict_folder(found, out, stand_ins())["unreadable"]
    monkeypatch.undo()
    summary, seen = run(photos, out)
    assert (seen, summary["unreadable"]) == (1, [])


@pytest.mark.parametrize("bound", [{"AHEAD": 2}, {"AHEAD_PIXELS": 1}])
@pytest.mark.parametrize("batch", [{"BATCH_FRAMES": 2}, {"BATCH_PIXELS": 120 * 90 * 2}])
def test_photos_are_read_a_chunk_ahead_and_no_further(photos, out, monkeypatch, batch, bound):
    for module, changes in ((running, batch), (sources, bound)):
        for name, value in changes.items():
            monkeypatch.setattr(module, name, value)
    read, ahead = [], []
    real_read, real_detect = sources.read_photo, BrightDetector.detect

    def spy_read(path, **options):
        read.append(path.name)
        return real_read(path, **options)

    def spy_detect(self, some, **options):
        assert len(some) == 2
        ahead.append(len(read))
        return real_detect(self, some, **options)

    monkeypatch.setattr(sources, "read_photo", spy_read)
    monkeypatch.setattr(BrightDetector, "detect", spy_detect)
    run(photos, out)
    assert ahead[0] <= 4
    assert ahead[1] <= 6


def test_result_does_not_depend_on_the_chunks(photos, tmp_path, monkeypatch):
    for size in (1, 3, 16):
        monkeypatch.setattr(running, "BATCH_FRAMES", size)
        run(photos, tmp_path / str(size))
    assert outcome(tmp_path / "1") == outcome(tmp_path / "3") == outcome(tmp_path / "16")


def test_full_disk_while_drawing_keeps_what_is_done(photos, out, tmp_path, monkeypatch):
    for module in (running, sinks):
        monkeypatch.setattr(module, "BATCH_FRAMES", 2)
    real, count = sinks.save_drawing, []

    def fill_up(path, drawing):
        count.append(path)
        if len(count) > 3:
            raise OutputError(f"{path}: can't be written (No space left on device).")
        real(path, drawing)

    monkeypatch.setattr(sinks, "save_drawing", fill_up)
    with pytest.raises(OutputError, match="No space left"):
        run(photos, out)
    monkeypatch.setattr(sinks, "save_drawing", real)
    assert run(photos, out)[1] == 3
    run(photos, tmp_path / "whole")
    assert outcome(out) == outcome(tmp_path / "whole")


def test_name_that_is_not_utf_8_is_listed(photos, out):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        shutil.copy(photos / "b.png", photos / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    for _ in range(2):
        summary, _ = run(photos, out)
        (item,) = summary["unreadable"]
        assert item["image"] == "caf\ufffd.png"
        assert "not valid UTF-8; rename it" in item["reason"]
    assert len(rows(out)) == 10


def test_grey_photos_are_called_unlike_also_by_a_run_that_only_looks_again(tmp_path, out):
    for number in range(8):
        save_photo(tmp_path / "photos" / f"{number}.png", seed=number)
    predictor = stand_ins(0.3)
    assert run(tmp_path / "photos", out, predictor=predictor)[0]["unlike"] is None
    classifier = predictor.classifier
    looks = {"colour": (7.5, 8.0), "brightness": (0.0, 255.0)}
    classifier.card = classifier.card.model_copy(update={"looks": looks})
    for seen in (0, 0):
        summary, shown = run(tmp_path / "photos", out, predictor=predictor)
        assert (shown - 8, summary["unlike"]["why"]) == (seen, {"less colour": 8})
