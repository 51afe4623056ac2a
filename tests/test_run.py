"""`run.py`: whatever a user gives it, a clear answer, the rest done, nothing of theirs changed."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from data_prep.base.files import PART, hold_folder
from data_prep.base.photo import read_photo
from data_prep.formats.predictions import COLUMNS, read_photos
from pipeline.inference import predictor
from pipeline.inference.command import app
from pipeline.inference.predictor import Predictor
from tests.makers import hash_tree
from tests.pipeline.inference.video.makers import WALK, write_clip
from tests.pipeline.makers import FACES, paint_photo, save_photo, stand_ins

RUN = Path(__file__).parent.parent / "run.py"
NET = RUN.parent / "weights" / "detector.safetensors"
GOOD = 3
"""Photos of the folder that are good whatever else is in it."""


@pytest.fixture
def photos(tmp_path):
    """Three good photos with two faces each."""
    root = tmp_path / "photos"
    for index in range(GOOD):
        save_photo(root / f"good{index}.png", seed=index)
    return root


@pytest.fixture
def stages(monkeypatch):
    """Stand-ins for both nets; what they were loaded with is in `loaded`."""
    pair, loaded = stand_ins(), {}

    def load(weights, *, thresh, resize, **options):
        loaded.update(weights=weights, thresh=thresh, resize=resize, **options)
        return replace(pair, thresh=thresh, resize=resize)

    monkeypatch.setattr(Predictor, "load", load)
    return SimpleNamespace(loaded=loaded, detector=pair.detector)


def call(*arguments):
    """Run in this process; an error that is not explained fails the test."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def run(photos, stages, tmp_path):
    """Run over the folder of photos; checks what holds in every case."""

    def go(*options):
        before = hash_tree(photos)
        result = call(photos, "-o", tmp_path / "out", *options)
        assert hash_tree(photos) == before, "the user's folder is not touched"
        return result

    return go


def table(out):
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_done(result, out, name, faces=2):
    """The odd photo is done like the others."""
    assert result.exit_code == 0, result.stderr
    assert "unreadable" not in result.stderr
    rows = [row for row in table(out) if row["image"] == name]
    assert len(rows) == faces
    assert len(table(out)) == 2 * GOOD + faces
    assert (out / "annotated" / name).is_file()
    return rows


def box_of(row):
    return [float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax")]


def test_one_photo_is_told_in_the_singular(stages, photos, tmp_path):
    result = call(photos / "good0.png", "-o", tmp_path / "out")
    assert result.stdout.startswith("1 photo, 1 of them now, in ")


def test_good_folder(run, tmp_path):
    result = run()
    assert result.exit_code == 0
    assert len(table(tmp_path / "out")) == 6
    lines = result.stdout.splitlines()
    assert lines[0].startswith("3 photos, 3 of them now, in ")
    assert lines[1] == "faces: with_mask 3, without_mask 3, mask_weared_incorrect 0"
    assert lines[2:] == [
        f"table: {tmp_path / 'out' / 'predictions.csv'}",
        f"drawn: {tmp_path / 'out' / 'annotated'}",
    ]
    assert "Error" not in result.stderr


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"weights": RUN.parent / "weights", "bf16": None, "thresh": 0.5, "resize": None}),
        (["--device", "cpu", "--weights", NET], {"weights": NET, "device": "cpu"}),
        (["--bf16"], {"bf16": True}),
        (["--fp32"], {"bf16": False}),
        *((["--resize", text], {"resize": float(text)}) for text in ("1", "0.5", "2.5", "8")),
        (["--resize", "auto", "--thresh", "0.6"], {"resize": None, "thresh": 0.6}),
    ],
)
def test_options_reach_the_nets(run, stages, options, expected):
    run(*options)
    assert {key: stages.loaded[key] for key in expected} == expected
    assert stages.loaded["device"] == (
        "cuda" if torch.cuda.is_available() and "--device" not in options else "cpu"
    )


def test_very_thin_photo(run, photos, tmp_path):
    Image.new("RGB", (1, 2000), (9, 8, 7)).save(photos / "odd.png")
    assert_done(run(), tmp_path / "out", "odd.png", faces=0)


