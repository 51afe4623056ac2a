"""`import trimask`: whatever is given, faces or a clear answer."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import trimask
from data_prep.base.boxes import OffsetsError
from data_prep.base.errors import OptionError
from data_prep.base.files import OutputError
from data_prep.base.tables import TableError
from data_prep.formats.predictions import COLUMNS, PHOTOS_FILE, read_photos
from pipeline.inference import addresses
from pipeline.inference.engines import EngineError
from pipeline.inference.sources import PhotosError
from pipeline.nets.cards import WeightsError
from pipeline.nets.compute import DeviceError
from pipeline.nets.options import SHIPPED
from tests.makers import make_voc
from tests.pipeline.makers import FACES, paint_photo, save_photo, stand_ins
from tests.pipeline.needs import needs_shipped
from trimask import EXAMPLE

ROOT = Path(__file__).parent.parent


@pytest.fixture
def model():
    """Stand-ins for the nets: they find painted faces."""
    return trimask.Model(stand_ins())


@pytest.fixture
def photos(tmp_path):
    """Two good photos and a broken one."""
    save_photo(tmp_path / "photos" / "a.png")
    save_photo(tmp_path / "photos" / "sub" / "b.png", FACES[:1])
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no photo")
    return tmp_path / "photos"


def test_photos_whose_names_are_no_text_are_saved_as_unreadable(model, photos, tmp_path):
    (photos / "a.png").rename(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.png"))
    model.predict(photos).save(tmp_path / "out")
    rows = read_photos(tmp_path / "out" / PHOTOS_FILE)
    assert [row.image for row in rows if row.reason] == ["broken.jpg", "caf\ufffd.png"]


def test_import_is_cheap():
    heavy = ["torch", "fastai", "pandas", "cv2", "matplotlib"]
    code = f"import sys, trimask; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_package_of_another_project_is_named(tmp_path):
    other = tmp_path / "evaluate" / "__init__.py"
    other.parent.mkdir()
    other.write_text('"""Evaluate is a library for easily evaluating models."""\n')
    done = subprocess.run(
        [sys.executable, "-c", "import trimask"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = [one for one in done.stderr.splitlines() if one.startswith("ImportError")]
    for word in (other, ROOT / "evaluate", "Hugging Face", "environment of its own"):
        assert str(word) in line


def test_all_is_there_and_explained():
    for name in trimask.__all__:
        assert getattr(trimask, name).__doc__


@pytest.mark.parametrize("kind", ["file", "path", "array", "image", "list"])
def test_one_photo_of_any_kind(model, photos, kind):
    file = photos / "a.png"
    given = {
        "file": str(file),
        "path": file,
        "array": paint_photo(),
        "image": Image.open(file),
        "list": [file],
    }[kind]
    faces = model.predict(given)
    if kind == "list":
        (faces,) = faces
    assert [face.label for face in faces] == ["with_mask", "without_mask"]
    first = faces[0]
    assert first.box == (20, 15, 60, 55)
    assert first.score == pytest.approx(first.detection * max(first.probabilities))
    assert faces.plot().size[0] % 120 == 0


@pytest.mark.parametrize("spell", [str, lambda folder: folder, lambda folder: f"{folder}/**/*.*"])
def test_folder_or_glob(model, photos, spell, capsys):
    (photos / "notes.txt").write_text("")
    results = model.predict(spell(photos))
    assert capsys.readouterr().err.splitlines()[-1] == "passed over: ending .txt 1"
    assert [one.name for one in results] == ["a.png", "broken.jpg", "sub/b.png"]
    assert [len(one) for one in results] == [2, 0, 1]
    assert list(results.errors) == ["broken.jpg"]
    assert "not a photo in a known format" in results.errors["broken.jpg"]
    assert repr(results) == "Results(3 photos, 3 faces, 1 unreadable)"
    seen = replace(results[2], learnt="near")
    assert repr(seen) == "Faces(sub/b.png, learnt from: with_mask 0.78)"


def test_list_of_all_kinds(model, photos):
    given = [photos / "sub" / "b.png", paint_photo(), str(photos / "a.png"), np.zeros((3, 3, 9))]
    results = model.predict([*given, photos / "a.png"])
    assert [one.name for one in results] == ["sub/b.png", "1.png", "a.png", "3.png", "4-a.png"]
    assert [len(one) for one in results] == [1, 2, 2, 0, 2]
    assert "an array of float64 and shape (3, 3, 9) is no photo" in results.errors["3.png"]
    assert model.predict([]).to_frame().empty
    grey, alone = (model.predict(paint_photo()[..., place]) for place in (1, slice(1, 2)))
    assert grey.to_frame().equals(alone.to_frame())


def test_image_that_several_threads_open_is_loaded_once(model, photos):
    Image.fromarray(paint_photo(width=2000, height=1500)).save(photos / "large.jpg", quality=95)
    assert not model.predict([Image.open(photos / "large.jpg")] * 4).errors
    with Image.open(photos / "large.jpg") as shared, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(model.predict, [shared] * 8))
    assert [len(faces) for faces in found] == [2] * 8


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint8, np.float32])
def test_grey_of_8_bits_is_seen_as_such_in_numbers_of_any_kind(model, dtype):
    (faces,) = model.predict([paint_photo().max(axis=2).astype(dtype)])
    assert len(faces) == 2


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("", "is a directory"),
        ("a\0b.jpg", "null"),
        ("data:image/png;base64," + "A" * 5000, "name too long"),
        (np.zeros(5, np.uint8), r"shape \(5,\) is no photo"),
    ],
)
def test_what_no_photo_can_be_called_costs_that_one_alone(model, wrong, why):
    results = model.predict([wrong, paint_photo()])
    (reason,) = results.errors.values()
    assert re.search(why, reason, re.IGNORECASE)
    assert len(results[1]) == 2
    with pytest.raises((trimask.PhotoError, PhotosError)):
        model.predict(wrong)


def test_broken_photo_alone_is_an_error(model, photos):
    with pytest.raises(trimask.PhotoError, match=r"broken\.jpg: not a photo in a known format"):
        model.predict(photos / "broken.jpg")
    with pytest.raises(PhotosError, match="no such file or folder"):
        model.predict(photos / "none.jpg")
    with pytest.raises(PhotosError, match="File name too long"):
        model.predict("x" * 300)
    with pytest.raises(trimask.PhotoError, match="of type int, which is no photo; give a path"):
        model.predict(3)
    with pytest.raises(trimask.PhotoError, match=r"damaged or truncated \(5 × 0 pixels\)"):
        model.predict(np.zeros((0, 5, 3), np.uint8))
    with pytest.raises(PhotosError, match="an empty name"):
        model.predict("")
    with pytest.raises(PhotosError, match="only videos in there"):
        model.predict("rtsp://host/path")
    for wrong in (
        *({"thresh": 2}, {"thresh": -1}, {"resize": 0.0}, {"resize": 9}),
        *({"thresh": "x"}, {"thresh": None}, {"thresh": True}, {"resize": "auto"}),
    ):
        with pytest.raises(ValueError, match=r"thresh goes from 0 to 1, resize from above 0"):
            model.predict(photos / "a.png", **wrong)


def test_table_is_that_of_the_file(model, photos, tmp_path):
    results = model.predict(photos)
    assert len(model.predict(photos / "a.png", thresh=0.99)) == 0
    assert model.predictor.thresh == 0.3, "the model stays as it was"
    results.save(tmp_path / "out")
    table = results.to_frame()
    assert table.columns.tolist() == list(COLUMNS)
    stored = pd.read_csv(tmp_path / "out" / "predictions.csv")
    pd.testing.assert_frame_equal(stored, table, atol=0.01, check_dtype=False)
    drawn = (tmp_path / "out" / "annotated").rglob("*.*")
    assert sorted(path.name for path in drawn) == ["a.png", "b.png"]
    results[0].save(tmp_path / "out")
    with pytest.raises(OutputError, match="holds other files"):
        results.save(photos)
    results[0].save(tmp_path / "one")
    assert len((tmp_path / "one" / "predictions.csv").read_text().splitlines()) == 3


def test_a_save_takes_the_place_of_an_earlier_one(model, photos, tmp_path):
    out, drawn = tmp_path / "out", tmp_path / "out" / "annotated"
    results = model.predict(photos)
    results.save(out)
    (drawn / "mine.txt").write_text("mine")
    results[0].save(out)
    names = sorted(path.relative_to(drawn).as_posix() for path in drawn.rglob("*"))
    assert names == ["a.png", "mine.txt"], "its pictures went with their folder, mine is no picture"
    trimask.Results((replace(results[0], faces=(), error="gone"),)).save(out)
    assert [path.name for path in drawn.iterdir()] == ["mine.txt"]
    with (out / "photos.csv").open("a") as table:
        table.write("../../a.txt,1,1,1,0,,,0\n")
    (tmp_path / "a.txt").write_text("mine")
    results[1].save(out)
    assert (tmp_path / "a.txt").exists(), "a table that was edited leads nowhere"
    (out / ".journal.jsonl").write_text("")
    with pytest.raises(OutputError, match=r"holds a run of run\.py"):
        results.save(out)


def test_nothing_is_saved_outside_of_the_folder(model, photos, tmp_path):
    results = model.predict(photos)
    results.save(tmp_path / "out")
    drawn = tmp_path / "out" / "annotated"
    drawn.rename(tmp_path / "elsewhere")
    drawn.symlink_to(tmp_path / "elsewhere")
    before = {path: path.read_bytes() for path in (tmp_path / "elsewhere").rglob("*.png")}
    for path in before:
        path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="outside of it; choose another folder"):
        results.save(tmp_path / "out")
    with pytest.raises(OutputError, match="outside of it; choose another folder"):
        trimask.Results((replace(results[0], name="../../a.png"),)).save(tmp_path / "new")
    assert {path.read_bytes() for path in before} == {b"mine"}
    assert not (tmp_path / "a.png").exists()
    odd = model.predict(["a\0b.jpg", photos / "a.png"])
    for _ in range(2):
        odd.save(tmp_path / "odd")


def test_tables_without_a_face_have_the_columns_kinds(model):
    none, some = (model.predict(photo).to_frame() for photo in (paint_photo(()), paint_photo()))
    assert none.empty
    pd.testing.assert_series_equal(none.dtypes, some.dtypes)
    pd.testing.assert_series_equal(pd.concat([none, some]).dtypes, some.dtypes)


def test_notebook_shows_picture_and_table(model, photos):
    for shown in (model.predict(photos), model.predict(photos / "a.png"), model.predict([])):
        html = shown._repr_html_()
        assert html.startswith(f'<p>{escape(repr(shown))}</p><img src="data:image/jpeg;base64,')
        assert "p_with_mask" in html
        assert len(html) < 100_000
    unread = next(one for one in model.predict(photos) if one.error)
    assert unread._repr_html_() == f"<p>{escape(repr(unread))}</p>"


def test_what_a_contact_sheet_leaves_out_is_told(model, photos, monkeypatch):
    monkeypatch.setattr(trimask, "SHOWN", 1)
    monkeypatch.setattr(trimask, "ROWS", 2)
    results = model.predict(photos)
    sheet = np.asarray(results.plot())
    assert sheet.shape[:2] == (360, 320), "a line below the photos"
    assert (sheet[320:] < 128).any(), "that says something"
    assert "<p>3 rows" in results._repr_html_()
    assert results[:1][0].plot().size[0] % 120 == 0
    monkeypatch.setattr(trimask, "SHOWN", 2)
    assert results.plot().size == (640, 320)


@pytest.fixture
def site(serve, photos):
    """A photo, a page that is none, one that never ends, one that never comes, one that drips."""
    pages = {"/a.png": (photos / "a.png").read_bytes(), "/page.jpg": b"<html>"}

    def answer(request):
        if request.path == "/missing.jpg":
            request.send_error(404)
            return
        if request.path == "/silent.jpg":
            time.sleep(0.5)
            return
        request.send_response(200)
        request.end_headers()
        with suppress(OSError):
            for _ in range(1 if request.path not in {"/endless.jpg", "/slow.jpg"} else 1000):
                request.wfile.write(pages.get(request.path.split("?")[0], bytes(100_000)))
                time.sleep(0.1 if request.path == "/slow.jpg" else 0)

    return serve(answer)


def test_photo_by_address(model, site):
    faces = model.predict(f"{site}/a.png?size=large")
    assert (faces.name, len(faces)) == ("a.png", 2)
    assert len(model.predict([f"{site}/a.png"])[0]) == 2


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("missing.jpg", "can't be fetched (the server answers 404"),
        ("page.jpg", "a web page or a drawing, no photo"),
        ("endless.jpg", "can't be fetched (larger than 1 MB)"),
        ("silent.jpg", "can't be fetched (timed out)"),
        ("slow.jpg", "can't be fetched (not there after 0.3 s)"),
    ],
)
def test_address_without_a_photo(model, site, monkeypatch, page, reason):
    monkeypatch.setattr(addresses, "MOST_BYTES", 1_000_000)
    monkeypatch.setattr(addresses, "WAIT", 0.2)
    monkeypatch.setattr(addresses, "MOST_SECONDS", 0.3)
    results = model.predict([f"{site}/{page}", paint_photo()])
    assert f"{site}/{page}: {reason}" in results.errors[page]
    assert len(results[1]) == 2
    with pytest.raises(trimask.PhotoError, match="can't be fetched"):
        model.predict("http://[")


@needs_shipped
@pytest.mark.parametrize("name", ["detector", "classifier"])
def test_run_folder_takes_the_rest_from_the_shipped(random_weights, tmp_path, name):
    for file in random_weights.glob(f"{name}.*"):
        shutil.copy(file, tmp_path)
    model = trimask.load(tmp_path, device="cpu")
    loaded = model.predictor.identify()
    for net in ("detector", "classifier"):
        folder = random_weights if net == name else SHIPPED
        assert loaded[net] == json.loads((folder / f"{net}.json").read_text())["sha256"]


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({"weights": "none"}, WeightsError, "none: no such file or folder; weights are a run"),
        ({"engine": "steam"}, EngineError, "unknown engine 'steam': this version has auto, "),
        ({"device": "gpu"}, DeviceError, "unknown device 'gpu'"),
        ({"boxes": "hed"}, OffsetsError, "hed: no such file; give one or facemask, head, ilc"),
        ({"boxes": (0, 0.46, 0, 0)}, OffsetsError, "four numbers are needed, -0.45 to 0.45: left"),
        ({"boxes": [0, 0, float("nan"), 0]}, OffsetsError, "four numbers"),
        ({"boxes": [0, 0, 0]}, OffsetsError, "four numbers"),
    ],
)
def test_what_can_not_be_loaded(options, error, what):
    with pytest.raises(error, match=what):
        trimask.load(**{"device": "cpu", **options})


@needs_shipped
@pytest.mark.parametrize("kind", ["name", "file", "numbers"])
def test_faces_are_boxed_as_asked(kind):
    file = SHIPPED / "boxes-ilc.json"
    numbers = list(json.loads(file.read_text())["offsets"].values())
    boxes = {"name": "ilc", "file": file, "numbers": numbers}[kind]
    (plain,), (moved,) = (
        trimask.load(device="cpu", boxes=b).predict(EXAMPLE) for b in (None, boxes)
    )
    x0, y0, x1, y1 = plain.box
    sides = np.array([x1 - x0, y1 - y0] * 2)
    assert moved.box == pytest.approx(np.array(plain.box) + sides * numbers)
    assert moved.probabilities == plain.probabilities


def test_evaluation_of_results_is_that_of_the_table(model, tmp_path):
    root = tmp_path / "set"
    for name, faces in (("a", FACES), ("b", FACES[:1])):
        save_photo(root / "images" / f"{name}.png", faces)
        make_voc(root / "annotations" / f"{name}.xml", f"{name}.png", FACES)
    results = model.predict(root / "images")
    results.save(tmp_path / "out")
    report = trimask.evaluate(root, results)
    assert report.metrics["ap50"]["with_mask"] == 1
    assert report.metrics["ap50"]["without_mask"] == 0.5
    stored = trimask.evaluate(root, tmp_path / "out" / "predictions.csv")
    pd.testing.assert_frame_equal(report.to_frame(), stored.to_frame())
    assert report.metrics["coverage"] == stored.metrics["coverage"]
    assert report.metrics["coverage"]["run"] == 2
    some = trimask.evaluate(root, results[0], iou=[0.3]).metrics
    assert some["ap50"]["with_mask"] == 0.5
    assert some["at_iou"][0]["iou"] == 0.3
    same = trimask.evaluate(root, [*results], bootstrap=0).metrics
    assert same["ap50"] == report.metrics["ap50"]
    frame = results.to_frame()
    of_frame = trimask.evaluate(root, frame.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(of_frame.to_frame(), report.to_frame())
    found = trimask.evaluate(root, frame[frame["label"] == "with_mask"]).metrics["ap50"]
    assert (found["with_mask"], found["without_mask"]) == (1, 0)
    for wrong, why in (
        (frame.drop(columns="label"), "no column label"),
        (frame.assign(xmin=np.nan), "predictions, line 2: '' for xmin is not a number"),
    ):
        with pytest.raises(TableError, match=why):
            trimask.evaluate(root, wrong)
    with pytest.raises(TypeError, match="annotations come first"):
        trimask.evaluate(results, root)
    for wrong in (None, 5, [frame], [results], model):
        with pytest.raises(TypeError, match="faces come second"):
            trimask.evaluate(root, wrong)
    for name, value in (
        *(("thresh", "x"), ("thresh", 2), ("iou", 0.5), ("bootstrap", -1), ("incorrect", "x")),
        *(("image_size", (3, 3)), ("truth_boxes", "x"), ("classes", ["a"]), ("photos", 5)),
    ):
        with pytest.raises(OptionError, match=rf"^{name}=.*: (should be|is not)"):
            trimask.evaluate(root, results, **{name: value})


@pytest.mark.parametrize("wrong", [5, None, [], [5], b"out", "", {}, True])
def test_what_is_no_path_is_told_by_the_name_of_the_argument(model, photos, tmp_path, wrong):
    results = model.predict(photos)
    before = {*tmp_path.rglob("*")}
    calls = {
        "folder": (results.save, results[0].save),
        "prepared": (trimask.learner,),
        "annotations": (lambda one: trimask.evaluate(one, results),),
        "faces": (lambda one: trimask.evaluate(photos, one),) if wrong not in ([], [5]) else (),
        "weights": (trimask.load,) if wrong is not None else (),
        "device": (lambda one: trimask.load(device=one),),
        "engine": (lambda one: trimask.load(device="cpu", engine=one),),
    }
    for name, functions in calls.items():
        for function in functions:
            with pytest.raises((ValueError, TypeError), match=rf"^(unknown )?{name}\b"):
                function(wrong)
    assert {*tmp_path.rglob("*")} == before


@pytest.mark.parametrize("name", ["weights", "boxes", "prepared", "annotations"])
def test_what_is_too_long_for_a_path_is_told(name):
    call = {
        "prepared": trimask.learner,
        "annotations": lambda one: trimask.evaluate(one, "predictions.csv"),
    }.get(name, lambda one: trimask.load(device="cpu", **{name: one}))
    with pytest.raises(OptionError, match=rf"^{name}='.*a': "):
        call("a" * 5000)


@pytest.mark.parametrize("wrong", [{"bf16": "yes"}, {"unsure": 0.9}, {"boxes": 1}, {"quality": 1}])
def test_wrong_ways_to_load_are_named(wrong):
    with pytest.raises(ValueError, match=rf"{next(iter(wrong))}="):
        trimask.load(device="cpu", **wrong)
