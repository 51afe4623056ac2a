"""Training windows: boxes stay on what they marked, and chance repeats itself."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image

from data_prep.base.boxes import BoxOffsets
from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from data_prep.base.tables import read_faces
from pipeline.runs.recipe import DetectorRecipe
from pipeline.training import detector_data
from pipeline.training.detector_data import (
    IGNORED,
    Scene,
    WindowDataset,
    collect_scenes,
    cut_window,
    recolour,
    rotate_photo,
)
from tests.makers import make_photo
from tests.pipeline.tables import table_of

SIDE = 128
RECIPE = DetectorRecipe(input_size=SIDE, longest=(100.0, 400.0), batch_size=2, steps=50)
FACES = np.array([1])
COLOURS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)]
BOXES = np.array(
    [(10, 10, 60, 50), (90, 20, 130, 70), (20, 70, 70, 110), (100, 80, 150, 118)], np.float32
)


def paint():
    """160 × 120, black, a rectangle in its own colour for every box."""
    pixels = np.zeros((120, 160, 3), np.uint8)
    for box, colour in zip(BOXES.astype(int), COLOURS, strict=True):
        pixels[box[1] : box[3], box[0] : box[2]] = colour
    return pixels


def colour_under(window, box, seam=0):
    """One of the colours, which ends with the box, or at a seam where the next may be the same.

    A pixel of blur is free; None: box too thin.
    """

    def ends(place):
        return 0 < place < SIDE - 1 and not (seam and abs(place - seam) < 4)

    x0, y0, x1, y1 = (round(float(value)) for value in box)
    inside = window[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].reshape(-1, 3).astype(int)
    if not len(inside):
        return None
    colour = inside[len(inside) // 2]
    assert tuple(colour) in COLOURS
    assert np.abs(inside - colour).max() <= 1
    beside = [(slice(y0 + 2, y1 - 2), x) for x in (x0 - 3, x1 + 2) if ends(x)]
    beside += [(y, slice(x0 + 2, x1 - 2)) for y in (y0 - 3, y1 + 2) if ends(y)]
    for place in beside:
        assert np.abs(window[place].astype(int) - colour).max(axis=1).min() > 60
    return tuple(colour)


@pytest.fixture
def windows_cut(monkeypatch):
    """What windows are cut from: photo, boxes and the next draw of chance."""
    seen = []

    def spy(pixels, boxes, recipe, rng):
        seen.append((pixels, boxes, deepcopy(rng).random()))
        return cut_window(pixels, boxes, recipe, rng)

    monkeypatch.setattr(detector_data, "cut_window", spy)
    return seen


def test_boxes_are_as_exact_as_the_pixels():
    """Edges of an enlarged rectangle lie within a quarter of a pixel of the moved box."""
    recipe = RECIPE.model_copy(update={"longest": (128.0, 128.0)})
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[12:30, 10:25] = 200
    box = np.array([[10, 12, 25, 30]], np.float32)
    window, moved, _ = cut_window(pixels, box, recipe, np.random.default_rng(0))
    shares = window[4:-4, 4:-4, 0] / 200  # the photo's edges are blended with the grey around it
    for axis in (0, 1):
        low, high = moved[0, axis], moved[0, axis + 2]
        profile = shares.max(axis=axis)
        assert profile.sum() == pytest.approx(high - low, abs=0.6)
        middle = np.average(np.arange(4, SIDE - 4) + 0.5, weights=profile)
        assert middle == pytest.approx((low + high) / 2, abs=0.25)


def test_boxes_whose_centre_is_outside_are_left_out_and_others_clipped():
    recipe = RECIPE.model_copy(update={"longest": (600.0, 600.0)})
    cut = [cut_window(paint(), BOXES, recipe, np.random.default_rng(n))[1] for n in range(40)]
    assert min(map(len, cut)) >= 1, "the face it was cut around is in it"
    boxes = np.concatenate(cut)
    assert boxes.min() >= 0
    assert boxes.max() <= SIDE
    sides = boxes[:, 2:] - boxes[:, :2]
    assert sides.min() > 0.5 * 38 * 600 / 160 - 1, "its centre, so half a face lies inside"
    assert (sides < 38 * 600 / 160 - 1).any()


def test_photo_smaller_than_the_window_lies_on_grey():
    recipe = RECIPE.model_copy(update={"longest": (64.0, 64.0)})
    window, boxes, _ = cut_window(paint(), BOXES, recipe, np.random.default_rng(0))
    grey = (window == 114).all(axis=2)
    assert grey.mean() == pytest.approx(1 - 64 * 48 / SIDE**2, abs=0.03)
    assert len(boxes) == len(BOXES)


def test_photo_without_faces():
    none = np.zeros((0, 4), np.float32)
    window, boxes, _ = cut_window(paint(), none, RECIPE, np.random.default_rng(0))
    assert window.shape == (SIDE, SIDE, 3)
    assert boxes.shape == rotate_photo(paint(), none, 90)[1].shape == (0, 4)


def test_sizes_spread_over_the_range():
    """The width of a face, where it is whole, tells how long the photo has become."""
    cut = [cut_window(paint(), BOXES[:1], RECIPE, np.random.default_rng(n))[1] for n in range(200)]
    lengths = [160 * (x1 - x0) / 50 for x0, _, x1, _ in np.concatenate(cut) if x0 > 0 and x1 < SIDE]
    assert 99 <= min(lengths) < 130
    assert 250 < max(lengths) <= 401


def test_recolouring_changes_colours_not_places():
    pixels = paint()
    rng = np.random.default_rng(0)
    changed = [recolour(pixels, rng) for _ in range(60)]
    assert all(one.shape == pixels.shape and one.dtype == np.uint8 for one in changed)
    for one in changed:
        for box in BOXES.astype(int):
            inside = one[box[1] : box[3], box[0] : box[2]]
            assert (inside == inside[0, 0]).all()
    greys = [(np.ptp(one, axis=2) == 0).all() for one in changed]
    assert 0 < sum(greys) < 12
    assert len({one.tobytes() for one in changed}) > 45


@pytest.fixture
def scenes(tmp_path):
    box = np.array([[20, 15, 60, 55]], np.float32)
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for number, path in enumerate(paths):
        make_photo(path, seed=number)
    return [Scene("ab"[int(path.stem) % 2], path, (120, 90), box, FACES) for path in paths]


def test_items_repeat_by_index_and_no_other(scenes):
    ours, theirs = WindowDataset(scenes, RECIPE), WindowDataset(scenes, RECIPE)
    for index in (7, 0, 12):
        for one, other in zip(ours[index][:2], theirs[index][:2], strict=True):
            assert torch.equal(one, other)
    other = WindowDataset(scenes, RECIPE.model_copy(update={"seed": 1}))
    assert not torch.equal(ours[0][0], other[0][0])
    assert len({ours[index][0].numpy().tobytes() for index in range(15)}) == 15, "laps differ"
    assert len(ours) == 100


def test_every_lap_holds_every_photo_in_another_order(scenes, windows_cut):
    dataset = WindowDataset(scenes, RECIPE)
    for index in range(20):
        dataset[index]
    seen = [pixels.tobytes() for pixels, *_ in windows_cut]
    laps = [seen[start : start + 5] for start in range(0, 20, 5)]
    assert all(set(lap) == set(laps[0]) and len(set(lap)) == 5 for lap in laps)
    assert len({tuple(lap) for lap in laps}) > 1


@pytest.mark.parametrize("known", [False, True])
def test_boxes_of_score_only_sources_teach_once_it_is_known_how_they_are_drawn(
    scenes, windows_cut, tmp_path, known
):
    BoxOffsets(0.1, -0.4, 0.0, 0.2).write(tmp_path / "b.json")
    conventions = {"b": str(tmp_path / "b.json")} if known else {}
    recipe = RECIPE.model_copy(update={"score_only": ["b"], "conventions": conventions})
    marks = [WindowDataset(scenes, recipe)[index][3] for index in range(5)]
    assert sorted(marks) == [(False, False)] * 3 + [(True, not known)] * 2
    own = scenes[0].boxes[0].tolist()
    # Annotated 40 × 40; the detector's is 40 / 0.9 wide and 40 / 1.6 high.
    theirs = [own[0] - 0.1 * 40 / 0.9, own[1] + 0.4 * 40 / 1.6, own[2], own[3] - 0.2 * 40 / 1.6]
    for (_, boxes, _), mark in zip(windows_cut, marks, strict=True):
        assert boxes[0].tolist() == pytest.approx(theirs if known and mark[0] else own)


def test_scenes_of_a_prepared_folder(prepared):
    faces = read_faces(prepared)
    root = prepared.parent / "set"
    scenes = collect_scenes(faces, {"set": root}, RECIPE)
    assert [scene.path for scene in scenes] == sorted((root / "images").glob("*.jpg"))
    assert sum(len(scene.boxes) for scene in scenes) == len(faces)
    first = faces[faces["image"] == "images/000.jpg"]
    assert scenes[0].size == (120, 90)
    assert scenes[0].boxes.dtype == np.float32
    assert scenes[0].boxes.tolist() == first[["xmin", "ymin", "xmax", "ymax"]].to_numpy().tolist()


@pytest.mark.parametrize(
    ("incorrect", "expected"),
    [("own", [1, 2, 3]), ("without_mask", [1, 2, 2]), ("exclude", [1, 2, IGNORED])],
)
def test_classes_of_faces_as_the_recipe_counts_them(prepared, incorrect, expected):
    faces = read_faces(prepared)
    roots = {"set": prepared.parent / "set"}
    labels = faces[faces["image"] == "images/000.jpg"]["label"]
    for classify in (True, False):
        recipe = RECIPE.model_copy(update={"classify": classify, "incorrect": incorrect})
        found = dict(zip(labels, collect_scenes(faces, roots, recipe)[0].classes, strict=True))
        assert [found[name] for name in CLASSES] == (expected if classify else [1, 1, 1])


def test_photos_of_one_name_in_two_sources_are_two_scenes(tmp_path):
    faces = table_of([0, 0], images=["a.jpg"] * 2).assign(source=["two", "one"])
    scenes = collect_scenes(faces, {name: tmp_path / name for name in ("one", "two")}, RECIPE)
    assert [scene.path for scene in scenes] == [tmp_path / "one/a.jpg", tmp_path / "two/a.jpg"]
    assert [scene.source for scene in scenes] == ["one", "two"]


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_boxes_and_classes_stay_on_their_faces_also_when_flipped(tmp_path, monkeypatch, mosaic):
    """The colour under every box tells which face it is, whatever was cut off."""
    monkeypatch.setattr(detector_data, "recolour", lambda window, _: window)
    Image.fromarray(paint()).save(tmp_path / "a.png")
    scene = Scene("a", tmp_path / "a.png", (160, 120), BOXES, np.arange(1, 5))
    dataset = WindowDataset([scene], RECIPE.model_copy(update={"mosaic": mosaic}))
    counts, flips = set(), []
    for index in range(40):
        window, boxes, classes, _ = dataset[index]
        assert (window.shape, window.dtype) == ((3, SIDE, SIDE), torch.uint8)
        pixels = window.permute(1, 2, 0).numpy()
        for box, number in zip(boxes, classes.tolist(), strict=True):
            colour = colour_under(pixels, box, SIDE // 2 if mosaic else 0)
            assert colour is None or COLOURS.index(colour) == number - 1
        counts.add(len(boxes))
        if not mosaic and {1, 2} <= set(classes.tolist()):
            left, right = (boxes[classes == number, 0] for number in (1, 2))
            flips.append(bool(left > right))
    assert len(counts) > 1
    assert min(counts) == (4 if mosaic else 1), "one of each photo at least"
    assert mosaic or 0 < sum(flips) < len(flips)


def test_a_mosaic_is_of_one_source_and_of_as_many_as_asked_for(scenes, windows_cut):
    """A quarter each; what is no mosaic is as without any."""
    plain = [WindowDataset(scenes, RECIPE)[index][0] for index in range(30)]
    windows_cut.clear()
    dataset, mosaics = WindowDataset(scenes, RECIPE.model_copy(update={"mosaic": 0.5})), 0
    sources = {read_photo(one.path).pixels.tobytes(): one.source for one in scenes}
    for index in range(30):
        window = dataset[index][0]
        cut = [sources[pixels.tobytes()] for pixels, *_ in windows_cut]
        windows_cut.clear()
        assert window.shape == (3, SIDE, SIDE)
        assert len(set(cut)) == 1
        mosaics += len(cut) == 4
        assert len(cut) == 4 or torch.equal(window, plain[index])
    assert 8 < mosaics < 22


def test_photo_is_turned_where_its_boxes_ask_for_it(tmp_path, windows_cut):
    """Annotated upright (90 × 120), stored lying (120 × 90) with EXIF orientation 6."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = make_photo(tmp_path / "a.png", exif=exif)
    WindowDataset([Scene("a", tmp_path / "a.png", (90, 120), BOXES[:1], FACES)], RECIPE)[0]
    assert np.array_equal(windows_cut[0][0], np.rot90(pixels, -1))


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_boxes_turn_with_the_photo(angle):
    rotated, boxes = rotate_photo(paint(), BOXES, angle)
    assert np.array_equal(rotated, np.rot90(paint(), angle // 90))
    assert boxes.dtype == np.float32
    for box, colour in zip(boxes, COLOURS, strict=True):
        rows, columns = np.nonzero((rotated == colour).all(axis=2))
        bright = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert box.tolist() == bright


def test_windows_are_of_rotated_photos_in_equal_shares(scenes, windows_cut):
    """And the other draws stay."""
    scene = scenes[0]
    photo = read_photo(scene.path).pixels
    for rotated in ([90, 180], []):
        recipe = RECIPE.model_copy(update={"rotated": rotated})
        dataset = WindowDataset([scene], recipe)
        for index in range(90):
            dataset[index]
    turns = [
        [np.array_equal(pixels, np.rot90(photo, k)) for k in range(4)].index(True)
        for pixels, *_ in windows_cut
    ]
    assert all(15 < turns[:90].count(k) < 45 for k in range(3))
    assert turns[:90].count(3) == 0
    assert set(turns[90:]) == {0}
    for turn, (_, boxes, _) in zip(turns, windows_cut, strict=True):
        assert np.array_equal(boxes, rotate_photo(photo, scene.boxes, 90 * turn)[1])
    draws = [draw for *_, draw in windows_cut]
    assert draws[:90] == draws[90:]