def test_exif_turned_photo_is_measured_and_drawn_upright(run, photos, tmp_path):
    """Stored lying, to be turned clockwise: 90 × 120 upright, and x, y become 90 − y, x."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(paint_photo(FACES[:1])).save(photos / "odd.png", exif=exif)
    (row,) = assert_done(run(), tmp_path / "out", "odd.png", faces=1)
    assert box_of(row) == [35, 20, 75, 60]
    assert row["orientation"] == "6"
    drawn = read_photo(tmp_path / "out" / "annotated" / "odd.png")
    assert drawn.orientation == 1, "nobody turns it twice"
    assert drawn.size[0] / 90 == drawn.size[1] / 120
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["turned"] == ["odd.png"]


@pytest.mark.parametrize(
    "name",
    [
        "fiesta de año nuevo, 口罩 & 'más' 😷.png",
        "--help.png",
        'a,b;c "new\nline".png',
        "photos/[1]/%s{} .png",
    ],
)
def test_odd_names(run, photos, tmp_path, name):
    save_photo(photos / name)
    assert_done(run(), tmp_path / "out", name)


@pytest.mark.usefixtures("stages")
def test_photo_named_like_an_option(tmp_path, monkeypatch):
    save_photo(tmp_path / "--thresh.png")
    monkeypatch.chdir(tmp_path)
    assert call("-o", "out", "--", "--thresh.png").exit_code == 0
    assert {row["image"] for row in table(tmp_path / "out")} == {"--thresh.png"}


def assert_refused(result, *words):
    """Exit 2, and one line on standard error that says why, but for what goes before."""
    assert result.exit_code == 2
    assert result.stdout == ""
    *before, line = result.stderr.splitlines()
    assert not [told for told in before if not told.startswith(("nets: ", f"{GOOD} photos in"))]
    assert line.startswith("error: ")
    for word in words:
        assert str(word) in line


@pytest.mark.usefixtures("stages")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", ["no such file or folder"]),
        ("none/*.jpg", ["no photos"]),
        ("empty", ["no photos", ".jpg"]),
    ],
)
def test_nothing_to_do(tmp_path, name, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("")
    assert_refused(call(tmp_path / name, "-o", tmp_path / "out"), tmp_path / name, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(
    getattr(os, "geteuid", int)() == 0, reason="nothing is read-only for root, nor on Windows"
)
def test_read_only_output(run, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    assert_refused(run("-o", tmp_path / "locked" / "out"), "locked", "can't be written")


@pytest.mark.usefixtures("stages")
def test_output_among_the_photos(photos):
    """What was drawn in the first run is no photo in the second; others' folders are refused."""
    for done in (3, 0):
        result = call(photos, "-o", photos / "out")
        assert result.exit_code == 0
        assert result.stdout.startswith(f"3 photos, {done} of them now")
        assert "passed over" not in result.stderr
    assert len(table(photos / "out")) == 6
    assert call(photos, "-o", photos.parent / "next").stdout.startswith("3 photos, 3 of them now")
    results = call(photos / "out", "-o", photos.parent / "last")
    assert_refused(results, photos / "out", "results of another run 1")
    assert_refused(call(photos, "-o", photos), photos, "holds other files")
    file = next(photos.glob("*.png"))
    assert_refused(call(photos, "-o", file), file, "is a file; choose a folder with -o")


def test_nothing_that_can_be_read(photos, run):
    for name in ("a", "b", "c"):
        (photos / f"{name}.png").write_bytes(b"")
    some = run()
    assert some.exit_code == 1
    assert "; 3 could not be read" in some.stdout
    for photo in photos.iterdir():
        photo.write_bytes(b"")
    assert run().exit_code == 2
    fresh = call(photos, "-o", photos.parent / "fresh")
    assert "drawn: " not in fresh.stdout


def test_what_an_earlier_run_saved_is_named_while_it_belongs_to_the_table(run, photos, tmp_path):
    place = tmp_path / "out" / "blurred"
    save_photo(photos / "dim.png", level=150)  # a score of 0.59
    for options, there in ((("--save", "blurred"), True), ((), True), (("--thresh", 0.7), False)):
        done = run(*options)
        assert done.exit_code == 0
        assert (f"blurred: {place}" in done.stdout) == place.exists() == there
    assert "blurred of an earlier run is removed: it was of other predictions" in done.stderr


