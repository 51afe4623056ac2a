"""Artificial datasets from painted photos; the stand-in detector's landmarks lie in its boxes."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from data_prep.base.files import OutputError
from data_prep.base.labels import BARE, CLASSES, MASKED, RARE_CLASS
from data_prep.base.photo import read_photo
from data_prep.base.tables import read_faces
from data_prep.formats.registry import read_dataset
from data_prep.prepare.build import build
from data_prep.prepare.options import BuildOptions
from pipeline.drawing.dataset import DrawOptions, draw_dataset
from pipeline.drawing.styles import WAYS_TO_WEAR
from pipeline.inference.detector import Detector
from pipeline.runs.folder import PreparedError
from tests.makers import FACE, make_voc
from tests.pipeline.makers import (
    BrightDetector,
    assert_refused,
    call,
    paint_dataset,
    save_photo,
)


def draw(root, out, **options):
    return draw_dataset(DrawOptions(root, out, **options), Landmarker())


PLACES = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])


class Landmarker(BrightDetector):
    """Finds bright rectangles, and a face's landmarks at fixed places in them."""

    def _find(self, photo, min_score):
        faces = super()._find(photo, min_score)
        sizes = faces.boxes[:, None, 2:] - faces.boxes[:, None, :2]
        return replace(faces, landmarks=faces.boxes[:, None, :2] + PLACES * sizes)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return paint_dataset(tmp_path_factory.mktemp("masks") / "set", 24)


