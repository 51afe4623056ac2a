"""Groups of photos, named and found, and splits that don't break them."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from data_prep.base.errors import DatasetError
from data_prep.base.photo import UPRIGHT
from data_prep.base.records import AnnotatedPhoto
from data_prep.base.tables import read_faces
from data_prep.datasets.convert import ConvertOptions, convert
from data_prep.datasets.merge import MergeOptions, merge_datasets
from data_prep.formats.contracts import Format
from data_prep.formats.exif_frame import FramedPhoto
from data_prep.grouping import groups as grouping
from data_prep.grouping.fingerprints import describe_photo
from data_prep.grouping.groups import (
    GROUPS,
    group_photos,
    look_at_photos,
    read_groups,
    write_groups,
)
from data_prep.grouping.split import (
    TRAIN,
    VALID,
    SplitError,
    leaked_share,
    naive_split,
    split_by_group,
)
from data_prep.prepare.build import build
from data_prep.prepare.options import BuildOptions
from tests.makers import make_photo
from tests.pipeline.makers import paint_dataset


def photo(root, image):
    return AnnotatedPhoto(root.name, root, image, "a.xml", None, None, ())


def test_written_groups_are_read_back(tmp_path):
    groups = {"images/b, c.jpg": "one", 'images/"a".jpg': "NA", "ü.jpg": ""}
    write_groups(tmp_path / GROUPS, groups)
    assert read_groups(tmp_path) == groups
    assert (tmp_path / GROUPS).read_text().splitlines()[0] == "image,group"
    assert read_groups(tmp_path / "none") == {}


PRINT = describe_photo(np.zeros((8, 8, 3), np.uint8))


def test_groups_are_joined_by_name_and_by_photo(tmp_path, monkeypatch):
    def group(photos, near):
        """`near` has the first near-duplicate of each photo that can be read; the rest can't."""
        monkeypatch.setattr(grouping, "group_near_duplicates", lambda _: near)
        return group_photos(photos, [PRINT] * len(near), range(len(near)))

    one, two = tmp_path / "one", tmp_path / "two"
    write_groups(two / GROUPS, {"a.jpg": "one/x.jpg", "b.jpg": "same", "c.jpg": "same"})
    photos = [photo(one, f"{name}.jpg") for name in "xyz"]
    photos += [photo(two, f"{name}.jpg") for name in "abcd"]
    joined = ["one/x.jpg", "one/y.jpg", "one/y.jpg", "one/x.jpg", "two/b.jpg", "two/b.jpg"]
    assert group(photos, [0, 1, 1, 3, 4, 5]) == [*joined, "two/d.jpg"]
    # A chain: a looks like b, b is made from c, c is called as d is.
    write_groups(two / GROUPS, {"b.jpg": "two/c.jpg", "c.jpg": "tie", "d.jpg": "tie"})
    assert group(photos[3:], [0, 0, 2, 3]) == ["two/a.jpg"] * 4
    assert group(photos[:2], [0]) == ["one/x.jpg", "one/y.jpg"]


@pytest.mark.parametrize("text", ["name,group\na,b\n", "", "\x00\xff"])
def test_other_tables_are_explained(tmp_path, text):
    (tmp_path / GROUPS).write_text(text)
    with pytest.raises(DatasetError, match=r"groups\.csv: not a table with the columns image and"):
        read_groups(tmp_path)


def test_build_never_splits_a_group_and_is_done_again_when_groups_change(tmp_path):
    root, out = paint_dataset(tmp_path / "set", 16), tmp_path / "prepared"
    options = BuildOptions(roots=[root], out=out, blur_rule="none", workers=1)
    build(options)
    pair = read_faces(out).groupby("split")["image"].first().tolist()
    write_groups(root / GROUPS, dict.fromkeys(pair, "pair"))
    assert not build(options).up_to_date
    faces = read_faces(out)
    together = faces[faces["image"].isin(pair)]
    assert together["group"].nunique() == together["split"].nunique() == 1
    assert build(options).up_to_date


