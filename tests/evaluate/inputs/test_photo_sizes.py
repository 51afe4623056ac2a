from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from data_prep.base.labels import MASKS
from data_prep.base.photo import PhotoError
from data_prep.formats.input_files import InputError
from evaluate.inputs.photos import SizeSource, name_photo, read_table_sizes, read_voc_sizes
from tests.evaluate.voc_files import voc_xml


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


def test_sizes_in_voc_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.xml").write_text(voc_xml("a.png", [], (100, 50)))
    (tmp_path / "b.xml").write_text(voc_xml("a.png", [], (30, 20)))
    (tmp_path / "c.xml").write_text(voc_xml("", [], None))
    (tmp_path / "d.xml").write_text("<broken>")
    (tmp_path / "sub" / "e.xml").write_text(voc_xml("C:\\x\\e.png", [], (9, 8)))
    sizes = read_voc_sizes(tmp_path, MASKS)
    assert sizes == {"a.png": (100, 50), "b.png": (30, 20), "sub/e.png": (9, 8)}


def test_sizes_in_a_table(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    path.write_text("image,width,height,source\ni/1.jpg,100,50,one\n2.jpg,7,8,\n")
    assert read_table_sizes(path) == {"one/i/1.jpg": (100, 50), "2.jpg": (7, 8)}


def test_names_of_photos() -> None:
    assert name_photo("x/a.xml", "", ()) == "x/a"
    assert name_photo("x/a.xml", "b.png", ()) == "x/b.png"
    assert name_photo("x/a.xml", "b.png", {"x/b.png"}) == "x/a.png"
