"""Groups of a merge."""

from pathlib import Path

import numpy as np

from data_prep.base.photo import UPRIGHT
from data_prep.base.records import AnnotatedPhoto
from data_prep.formats.exif_frame import FramedPhoto
from data_prep.grouping import groups as group_photos
from data_prep.grouping.duplicates import describe_photo
from data_prep.grouping.groups import LookedAt, group_looked_at, look_at_photos
from tests.makers import make_photo


def frame(root, image):
    photo = AnnotatedPhoto("set", root, image, image, 120, 90, ())
    return FramedPhoto(photo, image, 120, 90, (), UPRIGHT)


def test_identical_photos_share_a_group_whatever_was_found(monkeypatch):
    names = [f"{letter}.jpg" for letter in "abcde"]
    photos = [frame(Path("set"), name) for name in names]
    print_ = describe_photo(np.zeros((8, 8, 3), np.uint8))
    looked = [LookedAt(sha, print_) for sha in ("x", "y", "x", "z")] + [LookedAt("", None)]
    monkeypatch.setattr(group_photos, "group_near_duplicates", lambda _: [0, 1, 2, 2])
    groups = ["set/a.jpg", "set/b.jpg", "set/a.jpg", "set/a.jpg", "set/e.jpg"]
    assert group_looked_at(photos, looked) == groups


def test_every_photo_is_compared_as_build_does(tmp_path, monkeypatch):
    for name, seed in {"a": 1, "b": 1, "c": 2}.items():
        make_photo(tmp_path / f"{name}.jpg", seed=seed)
    (tmp_path / "d.jpg").write_bytes(b"")
    photos = [frame(tmp_path, f"{letter}.jpg") for letter in "abcd"]
    compared = []
    find = group_photos.group_near_duplicates
    monkeypatch.setattr(
        group_photos,
        "group_near_duplicates",
        lambda prints: compared.append(prints) or find(prints),
    )
    groups = group_looked_at(photos, look_at_photos(photos, 1))
    assert groups == ["set/a.jpg", "set/a.jpg", "set/c.jpg", "set/d.jpg"]
    assert len(compared[0]) == 3
