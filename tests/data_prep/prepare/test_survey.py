"""The blur score and the rule that balances the classes by it; the pass over the photos."""

from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.base.crop import crop_face, crop_name
from data_prep.base.files import OutputError
from data_prep.base.photo import read_photo
from data_prep.base.records import AnnotatedPhoto, Box, Face
from data_prep.formats.registry import read_dataset
from data_prep.grouping.fingerprints import Fingerprints
from data_prep.prepare.analysis import BLUR_EDGES, blur_score, keep_balanced, survey_photos
from tests.makers import add_example, make_dataset, make_pixels

KERNEL = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])


def score_slowly(grey):
    padded = np.pad(grey.astype(float), 1, mode="reflect")
    height, width = grey.shape
    response = np.zeros((height, width))
    for dy in range(3):
        for dx in range(3):
            response += KERNEL[dy, dx] * padded[dy : dy + height, dx : dx + width]
    return np.mean((response - response.mean()) ** 2)


@pytest.mark.parametrize(("width", "height"), [(30, 30), (2, 5), (64, 17)])
def test_score_is_the_variance_of_the_laplacian(width, height):
    grey = make_pixels(width, height)[:, :, 0]
    assert blur_score(np.dstack([grey] * 3)) == pytest.approx(score_slowly(grey))
    crop = make_pixels(30, 30)
    as_seen = np.rint(crop @ np.array([0.299, 0.587, 0.114]))
    assert blur_score(crop) == pytest.approx(score_slowly(as_seen), rel=0.02)


def test_flat_and_single_pixel_crops_score_zero():
    assert blur_score(np.full((9, 9, 3), 77, np.uint8)) == 0
    assert blur_score(np.zeros((1, 1, 3), np.uint8)) == 0


@st.composite
def tables(draw):
    counts = [draw(st.integers(0, 90)), draw(st.integers(0, 40)), draw(st.integers(0, 20))]
    names = ["with_mask", "without_mask", "mask_weared_incorrect"]
    labels = np.repeat(names, counts)
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    rng.shuffle(labels)
    sides = np.exp(rng.uniform(np.log(4), np.log(200), len(labels)))
    blur = np.round(rng.exponential(500, len(labels)) / sides, draw(st.sampled_from([0, 3])))
    return pd.DataFrame({"label": labels, "blur": blur, "short_side": sides})


@given(tables(), st.sampled_from(["binned", "global", "none"]), st.sampled_from([0.5, 1, 1.5, 3]))
def test_exactly_the_excess_of_the_largest_class_goes(faces, rule, ratio):
    keep = keep_balanced(faces, rule=rule, ratio=ratio)
    before, after = faces["label"].value_counts(), faces["label"][keep].value_counts()
    largest = before.index[0] if len(before) else None
    for label in before.index:
        expected = before[label]
        if label == largest and label != "mask_weared_incorrect" and rule != "none":
            expected = min(expected, int(ratio * before.iloc[1])) if len(before) > 1 else expected
        assert after.get(label, 0) == expected


@given(tables())
def test_global_rule_drops_the_lowest_scores(faces):
    keep = keep_balanced(faces, rule="global")
    if keep.all():
        return
    largest = faces["label"] == faces["label"].value_counts().index[0]
    dropped, kept = faces["blur"][~keep], faces["blur"][keep & largest]
    assert kept.empty or dropped.max() <= kept.min()


@given(tables())
def test_binned_rule_drops_one_share_of_every_bin(faces):
    keep = keep_balanced(faces, rule="binned")
    if keep.all():
        return
    pool = faces["label"] == faces["label"].value_counts().index[0]
    bins = np.digitize(faces["short_side"], BLUR_EDGES)
    low, high = 0.0, 1.0
    for index in np.unique(bins[pool]):
        inside = pool & (bins == index)
        size, lost = inside.sum(), (~keep[inside]).sum()
        # The shares that round to this loss; one share has to be common to all bins.
        low, high = max(low, (lost - 0.5) / size), min(high, (lost + 0.5) / size)
        blur = faces["blur"][inside]
        assert lost in (0, size) or blur[~keep[inside]].max() <= blur[keep[inside]].min()
    assert low <= high + 1e-9


@pytest.fixture
def crops(tmp_path):
    folder = tmp_path / "crops"
    folder.mkdir()
    return folder


def survey(photos, crops, workers=1):
    with closing(Fingerprints(crops.with_name(f"{workers}.journal"))) as prints:
        return survey_photos(photos, prints, crops=crops, scale=1.5, workers=workers)


def survey_one(tmp_path, crops, objects, **annotation):
    add_example(tmp_path / "set", "a", 0, objects)
    (photo,) = read_dataset(tmp_path / "set").photos
    photo = AnnotatedPhoto(**{**photo.__dict__, **annotation})
    (surveyed,) = survey([photo], crops)
    return surveyed


def test_crop_on_disk_is_the_crop_of_the_photo(tmp_path, crops):
    surveyed = survey_one(tmp_path, crops, [("face", (20, 15, 60, 55))])
    ((face, blur),) = surveyed.faces
    pixels = read_photo(tmp_path / "set" / "images" / "a.jpg").pixels
    crop = crop_face(pixels, Box(20, 15, 60, 55), 1.5)
    written = cv2.imread(str(crops / crop_name(surveyed.photo, 0)))[:, :, ::-1]
    assert written.shape == crop.shape == (60, 60, 3)
    assert np.abs(written.astype(int) - crop).mean() < 2
    assert blur == blur_score(crop)
    assert face == Face(0, "without_mask", Box(20, 15, 60, 55))
    assert (surveyed.size, surveyed.findings) == ((120, 90), ())


def test_clipped_box_is_recorded(tmp_path, crops):
    surveyed = survey_one(tmp_path, crops, [("face", (80, 15, 121, 55))])
    assert surveyed.faces[0][0].box == Box(80, 15, 120, 55)
    (finding,) = surveyed.findings
    assert (finding.kind, finding.dropped) == ("clipped-box", False)
    assert finding.file == "set/annotations/a.xml"


def test_several_threads_give_the_same_in_the_same_order(tmp_path, crops):
    photos = read_dataset(make_dataset(tmp_path / "set", photos=12)).photos
    alone = survey(photos, crops)
    written = {path.name: path.read_bytes() for path in crops.iterdir()}
    together = survey(photos, crops, workers=2)
    assert [item.photo for item in together] == list(photos)
    assert [item.faces for item in together] == [item.faces for item in alone]
    assert {path.name: path.read_bytes() for path in crops.iterdir()} == written
    assert len(written) == 24


def test_folder_that_cannot_be_written(tmp_path):
    photos = read_dataset(make_dataset(tmp_path / "set", photos=1)).photos
    with pytest.raises(OutputError, match="can't be written"):
        survey(photos, tmp_path / "nowhere")


def name_of(source, image, index=0):
    return crop_name(AnnotatedPhoto(source, Path("x"), image, "a.xml", None, None, ()), index)


def test_crop_names_are_readable_unique_and_short_enough(tmp_path):
    assert name_of("set", "images/a.jpg", 3).startswith("a_3_")
    places = [("set", "images/a.jpg"), ("set", "images/a.png"), ("set", "other/a.jpg")]
    places += [("set", "images/a.jpg", 1), ("other", "images/a.jpg"), ("set", "口" * 80 + ".jpg")]
    names = {name_of(*place) for place in places}
    assert len(names) == 6
    assert names == {name_of(*place) for place in places}
    for name in names:
        assert name.endswith(".jpg")
        (tmp_path / name).write_bytes(b"x")
