from __future__ import annotations

import pytest

from data_prep.formats.photo_match import AmbiguousPhotoError, match_names


@pytest.mark.parametrize(
    ("annotated", "predicted", "found"),
    [
        (["a.jpg", "b.jpg"], ["b.jpg"], (1,)),
        (["x/a.jpg", "y/a.jpg"], ["y/a.jpg", "x/a.jpg"], (1, 0)),
        (["images/a.jpg", "images/b.jpg"], ["b.jpg", "a.jpg"], (1, 0)),
        (["a.jpg"], ["set/images/a.jpg"], (0,)),
        (["a.png", "b.png"], ["b.jpg", "a.JPG"], (1, 0)),
        (["annotations/a.png"], ["images/a.png"], (0,)),
        (["annotations/a.png"], ["images/a.jpg"], (0,)),
        (["images/A.JPG"], ["a.jpg"], (0,)),
        (["images/a.jpg"], ["images\\a.jpg"], (0,)),
        # A letter with its accent written in one sign and in two.
        (["ma\u0301scara.jpg"], ["m\u00e1scara.jpg"], (0,)),
        (["crowd.1", "crowd.2"], ["crowd.2.jpg"], (1,)),
        # The same path goes before the same stem.
        (["a.jpg", "a.png"], ["a.png", "a.jpg"], (1, 0)),
        (["a.jpg"], ["ba.jpg", "c.jpg"], (None, None)),
        (["a.jpg"], [], ()),
    ],
)
def test_names(annotated: list[str], predicted: list[str], found: tuple[int | None, ...]) -> None:
    assert match_names(annotated, predicted).found == found


def test_same_name_elsewhere_is_another_photo_where_folders_correspond() -> None:
    match = match_names(["valid/1.jpg", "valid/2.jpg"], ["valid/1.jpg", "train/2.jpg"])
    assert match.found == (0, None)
    assert match.levels == {"path": 1, "suffix": 0, "ending": 0, "name": 0, "stem": 0}


@pytest.mark.parametrize(
    ("annotated", "predicted"),
    [
        (["x/a.jpg", "y/a.jpg"], ["a.jpg"]),
        (["a.png", "a.bmp"], ["a.jpg"]),
        (["a.bmp"], ["a.jpg", "a.png"]),
        (["x/a.jpg"], ["y/a.jpg", "z/a.jpg"]),
    ],
)
def test_ambiguous_names_are_refused(annotated: list[str], predicted: list[str]) -> None:
    with pytest.raises(AmbiguousPhotoError, match="could be any of"):
        match_names(annotated, predicted)
