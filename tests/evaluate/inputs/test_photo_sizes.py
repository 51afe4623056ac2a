from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from data_prep.base.photo import PhotoError
from data_prep.formats.input_files import InputError
from evaluate.inputs.photos import SizeSource


def save(path: Path, size: tuple[int, int], orientation: int | None = None) -> Path:
    path.parent.mkdir(exist_ok=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("RGB", size).save(path, exif=exif)
    return path


def test_order_of_the_sources(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", (40, 20))
    known = {"x/a.png": (1, 1), "x/b.png": (7, 8)}
    names = ["a", "b", "c"]
    assert SizeSource(photos=tmp_path, known=known).find(names) == {"a": (40, 20), "b": (7, 8)}
    assert SizeSource(fixed=(5, 6), photos=tmp_path).find(names) == dict.fromkeys(names, (5, 6))
    assert SizeSource().find(names) == {}


def test_photos_that_can_not_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder of photos"):
        SizeSource(photos=tmp_path / "missing").find(["a"])
    save(tmp_path / "a.jpg", (40, 20))
    save(tmp_path / "a.png", (40, 20))
    with pytest.raises(InputError, match=r"looking for photo sizes.*could be any of"):
        SizeSource(photos=tmp_path).find(["a"])
    (tmp_path / "b.jpg").write_text("no photo")
    with pytest.raises(PhotoError, match=r"b\.jpg: not a readable photo"):
        SizeSource(photos=tmp_path).find(["b"])