@pytest.fixture(scope="module")
def drawn(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("masks") / "set-drawn"
    draw(root, out)
    return out


def test_labels_say_what_is_drawn_and_other_faces_stay(root, drawn):
    before = {p.image: p for p in read_dataset(root).photos}
    after = {p.image: p for p in read_dataset(drawn).photos}
    table = pd.read_csv(drawn / "drawn.csv").set_index(["image", "object"])
    assert set(after) == set(before)
    changed = 0
    for image, photo in after.items():
        for old, new in zip(before[image].faces, photo.faces, strict=True):
            assert new.box == old.box
            if (image, new.object) in table.index:
                row = table.loc[(image, new.object)]
                assert old.label == BARE
                assert new.label == row["label"]
                assert new.label == (MASKED if row["worn"] == "properly" else RARE_CLASS)
                assert row["origin"] == f"set/{image}"
                changed += 1
            else:
                assert new.label == old.label
    counts = json.loads((drawn / "drawn.json").read_text())["counts"]
    assert changed == len(table) == counts["bare_faces"] == counts["drawn"] == 24
    assert sum(counts["worn"].values()) == sum(counts["styles"].values()) == 24
    assert sum(counts["faces"].values()) == 72
    assert read_photo(drawn / "drawn.png").width > 500
    assert set(table["worn"]) == set(WAYS_TO_WEAR)
    assert table["style"].nunique() >= 10


def test_pixels_change_on_drawn_faces_only(root, drawn):
    table = pd.read_csv(drawn / "drawn.csv")
    for image in table["image"].unique()[:6]:
        old, new = (read_photo(folder / image).pixels.astype(int) for folder in (root, drawn))
        far = np.abs(old - new).max(axis=2) > 60
        points = table.loc[table["image"] == image, ["nose_x", "nose_y"]].to_numpy()[0]
        rows, columns = np.nonzero(far)
        assert len(rows) > 30
        near = (np.abs(columns - points[0]) < 40) & (np.abs(rows - points[1]) < 60)
        assert near.mean() > 0.9  # the rest is what JPEG does to bright edges


def test_what_is_drawn_does_not_depend_on_other_photos(drawn, tmp_path):
    """Half of the photos, in a folder of the same name, give the same rows."""
    few = paint_dataset(tmp_path / "set", 12)
    draw(few, tmp_path / "out")
    half, whole = (pd.read_csv(folder / "drawn.csv") for folder in (tmp_path / "out", drawn))
    assert half.equals(whole[whole["image"].isin(half["image"])].reset_index(drop=True))
    other = draw(few, tmp_path / "other", seed=2, properly=0.0)
    assert other["counts"]["drawn"] == 12
    table = pd.read_csv(tmp_path / "other" / "drawn.csv")
    assert not table["style"].equals(half["style"])
    assert set(table["worn"]) == {"below_nose", "on_chin"}


def test_drawn_photos_are_on_the_side_of_their_originals(root, drawn, tmp_path):
    out = tmp_path / "prepared"
    build(BuildOptions(roots=[root, drawn], out=out, blur_rule="none", workers=1))
    faces = read_faces(tmp_path / "prepared")
    for _, rows in faces.groupby("image"):
        assert set(rows["source"]) == {"set", "set-drawn"}
        assert rows["split"].nunique() == 1
        assert rows["group"].nunique() == 1
    assert set(faces.loc[faces["split"] == "valid", "source"]) == {"set", "set-drawn"}


def test_second_run_does_nothing(root, drawn, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in drawn.rglob("*")}
    assert draw(root, drawn)["up_to_date"]
    assert {p: p.stat().st_mtime_ns for p in drawn.rglob("*")} == before
    (tmp_path / "mine").write_text("x")
    with pytest.raises(OutputError, match="holds other files"):
        draw(root, tmp_path)
    with pytest.raises(OutputError, match="meets the dataset"):
        draw(root, root / "out")


def test_faces_that_can_not_be_drawn_on_are_counted(tmp_path):
    root = tmp_path / "set"
    faces = (("without_mask", (10, 10, 20, 22)), ("without_mask", (60, 30, 90, 62)))
    save_photo(root / "images" / "a.jpg", faces)
    # The second photo's face is annotated where nothing bright is.
    save_photo(root / "images" / "b.jpg", (("with_mask", (10, 10, 40, 42)),))
    make_voc(root / "annotations" / "a.xml", "a.jpg", faces)
    make_voc(root / "annotations" / "b.xml", "b.jpg", (("without_mask", (70, 40, 100, 72)),))
    record = draw(root, tmp_path / "out")
    assert record["counts"]["drawn"] == record["counts"]["photos"] == 1
    assert record["counts"]["not_drawn"] == {"no landmarks found": 1, "under 16 px": 1}
    labels = [face.label for face in read_dataset(tmp_path / "out").photos[0].faces]
    assert labels[0] == BARE
    assert labels[1] in CLASSES[:1] + CLASSES[2:]


def test_profiles_stay_bare(root, tmp_path, monkeypatch):
    """A nose beside both eyes: a mask laid on such landmarks would hang beside the face."""
    turned = PLACES + np.array([[0, 0], [0, 0], [0.25, 0], [0, 0], [0, 0]])
    monkeypatch.setitem(globals(), "PLACES", turned)
    with pytest.raises(PreparedError, match=r"no mask could be drawn \(turned too far: 24\)"):
        draw(root, tmp_path / "out")
    save_photo(tmp_path / "set/images/a.jpg", FACE)
    make_voc(tmp_path / "set/annotations/a.xml", "a.jpg", FACE)
    with pytest.raises(PreparedError, match=r"no mask could be drawn \(no bare face\)"):
        draw(tmp_path / "set", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_photos_of_one_stem_do_not_meet(tmp_path):
    root = tmp_path / "set"
    faces = (("without_mask", (60, 30, 90, 62)),)
    for name in ("a.jpg", "a.png"):
        save_photo(root / "images" / name, faces)
        make_voc(root / "annotations" / f"{name}.xml", name, faces)
    draw(root, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out" / "images").iterdir())
    assert names == ["a.jpg.jpg", "a.png.jpg"]


def test_command(root, tmp_path, monkeypatch):
    monkeypatch.setattr(Detector, "load", lambda _path, **_: Landmarker())
    args = ["draw-masks", root, "-o", tmp_path / "out"]
    assert_refused(call(*args, "--alias", "x=y"), "--alias x=y")
    assert "drawn      24 of 24 bare faces" in call(*args).output
    assert "nothing to do" in call(*args).output