def test_converted_datasets_keep_their_groups(tmp_path):
    root = paint_dataset(tmp_path / "set", 4)
    write_groups(root / GROUPS, {"images/000.jpg": "pair", "images/002.jpg": "other/x.jpg"})
    for form in (Format.YOLO, Format.VOC):
        out = tmp_path / form.value
        options = ConvertOptions(dataset=root, out=out, to=form)
        convert(options)
        assert read_groups(out) == {"images/000.jpg": "pair", "images/002.jpg": "other/x.jpg"}
        assert convert(options).up_to_date
    write_groups(root / GROUPS, {"images/001.jpg": "pair"})
    assert not convert(options).up_to_date
    assert read_groups(tmp_path / "voc") == {"images/001.jpg": "pair"}


def test_merged_datasets_keep_their_groups(tmp_path):
    """What is made from a photo of another dataset stays with it, however it looks."""
    _, two = paint_dataset(tmp_path / "one", 4), paint_dataset(tmp_path / "two", 4, seed=9)
    write_groups(two / GROUPS, {"images/003.jpg": "one/images/001.jpg"})
    table, merged, out = (tmp_path / name for name in ("recode.toml", "merged", "prepared"))
    table.write_text('[sources.one]\npath = "one"\n[sources.two]\npath = "two"\n')
    merge_datasets(MergeOptions(table, merged))
    groups = read_groups(merged)
    made, original = "photos/two/images/003.jpg", "photos/one/images/001.jpg"
    assert groups[made] == groups[original]
    assert len(set(groups.values())) == len(groups) - 1
    build(BuildOptions(roots=[merged], out=out, blur_rule="none", workers=1))
    faces = read_faces(out)
    assert faces[faces["image"].isin([made, original])]["group"].nunique() == 1


def frame(root, image):
    photo = AnnotatedPhoto("set", root, image, image, 120, 90, ())
    return FramedPhoto(photo, image, (120, 90), (), UPRIGHT)


def test_identical_photos_share_a_group_whatever_was_found(monkeypatch):
    photos = [photo(Path("set"), f"{letter}.jpg") for letter in "abcde"]
    monkeypatch.setattr(grouping, "group_near_duplicates", lambda _: [0, 1, 2, 2])
    groups = ["set/a.jpg", "set/b.jpg", "set/a.jpg", "set/a.jpg", "set/e.jpg"]
    assert group_photos(photos, [PRINT] * 4, range(4), ["x", "y", "x", "z", ""]) == groups


def test_every_photo_is_compared_as_build_does(tmp_path):
    for name, seed in {"a": 1, "b": 1, "c": 2}.items():
        make_photo(tmp_path / f"{name}.jpg", seed=seed)
    (tmp_path / "d.jpg").write_bytes(b"")
    photos = [frame(tmp_path, f"{letter}.jpg") for letter in "abcd"]
    hashes, groups = look_at_photos(photos, 1)
    assert len(set(hashes)) == 3
    assert groups == ["set/a.jpg", "set/a.jpg", "set/c.jpg", "set/d.jpg"]


@st.composite
def grouped(draw):
    size = draw(st.integers(20, 120))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    groups = [f"g{n}" for n in rng.integers(0, draw(st.integers(8, 60)), size)]
    strata = [f"s{n}" for n in rng.choice(3, size, p=[0.75, 0.2, 0.05])]
    return groups, strata


def leak_slowly(groups, split):
    valid = [group for group, part in zip(groups, split, strict=True) if part == VALID]
    train = [group for group, part in zip(groups, split, strict=True) if part == TRAIN]
    return sum(group in train for group in valid) / len(valid)