def test_what_is_passed_over_is_counted_and_named(run, photos, tmp_path):
    for name in ("song.mp3", "tour.mp3", ".thumbs/a.png"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes(b"x")
    result = run()
    assert result.exit_code == 0
    summary = tmp_path / "out" / "summary.json"
    assert result.stderr.splitlines()[-1] == (
        f"passed over: ending .mp3 2, hidden 1; each is named in {summary}"
    )
    names = [item["image"] for item in json.loads(summary.read_text())["passed_over"]]
    assert names == [".thumbs/", "song.mp3", "tour.mp3"]


def test_counts_are_those_of_the_drawings(run, photos, tmp_path):
    save_photo(photos / "dim.png", level=150)  # a score of 0.59
    told = run("--draw-from", 0.7).stdout.splitlines()
    assert told[1] == (
        "faces: with_mask 3, without_mask 3, mask_weared_incorrect 0 from a detection score of "
        "0.7 on; the table has 8 faces"
    )
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["faces"]["with_mask"] == 4


def test_options_are_checked_before_torch_is_loaded(tmp_path):
    """One process for all, and for `--help`: loading takes long."""
    photo = str(Path(__file__).parents[1] / ".github" / "demo.jpg")
    wrong = {
        "--save pdf": "--save pdf: not known",
        "--engine steam": "'steam' is not one of",
        "--device gpu": "'gpu' is not one of",
        "--weights none": "none: no such file or folder; weights are",
        "--help": "--max-pixels",
    }
    code = (
        "import sys; from typer.testing import CliRunner\n"
        "from pipeline.inference.command import app\n"
        f"for asked, words in {wrong!r}.items():\n"
        f"    done = CliRunner().invoke(app, [{photo!r}, '-o', 'out', *asked.split()])\n"
        "    told = ' '.join(done.output.replace('│', ' ').split())\n"
        "    assert done.exit_code == (0 if asked == '--help' else 2), asked\n"
        "    assert words in told, (asked, told)\n"
        "    assert 'torch' not in sys.modules, asked"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(RUN.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "out").exists()


def test_photo_that_lacks_its_end_is_run_if_asked(run, photos, tmp_path):
    save_photo(photos / "cut.jpg", seed=1)
    data = (photos / "cut.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(data[: len(data) * 9 // 10])
    assert run().exit_code == 1
    done = run("--salvage")
    assert done.exit_code == 0
    assert f"{GOOD + 1} photos, 1 of them now" in done.stdout
    assert done.stdout.startswith(f"1 of {GOOD + 1} photos lack their end: faces there are not")
    told = {row.image: row.salvaged for row in read_photos(tmp_path / "out" / "photos.csv")}
    assert 40 < told.pop("cut.jpg") < 90
    assert set(told.values()) == {0}
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["salvaged"] == 1
    assert run().exit_code == 1, "without the option, it is none again"


def test_photos_of_more_pixels_are_not_read(run):
    assert run("--max-pixels", 120 * 90).exit_code == 0
    few = run("--max-pixels", 120 * 90 - 1)
    assert few.exit_code == 2
    assert "too many pixels to be a photo (120 × 90)" in few.stderr
    assert run().exit_code == 0, "and with another limit tried again"


def test_second_run_into_a_folder_says_so(run, tmp_path):
    with hold_folder(tmp_path / "out"):
        assert_refused(run(), tmp_path / "out", "another command is writing into it")
    assert run().exit_code == 0


def test_what_a_killed_run_left_is_swept_and_nothing_else(run, tmp_path):
    run()
    out = tmp_path / "out"
    left = [f".a.csv.0123{PART}", f"annotated/.a.png.89{PART}", f".saving-a1{PART}/x.jpg"]
    others = [".notes.txt", "annotated/.good0.png.0123abcd", f"notes{PART}"]
    for name in (*left, *others):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).touch()
    assert run().exit_code == 0
    assert [(out / name).exists() for name in (*left, *others)] == [False] * 3 + [True] * 3


def test_nothing_is_written_through_a_link(run, tmp_path):
    run()
    (tmp_path / "other").mkdir()
    shutil.rmtree(tmp_path / "out" / "annotated")
    (tmp_path / "out" / "annotated").symlink_to(tmp_path / "other")
    assert_refused(run(), tmp_path / "out" / "annotated", "is a link")
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows has not")
def test_names_that_terminals_and_spreadsheets_obey(run, photos, tmp_path):
    for name in ("a\x1b[2J\r.png", "=1+1.png"):
        (photos / name).write_bytes((photos / "good0.png").read_bytes())
    (photos / "bad\x1b[2J.png").write_bytes(b"")
    write_clip(photos / "clip\x1b[2J.mp4", WALK[:2])
    told = run()
    assert "\x1b" not in told.output
    assert "bad\\x1b[2J.png: the file is empty" in told.stderr
    assert "a\x1b[2J\r.png" in {row["image"] for row in table(tmp_path / "out")}
    assert '\n"=1+1.png",' in (tmp_path / "out" / "predictions.csv").read_text()
    run("--spreadsheet")
    assert "'=1+1.png" in {row["image"] for row in table(tmp_path / "out")}
    names = {row.image for row in read_photos(tmp_path / "out" / "photos.csv")}
    assert {"a\x1b[2J\r.png", "'=1+1.png"} < names


def test_a_folder_that_was_looked_at_is_empty_still(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".DS_Store").write_bytes(b"")
    assert run().exit_code == 0


def test_a_name_of_a_list_that_no_file_can_have_stops_nothing(photos, stages, tmp_path):
    (photos / "list.txt").write_text(f"{'a' * 300}.mp4\ngood0.png\n{'a' * 300}.png")
    for done_now in (1, 0):
        told = call(photos / "list.txt", "-o", tmp_path / "out")
        assert told.exit_code == 1
        assert f"2 photos, {done_now} of them now, 1 video" in told.output


def test_what_is_saved_is_named_and_faults_are_found_first(run, tmp_path):
    refused = run("--save", "crops", "--save", "pdf")
    assert_refused(refused, "--save pdf: not known; use json, crops")
    assert not (tmp_path / "out").exists()
    done = run("--save", "crops", "--save", "gallery", "--save", "coco")
    assert done.stdout.splitlines()[-3:] == [
        f"crops: {tmp_path / 'out' / 'crops'}",
        f"gallery: {tmp_path / 'out' / 'gallery.html'}",
        f"coco: {tmp_path / 'out' / 'coco'}",
    ]


def test_stopped_by_the_keyboard_and_run_again(run, tmp_path, monkeypatch):
    monkeypatch.setattr(predictor, "BATCH_FRAMES", 2)
    real, calls = Predictor.__call__, []

    def predict(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(Predictor, "__call__", predict)
    stopped = run()
    assert stopped.exit_code == 130
    assert stopped.stderr.splitlines()[-1] == "stopped at 2 of 3 photos, run again to go on"
    assert len(table(tmp_path / "out")) == 4
    assert len(read_photos(tmp_path / "out" / "photos.csv")) == 2
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["photos_left"] == 1
    again = run()
    assert again.exit_code == 0
    assert again.stdout.startswith("3 photos, 1 of them now")
    assert len(table(tmp_path / "out")) == 6


def test_drawn_photos_are_no_input(run, tmp_path):
    run()
    before = hash_tree(tmp_path / "out")
    drawn = tmp_path / "out" / "annotated"
    assert_refused(call(drawn, "-o", tmp_path / "out"), drawn, "choose another -o")
    assert_refused(call(drawn / "good0.png", "-o", tmp_path / "out"), "choose another -o")
    assert hash_tree(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        *(("--thresh", value, "--thresh") for value in ("-0.1", "1.5", "high", "nan")),
        ("--draw-from", "1.5", "--draw-from"),
        ("--treshold", "0.5", "--treshold"),
        *(
            ("--resize", value, f"for '--resize': '{value}': write auto, or a factor up to 8")
            for value in ("big", "0", "-1", "9", "nan", "inf", "", "1,5")
        ),
    ],
)
def test_option_that_makes_no_sense(run, tmp_path, option, value, words):
    result = run(option, value)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--out", "--weights", "--boxes"])
def test_name_that_no_file_can_have(run, option):
    assert_refused(run(option, "a" * 5000), "too long")


def test_device_that_is_not_there(run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert_refused(run("--device", "cuda"), "no CUDA device can be used here")


def test_missing_weights(photos, tmp_path):
    result = call(photos, "-o", tmp_path / "out", "--weights", tmp_path / "none")
    assert_refused(result, tmp_path / "none", "no such file or folder; weights are a run")
    assert not (tmp_path / "out").exists()


def run_command(*arguments, **options):
    command = [sys.executable, str(RUN), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, **options
    )


def test_the_command_itself(photos, tmp_path):
    """With the shipped nets: what they find does not matter here."""
    (photos / "odd.jpg").write_bytes(b"")
    before = hash_tree(photos)
    options = ["--thresh", 0.9999, "--resize", 1, "--device", "cpu"]
    done = run_command(photos, "-o", "results", *options, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"unreadable: {photos / 'odd.jpg'}: the file is empty (0 bytes); copy it again from its "
        "source."
    )
    out = tmp_path / "results"
    assert (out / "predictions.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    assert sorted(path.name for path in (out / "annotated").iterdir()) == [
        f"good{index}.png" for index in range(GOOD)
    ]
    assert hash_tree(photos) == before


def test_the_command_on_a_really_full_disk(photos, tmp_path):
    """A limit on file size makes a real write fail half-way, as a full disk does."""
    resource = pytest.importorskip("resource", reason="limits of POSIX")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000))

    options = ["--thresh", 1, "--resize", 1, "--device", "cpu"]
    done = run_command(photos, "-o", tmp_path / "out", *options, preexec_fn=limit)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'out'}")
    assert "can't be written (File too large)" in done.stderr
    assert "Traceback" not in done.stderr
