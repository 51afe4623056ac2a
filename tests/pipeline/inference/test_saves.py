"""What `--save` writes: datasets, JSON, crops, blurred photos, the gallery."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from data_prep.base.errors import OptionError
from data_prep.base.files import OutputError
from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from data_prep.base.records import Box
from data_prep.formats.contracts import Format
from data_prep.formats.exif_frame import frame_photos, turn_upright
from data_prep.formats.predictions import PhotoRow
from data_prep.formats.registry import FORMATS, read_dataset
from pipeline.inference.folder import predict_folder
from pipeline.inference.records import Face
from pipeline.inference.saves import (
    MOST_SHOWN,
    SINKS,
    Saves,
    Saving,
    choose_shown,
    describe_entry,
)
from pipeline.inference.sinks import Entry, Journal
from pipeline.inference.sources import SAVED, WRITTEN, find_photos
from tests.makers import hash_tree
from tests.pipeline.makers import FACES, paint_photo, save_photo, stand_ins

BOXES = dict(FACES)
DATASETS = [form for form, found in FORMATS.items() if found.writes]


@pytest.fixture
def photos(tmp_path):
    """A photo with two faces, the same stored lying, one without a face, one that is none."""
    root = tmp_path / "photos"
    save_photo(root / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = np.rot90(paint_photo(seed=3))
    (root / "sub").mkdir()
    Image.fromarray(turned).save(root / "sub" / "turned.png", exif=exif)
    save_photo(root / "empty.png", [])
    (root / "broken.jpg").write_bytes(b"no photo")
    return root


def save(photos, out, *names, blur=()):
    before = hash_tree(photos)
    found = find_photos(str(photos), leave_out=out)
    summary = predict_folder(found, out, stand_ins(), draw=False, saves=Saves(names, blur))
    assert hash_tree(photos) == before
    return summary


@pytest.mark.parametrize("form", [form for form in DATASETS if form is not Format.CROPS])
def test_datasets_read_back_are_what_was_predicted(photos, tmp_path, form):
    """With the photos beside, the boxes lie on them as they are looked at."""
    save(photos, tmp_path / "out", form.value)
    folder = tmp_path / "out" / form.value
    for place, name in FORMATS[form].place(["a.png", "sub/turned.png", "empty.png"]).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((photos / place).read_bytes())
    dataset = read_dataset(folder)
    framed, _ = frame_photos(dataset.photos)
    told = {photo.photo.image: turn_upright(photo).faces for photo in framed}
    assert [len(faces) for _, faces in sorted(told.items())] == [2, 0, 2]
    for faces in told.values():
        for face in faces:
            assert face.box == pytest.approx(BOXES[face.label], abs=0.01)


def test_json_has_the_rows_of_the_table_and_photos_without(photos, tmp_path):
    save(photos, tmp_path / "out", "json")
    told = json.loads((tmp_path / "out" / "predictions.json").read_text())["photos"]
    assert [photo["image"] for photo in told] == [
        "a.png",
        "broken.jpg",
        "empty.png",
        "sub/turned.png",
    ]
    assert "not a photo in a known format" in told[1]["error"]
    assert told[2]["faces"] == []
    assert (told[3]["width"], told[3]["height"], told[3]["orientation"]) == (120, 90, 6)
    for photo in (told[0], told[3]):
        assert {face["label"]: tuple(face["box"]) for face in photo["faces"]} == BOXES
    first = told[0]["faces"][0]
    share = first["probabilities"]["with_mask"]
    assert first["score"] == pytest.approx(first["detection"] * share, abs=1e-4)


def test_name_that_is_not_utf_8_is_spelt():
    row = PhotoRow("a\udce9.jpg", 0, 0, reason="its name is not valid UTF-8")
    assert describe_entry(Entry(row, (), (-1, -1)))["image"] == "a\ufffd.jpg"


def test_crops_are_upright_below_their_class_and_old_ones_go(photos, tmp_path):
    out = tmp_path / "out"
    save(photos, out, "crops")
    crops = sorted((out / "crops").rglob("*.jpg"))
    assert [path.parent.name for path in crops] == ["with_mask"] * 2 + ["without_mask"] * 2
    for path in crops:
        pixels = read_photo(path).pixels
        middle = pixels[len(pixels) // 2, len(pixels) // 2]
        assert middle.argmax() == (1 if path.parent.name == "with_mask" else 0)
    (photos / "sub" / "turned.png").unlink()
    save(photos, out, "crops")
    assert len(list((out / "crops").rglob("*.jpg"))) == 2


def test_crops_of_no_face_are_an_empty_folder(tmp_path):
    save_photo(tmp_path / "photos" / "empty.png", [])
    for _ in range(2):
        assert save(tmp_path / "photos", tmp_path / "out", "crops")["saved"] == {"crops": "crops"}
        assert list((tmp_path / "out" / "crops").iterdir()) == []


def read_saved(out):
    """By name, what is in an output folder besides tables, summary and hidden records."""
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    always = {"predictions.csv", "photos.csv", "summary.json"}
    shown = {name for name in files if not name.startswith(".")} - always
    return {name: files[name].read_text(errors="replace") for name in sorted(shown)}


@pytest.mark.parametrize("name", dict.fromkeys([*SAVED, *DATASETS]))
def test_what_was_saved_of_other_predictions_goes_and_files_of_others_stay(photos, tmp_path, name):
    out, other = tmp_path / "out", "json" if name != "json" else "gallery"
    (place,) = (out / one for one in save(photos, out, name)["saved"].values())
    before = read_saved(out)
    assert save(photos, out)["saved"] == {name: place.name}, "the same photos, nothing asked"
    assert save(photos, out, other)["saved"].keys() == {name, other}
    assert before.items() < read_saved(out).items()
    mine = ["mine.txt", *([f"{place.name}/mine.txt"] if place.is_dir() else [])]
    for file in mine:
        (out / file).write_text("mine")
    save_photo(photos / "new.png")
    assert save(photos, out)["saved"] == {}
    assert read_saved(out) == dict.fromkeys(mine, "mine")
    assert save(photos, out, name)["saved"] == {name: place.name}
    assert dict.fromkeys(mine, "mine").items() < read_saved(out).items()


@pytest.mark.parametrize("asked", [[], ["voc"]])
def test_what_was_changed_since_is_neither_removed_nor_written_over(photos, tmp_path, asked):
    out = tmp_path / "out"
    save(photos, out, "voc")
    (edited,) = (out / "voc").rglob("a.xml")
    edited.write_text("corrected by hand")
    before, table = read_saved(out), (out / "predictions.csv").read_bytes()
    save_photo(photos / "new.png")
    with pytest.raises(
        OutputError, match=r"a\.xml: was changed after it was written; move it away"
    ):
        save(photos, out, *asked)
    assert (read_saved(out), (out / "predictions.csv").read_bytes()) == (before, table)
    edited.rename(tmp_path / "a.xml")
    assert save(photos, out, *asked)["photos_done_now"] == 0
    assert len([*out.rglob("*.xml")]) == (4 if asked else 0)


def test_a_file_of_somebody_else_is_told_before_anything_is_written(photos, tmp_path):
    out = tmp_path / "out"
    save(photos, out)
    (out / "gallery.html").write_text("mine")
    save_photo(photos / "new.png")
    table = (out / "predictions.csv").read_bytes()
    with pytest.raises(OutputError, match=r"gallery\.html: was not written by --save; move it"):
        save(photos, out, "gallery")
    assert read_saved(out) == {"gallery.html": "mine"}
    assert (out / "predictions.csv").read_bytes() == table


def test_a_stopped_run_leaves_nothing_saved_of_the_run_before(photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    save(photos, out, "json", "crops")
    save_photo(photos / "a.png", seed=9)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", stop)
        assert save(photos, out, "json")["photos_left"] == 1
    assert read_saved(out) == {}


@pytest.mark.parametrize(("blur", "gone"), [([], set(BOXES)), (["without_mask"], {"without_mask"})])
def test_faces_of_the_chosen_classes_are_blurred(photos, tmp_path, blur, gone):
    save(photos, tmp_path / "out", "blurred", blur=blur)
    folder = tmp_path / "out" / "blurred"
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png")) == [
        "a.png",
        "empty.png",
        "sub/turned.png",
    ]
    for name in ("a.png", "sub/turned.png"):
        blurred = read_photo(folder / name)
        assert blurred.orientation == 1, "no EXIF data are left"
        sharp = read_photo(photos / name, upright=True).pixels
        for label, box in BOXES.items():
            x0, y0, x1, y1 = box
            same = np.array_equal(blurred.pixels[y0:y1, x0:x1], sharp[y0:y1, x0:x1])
            assert same is (label not in gone)


def read_gallery(out):
    text = (out / "gallery.html").read_text()
    assert not re.findall(r"(?:src|href)=.?https?://|@import|url\(", text), "needs no other host"
    return text, json.loads(re.search(r"const data = (.*), colours = ", text)[1])


def test_gallery_has_every_face_and_can_not_be_broken_out_of(photos, tmp_path):
    save_photo(photos / "<script>alert(1)<_script>.png", FACES[:1])
    save(photos, tmp_path / "out", "gallery")
    text, data = read_gallery(tmp_path / "out")
    assert "<script>alert" not in text
    assert data["images"][0] == "<script>alert(1)<_script>.png"
    told = [(data["images"][row[0]], CLASSES[row[1]], row[4], row[5]) for row in data["faces"]]
    assert told[1:3] == [
        ("a.png", "with_mask", 40, [20, 15, 60, 55]),
        ("a.png", "without_mask", 20, [80, 30, 100, 60]),
    ]
    assert len(told) == 5
    assert "All 5 faces" in text


def test_gallery_of_very_many_faces_is_bounded_and_even():
    def entry(photo, label, scores):
        shares = tuple(1.0 if name == label else 0.0 for name in CLASSES)
        faces = tuple(Face(Box(0, 0, 9, 9), score, shares) for score in scores)
        return Entry(PhotoRow(photo, 9, 9, 1, len(faces)), faces, (1, 1))

    many = np.linspace(0, 1, 50_000).tolist()
    entries = [entry("a", CLASSES[0], many), entry("b", CLASSES[1], many)]
    chosen = choose_shown([*entries, entry("c", CLASSES[2], [0.3, 0.4])])
    assert len(chosen) == MOST_SHOWN
    assert {place for photo, place in chosen if photo == "c"} == {0, 1}
    for photo in "ab":
        places = sorted(place for name, place in chosen if name == photo)
        assert len(places) == (MOST_SHOWN - 2) / 2
        assert np.ptp(np.diff(places)) <= 1
    assert len(choose_shown(entries[:1], most=60_000)) == 50_000


def test_a_kind_is_a_sink_in_the_table_and_is_closed_after_an_error_too(
    photos, tmp_path, monkeypatch
):
    closed = []

    class Names(Saving):
        def add(self, frame, faces):
            if not faces:
                raise OutputError("full")
            self.path.mkdir(exist_ok=True)
            (self.path / f"{frame.pixels.shape[0]}.txt").write_text(str(len(faces)))

        def close(self):
            closed.append(sorted(self.images))

    monkeypatch.setitem(SINKS, "blurred", Names)
    out, images = tmp_path / "out", ["a.png", "empty.png", "sub/turned.png"]
    with pytest.raises(OutputError, match="full"):
        save(photos, out, "blurred")
    assert (closed, (out / "blurred").exists()) == ([images], False)
    (photos / "empty.png").unlink()
    save(photos, out, "blurred")
    assert [path.read_text() for path in (out / "blurred").iterdir()] == ["2"]
    assert {*SAVED} == {"json", *SINKS}


def test_photo_that_changed_meanwhile_is_told(photos, tmp_path, capsys, monkeypatch):
    real = Saves.write

    def write(self, *rest):
        save_photo(photos / "a.png", FACES[:1], width=200)
        return real(self, *rest)

    monkeypatch.setattr(Saves, "write", write)
    found = find_photos(str(photos), leave_out=tmp_path / "out")
    predict_folder(found, tmp_path / "out", stand_ins(), draw=False, saves=Saves(["blurred"]))
    assert "not saved: a.png changed since it was run; run again" in capsys.readouterr().err
    assert not (tmp_path / "out" / "blurred" / "a.png").exists()


def test_link_in_the_place_of_a_folder_is_not_followed(photos, tmp_path):
    mine = tmp_path / "mine"
    (mine / "with_mask").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "crops").symlink_to(mine)
    with pytest.raises(OutputError, match="crops: can't be written"):
        save(photos, tmp_path / "out", "crops")
    assert [path.name for path in mine.iterdir()] == ["with_mask"]
    assert (tmp_path / "out" / "predictions.csv").is_file(), "the table is there all the same"


@pytest.mark.parametrize(
    ("names", "blur", "what"),
    [
        (["pdf"], [], "--save pdf: not known; use json, crops, blurred, gallery, voc, yolo, coco"),
        (["blurred"], ["mask"], "--blur mask: not known; use with_mask"),
        (["json"], ["with_mask"], "--blur: tells which classes --save blurred blurs"),
    ],
)
def test_what_can_not_be_saved(names, blur, what):
    with pytest.raises(OptionError, match=what):
        Saves(names, blur)


def test_nothing_that_is_saved_is_an_input(photos):
    out = photos / "out"
    names = [*SAVED, *DATASETS]
    found = find_photos(str(photos), leave_out=out)
    predict_folder(found, out, stand_ins(), saves=Saves(names))
    assert {path.name for path in out.iterdir()} <= WRITTEN
    found = find_photos(str(photos), leave_out=out)
    assert len(found.images) == 4
    assert found.passed_over == ()