@settings(deadline=None, max_examples=50)
@given(grouped(), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_no_group_straddles(case, fold, seed):
    groups, strata = case
    split = split_by_group(groups, strata, fold=fold, seed=seed)
    for group in set(groups):
        assert len({part for g, part in zip(groups, split, strict=True) if g == group}) == 1
    assert leaked_share(groups, split) == 0
    assert {TRAIN, VALID} == set(split)
    renamed = [{"s0": "left", "s1": "middle", "s2": "right"}[stratum] for stratum in strata]
    assert np.array_equal(split, split_by_group(groups, renamed, fold=fold, seed=seed))


@given(grouped())
def test_leaked_share_of_a_naive_split_against_a_slow_loop(case):
    groups, _ = case
    split = naive_split(len(groups), folds=5, seed=3)
    assert abs((split == VALID).sum() - len(groups) / 5) < 1
    assert (naive_split(103, folds=5, seed=3) == VALID).sum() == 21
    assert np.array_equal(split, naive_split(len(groups), folds=5, seed=3))
    assert leaked_share(groups, split) == pytest.approx(leak_slowly(groups, split))
    assert leaked_share(groups, np.full(len(groups), TRAIN)) == 0


@settings(deadline=None, max_examples=10)
@given(grouped())
def test_each_face_is_in_the_validation_part_of_one_fold(case):
    parts = [split_by_group(*case, fold=fold) == VALID for fold in range(5)]
    assert (np.sum(parts, axis=0) == 1).all()


@pytest.mark.filterwarnings("ignore:The least populated class")
@settings(deadline=None, max_examples=12)
@given(st.integers(0, 2**32 - 1), st.integers(2, 10), st.integers(1, 12), st.floats(0.1, 3))
def test_folds_are_those_of_scikit_learn(seed, folds, strata, evenness):
    """Groups of one face and of very many, of strata with one face and with most."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(strata, 300, p=rng.dirichlet(np.full(strata, evenness)))
    codes[:20] = 0
    numbers = np.minimum(rng.pareto(evenness, 300) * 20, 99).astype(int)
    numbers[:folds] = np.arange(folds)
    groups = np.array([f"g{number}" for number in numbers])
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    expected = {tuple(part) for _, part in splitter.split(codes, codes, groups)}
    how = {"folds": folds, "seed": seed}
    own = (split_by_group(groups, codes, fold=fold, **how) for fold in range(folds))
    assert {tuple(np.flatnonzero(split == VALID)) for split in own} == expected


def test_strata_are_spread_evenly():
    rng = np.random.default_rng(0)
    groups = [f"g{n}" for n in rng.integers(0, 300, 1000)]
    strata = rng.choice(["common", "second", "rare"], 1000, p=[0.75, 0.2, 0.05])
    split = split_by_group(groups, strata.tolist())
    for stratum in set(strata):
        assert np.mean(split[strata == stratum] == VALID) == pytest.approx(0.2, abs=0.03)


def test_rare_stratum_is_no_reason_to_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split_by_group([f"g{n}" for n in range(20)], ["x"] * 19 + ["y"])


@pytest.mark.parametrize(
    ("groups", "strata", "options", "reason"),
    [
        (list("aaab"), list("xxxx"), {}, "2 groups of photos can't be split into 5 folds"),
        (list("abcde"), list("xyzxy"), {}, "no class of any dataset has 5 faces"),
        (list("abcdef"), list("xxxxxx"), {"fold": 5}, "fold 5 does not exist"),
        (list("abcdef"), list("xxxxxx"), {"fold": -1}, "fold -1 does not exist"),
    ],
)
def test_impossible_split_is_refused(groups, strata, options, reason):
    with pytest.raises(SplitError, match=reason):
        split_by_group(groups, strata, **options)


def test_first_fold_follows_the_whole_most_closely():
    """One crowd of small faces can't be spread; the plain split is not validated on it."""
    groups = ["crowd"] * 60 + [f"g{n}" for n in range(240)]
    strata = ["small"] * 60 + ["small"] * 20 + ["large"] * 220
    shares = []
    for fold in range(5):
        split = split_by_group(groups, strata, fold=fold)
        valid = [s for s, part in zip(strata, split, strict=True) if part == VALID]
        shares.append(valid.count("small") / len(valid))
    away = [abs(share - 80 / 300) for share in shares]
    assert away == sorted(away)
    assert "crowd" not in {
        g for g, p in zip(groups, split_by_group(groups, strata), strict=True) if p == VALID
    }
