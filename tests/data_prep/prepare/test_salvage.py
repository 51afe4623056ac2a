"""JPEGs that lack their end: refused as before, or used with the faces they still show."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_prep.base.photo import read_photo
from data_prep.prepare.build import build
from data_prep.prepare.options import BuildOptions
from tests.makers import LABELS, make_dataset, make_voc

TOP, BOTTOM = (10, 5, 40, 35), (60, 200, 100, 235)


@pytest.fixture
def torn(tmp_path):
    """A good dataset; one of its photos, with a face at the top and one below, lacks its end."""
    root = make_dataset(tmp_path / "set", photos=8)
    pixels = np.random.default_rng(0).integers(0, 255, (240, 120, 3), dtype=np.uint8)
    path = root / "images" / "photo0.jpg"
    Image.fromarray(pixels).save(path, quality=90)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    faces = [(LABELS[0], TOP), (LABELS[1], BOTTOM)]
    make_voc(root / "annotations" / "photo0.xml", "photo0.jpg", faces, (120, 240))
    return root


def test_build(torn, tmp_path):
    plain = build(BuildOptions(roots=[torn], out=tmp_path / "p", folds=2))
    assert [f.kind for f in plain.findings if f.dropped] == ["unreadable-photo"]
    table = pd.read_csv(tmp_path / "p" / "faces.csv")
    assert "salvaged" not in table
    options = BuildOptions(roots=[torn], out=tmp_path / "s", folds=2, salvage=True)
    result = build(options)
    assert [(f.kind, f.dropped) for f in result.findings] == [
        ("salvaged-photo", False),
        ("lost-faces", True),
    ]
    table = pd.read_csv(tmp_path / "s" / "faces.csv")
    own = table[table["image"] == "images/photo0.jpg"]
    assert own[["xmin", "ymin", "xmax", "ymax"]].to_numpy().tolist() == [list(TOP)]
    rows = read_photo(torn / "images" / "photo0.jpg", salvage=True).salvaged
    assert own["salvaged"].tolist() == [rows]
    assert 35 <= rows < 235
    assert set(table.loc[table["image"] != "images/photo0.jpg", "salvaged"]) == {0}
    assert result.record["findings"]["salvaged-photo"] == 1
    assert result.record["options"]["salvage"]
    assert build(options).up_to_date
