"""Which faces the contact sheets show."""

import base64

import cv2
import numpy as np
import pandas as pd
import pytest

from data_prep.prepare import sheets as sheets_module
from data_prep.prepare.sheets import draw_sheets


def make_faces(folder, count=200):
    rng = np.random.default_rng(0)
    rows = []
    for index in range(count):
        side = int(rng.integers(5, 140))
        name = f"{index}.jpg"
        cv2.imwrite(str(folder / name), np.full((side, side, 3), index, np.uint8))
        rows.append(
            {
                "source": "set",
                "image": f"{index // 2}.jpg",
                "object": index % 2,
                "label": "with_mask" if index % 4 else "without_mask",
                "group": f"set/{index // 8 * 4}.jpg" if index < 16 else f"set/{index // 2}.jpg",
                "split": "valid" if index % 10 in (0, 1) else "train",
                "kept": index % 10 in (0, 1) or index % 3 > 0 or index % 4 == 0,
                "blur": float(rng.exponential(500)),
                "short_side": float(side),
                "crop": name,
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture
def faces(tmp_path):
    return make_faces(tmp_path)


def sides(thumbs):
    return [int(thumb.caption) for thumb in thumbs]


def test_classes_are_sampled_and_sorted_by_size(faces, tmp_path):
    sheets = draw_sheets(faces, tmp_path)
    assert [sheet.title for sheet in sheets.classes] == ["with_mask", "without_mask"]
    for sheet in sheets.classes:
        assert 0 < len(sheet.thumbs) <= sheets_module.PER_CLASS
        assert sides(sheet.thumbs) == sorted(sides(sheet.thumbs))
        assert all(sheet.title in thumb.title for thumb in sheet.thumbs)
        assert len({thumb.title for thumb in sheet.thumbs}) == len(sheet.thumbs)


def test_smallest_faces(faces, tmp_path):
    shown = sides(draw_sheets(faces, tmp_path).smallest.thumbs)
    assert shown == sorted(faces["short_side"])[: sheets_module.SMALLEST]


def test_dropped_and_kept_are_of_one_bin_of_the_thinned_class(faces, tmp_path):
    blur = draw_sheets(faces, tmp_path).blur
    assert len(blur) == sheets_module.BLUR_BINS
    by_title = {
        f"set/{row.image}, object {row.object}": row for row in faces.itertuples(index=False)
    }
    for sheet in blur:
        low = float(sheet.title.split()[0])
        for thumbs, kept in ((sheet.dropped, False), (sheet.kept, True)):
            assert 0 < len(thumbs) <= sheets_module.PER_BLUR_ROW
            for thumb in thumbs:
                row = by_title[thumb.title.split(":")[0]]
                assert (row.kept, row.label, row.split) == (kept, "with_mask", "train")
                assert row.short_side >= low


def test_nothing_dropped_gives_no_blur_sheet(faces, tmp_path):
    assert draw_sheets(faces.assign(kept=True), tmp_path).blur == ()


def test_groups_show_a_face_of_each_photo(faces, tmp_path):
    groups = draw_sheets(faces, tmp_path).groups
    assert {sheet.title: len(sheet.thumbs) for sheet in groups} == {"set/0.jpg": 4, "set/4.jpg": 4}


def test_same_seed_same_sheets(faces, tmp_path):
    assert draw_sheets(faces, tmp_path, seed=3) == draw_sheets(faces, tmp_path, seed=3)
    assert draw_sheets(faces, tmp_path, seed=3) != draw_sheets(faces, tmp_path, seed=4)


def test_large_crops_are_shrunk_and_small_ones_embedded_as_they_are(faces, tmp_path):
    for thumb in draw_sheets(faces, tmp_path).classes[0].thumbs:
        data = base64.b64decode(thumb.src.removeprefix("data:image/jpeg;base64,"))
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert len(pixels) == min(int(thumb.caption), sheets_module.THUMB_SIDE)


def test_unreadable_crop_is_an_error(faces, tmp_path):
    smallest = faces["crop"][faces["short_side"].idxmin()]
    (tmp_path / smallest).write_bytes(b"no")
    with pytest.raises(OSError, match=smallest):
        draw_sheets(faces, tmp_path)
