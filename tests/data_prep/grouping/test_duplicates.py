"""Near-duplicates: what is grouped, and what is kept apart."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image

from data_prep.grouping import duplicates
from data_prep.grouping.duplicates import find_pairs, group_near_duplicates
from data_prep.grouping.fingerprints import Fingerprint, Fingerprints, describe_photo

Photo = NDArray[np.uint8]

REAL = Path(__file__).parents[4] / "shared" / "data"


def groups_of(*photos: Photo) -> list[int]:
    return group_near_duplicates([describe_photo(photo) for photo in photos])


def reencode(photo: Photo, quality: int = 40) -> Photo:
    _, coded = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def resize(photo: Photo, factor: float) -> Photo:
    return cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def crop(photo: Photo, part: float, left: float = 0.2, top: float = 0.15) -> Photo:
    height, width = photo.shape[:2]
    y, x = int(height * top), int(width * left)
    return photo[y : y + int(height * part), x : x + int(width * part)].copy()


def caption(photo: Photo) -> Photo:
    changed = photo.copy()
    changed[-photo.shape[0] // 8 :] = 20
    return cv2.putText(changed, "LATEST NEWS", (20, 60), 0, 1.5, (255, 255, 0), 3)


def texture(seed: int, side: int = 240) -> Photo:
    """A photo-like picture: soft blobs of all sizes with a few hard edges."""
    random = np.random.default_rng(seed)
    picture = sum(
        cv2.resize(random.normal(size=(cells, cells, 3)) / cells**0.5, (side, side))
        for cells in (4, 8, 16, 32, 64)
    )
    picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    for x, y, size in random.integers(0, side, (12, 3)):
        colour = tuple(int(level) for level in random.integers(0, 255, 3))
        cv2.circle(picture, (int(x), int(y)), int(size) // 8 + 3, colour, -1)
    return picture


def flat(red: int, green: int, blue: int, height: int = 90, width: int = 120) -> Photo:
    return np.full((height, width, 3), (red, green, blue), np.uint8)


@pytest.fixture(scope="module")
def photos() -> list[Photo]:
    hopper = get_sample_data("grace_hopper.jpg", asfileobj=False)
    china, flower = (load_sample_image(f"{name}.jpg") for name in ("china", "flower"))
    return [cv2.imread(hopper)[..., ::-1].copy(), china, flower, texture(0, 400)]


EDITS: dict[str, Callable[[Photo], Photo]] = {
    "identical": lambda photo: photo.copy(),
    "re-encoded": reencode,
    "half size": lambda photo: resize(photo, 0.5),
    "quarter size": lambda photo: resize(photo, 0.25),
    "enlarged": lambda photo: resize(photo, 1.7),
    "mirrored": lambda photo: photo[:, ::-1].copy(),
    "brighter": lambda photo: cv2.convertScaleAbs(photo, alpha=1.1, beta=12),
    "captioned": caption,
    "crop": lambda photo: crop(photo, 0.6),
    "crop, smaller and re-encoded": lambda photo: reencode(resize(crop(photo, 0.6), 0.7)),
    "mirrored crop": lambda photo: crop(photo, 0.6)[:, ::-1].copy(),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_edited_photo_joins_its_original_only(edit, photos):
    edited = [edit(photo) for photo in photos]
    assert groups_of(*photos, *edited) == [0, 1, 2, 3, 0, 1, 2, 3]


def test_kinds_and_scores(photos):
    hopper, china = photos[:2]
    prints = [describe_photo(p) for p in (hopper, china, reencode(china), crop(china, 0.6))]
    pairs = {(pair.first, pair.second): pair for pair in find_pairs(prints)}
    assert {key: pair.kind for key, pair in pairs.items()} == {
        (1, 2): "copy",
        (1, 3): "crop",
        (2, 3): "crop",
    }
    assert all(0.85 < pair.score <= 1.0 + 1e-6 for pair in pairs.values())


def test_another_frame_of_the_scene():
    first, second = texture(1), texture(1)
    first[60:180, 0:110] = texture(2)[:120, :110]
    second[60:180, 20:130] = texture(3)[:120, :110]
    (pair,) = find_pairs([describe_photo(first), describe_photo(second)])
    assert pair.kind == "scene"


def test_unrelated_photos_stay_apart(photos):
    noise = [np.random.default_rng(n).integers(0, 256, (150, 200, 3), np.uint8) for n in range(3)]
    everything = [*photos, *noise, *(texture(seed) for seed in range(1, 14))]
    assert groups_of(*everything) == list(range(len(everything)))


def test_a_shared_watermark_does_not_join(photos):
    marked = []
    for photo in [*photos, texture(5), texture(6)]:
        photo = cv2.resize(photo, (480, 360))
        photo[-40:] = 30
        cv2.putText(photo, "image agency 2020", (8, 348), 0, 0.9, (255, 255, 255), 2)
        cv2.putText(photo, "agency", (150, 190), 0, 1.4, (230, 230, 230), 2)
        marked.append(photo)
    assert groups_of(*marked) == list(range(len(marked)))


def test_overlapping_crops_are_grouped_and_groups_are_transitive(photos):
    china = photos[1]
    assert groups_of(crop(china, 0.65, left=0.0), crop(china, 0.65, left=0.3)) == [0, 0]
    left, right = crop(china, 0.5, left=0.0), crop(china, 0.5, left=0.5)
    assert groups_of(left, right) == [0, 1]
    assert groups_of(left, photos[0], right, china) == [0, 1, 0, 0]


def test_flat_photos_join_by_colour_only(photos):
    red, blue, grey = flat(200, 0, 0), flat(0, 0, 200), flat(90, 90, 90)
    assert groups_of(red, blue, grey, flat(0, 0, 200, 40, 40), red) == [0, 1, 2, 1, 0]
    many = [flat(level, 0, 0) for level in range(0, 250, 5)]
    for apart in (many, photos[:1], []):
        assert groups_of(*apart) == list(range(len(apart)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (900, 1), (2, 2), (16, 16), (17, 2000)])
def test_any_size_is_described(shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    black = np.zeros((*shape, 3), np.uint8)
    assert groups_of(black, noise, load_sample_image("china.jpg"), noise.copy()) == [0, 1, 2, 1]


@pytest.fixture(scope="module")
def many(photos) -> list[Fingerprint]:
    fillers = [texture(seed, 160) for seed in range(100, 140)]
    crops = [crop(photo, 0.6) for photo in photos] + [crop(photos[0], 0.6)[:, ::-1].copy()]
    return [describe_photo(photo) for photo in [*photos, *fillers, *crops]]


@pytest.mark.parametrize("sharing", [duplicates.SHARING, 2])
def test_many_photos_are_looked_up_by_their_features(many, sharing, monkeypatch):
    """Also by the further bits of words, which only many more photos than these have need of."""
    monkeypatch.setattr(duplicates, "SHARING", sharing)
    groups = group_near_duplicates(many)
    assert groups == [*range(len(many) - 5), 0, 1, 2, 3, 0]
    assert groups == group_near_duplicates(many)


def test_what_is_looked_up_is_what_comparing_all_would_find(many, monkeypatch):
    looked_up = find_pairs(many)
    monkeypatch.setattr(duplicates, "COMPARE_ALL_UP_TO", len(many))
    assert looked_up == find_pairs(many)


def test_fingerprints_in_a_file_are_those_in_memory(many, tmp_path):
    """Each with its note; one photo can't be read."""
    with closing(Fingerprints(tmp_path / "file", "key")) as stored:
        stored.append(None, b"broken")
        for number, print_ in enumerate(many):
            stored.append(print_, bytes([number]))
        assert find_pairs(stored) == find_pairs(many)
    size = (tmp_path / "file").stat().st_size
    assert size < 25_000 * len(many)
    with closing(Fingerprints(tmp_path / "file", "key")) as stored:
        assert stored.notes == [b"broken", *(bytes([number]) for number in range(len(many)))]
        assert stored.numbers == [*range(1, len(many) + 1)]
        for one, other in zip(stored, many, strict=True):
            assert all(map(np.array_equal, vars(one).values(), vars(other).values()))


@pytest.mark.parametrize("spoil", ["end", "byte", "key"])
def test_of_a_torn_file_the_whole_records_are_kept(many, tmp_path, spoil):
    path = tmp_path / "file"
    with closing(Fingerprints(path, "key")) as stored:
        for print_ in many[:3]:
            stored.append(print_, b"note")
    data = bytearray(path.read_bytes())
    if spoil == "byte":
        data[-700] ^= 1
    path.write_bytes(data[:-1] if spoil == "end" else data)
    with closing(Fingerprints(path, "other" if spoil == "key" else "key")) as stored:
        assert len(stored) == len(stored.notes) == (0 if spoil == "key" else 2)
        stored.append(many[3], b"after")
        assert np.array_equal(stored[len(stored) - 1].packed, many[3].packed)


def _describe_file(path: Path) -> tuple[str, object]:
    cv2.setNumThreads(1)
    return path.stem, describe_photo(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the real photos are not here")
def test_known_groups_of_the_real_photos():
    paths = [p for part in ("facemask", "ilc") for p in sorted((REAL / part / "images").iterdir())]
    with ProcessPoolExecutor(2) as pool:
        stems, prints = zip(*pool.map(_describe_file, paths, chunksize=32), strict=True)
    groups = group_near_duplicates(prints)
    group_of = dict(zip(stems, groups, strict=True))
    known = (REAL / "duplicate-groups.txt").read_text().splitlines()
    found = [{group_of[stem] for stem in line.split()} for line in known if line.strip()]
    assert len(found) == 33
    assert sum(len(group) == 1 for group in found) >= 29
    # Few photos join, and none in a heap: a loose criterion would chain unrelated ones.
    sizes = np.bincount(groups)
    assert sizes[sizes > 1].sum() < 130
    assert sizes.max() <= 7
