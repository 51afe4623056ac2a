"""The real datasets in every format and back, against their XML files read anew."""

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from data_prep.base.output_folder import PhotoMode
from data_prep.datasets.convert import ConvertOptions, convert
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.registry import read_dataset

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real datasets are not here"),
]

TOLERANCE = 1e-8
"""Pixels; what YOLO's shares written to 12 places give is below 1e-9."""


def parse(root):
    """Stem, class and box of every face, clipped to the stated size."""
    for path in sorted((root / "annotations").glob("*.xml")):
        xml = ElementTree.parse(path).getroot()
        width, height = (float(xml.findtext(f"size/{side}")) for side in ("width", "height"))
        for element in xml.findall("object"):
            x0, y0, x1, y1 = (
                float(element.findtext(f"bndbox/{tag}")) for tag in ("xmin", "ymin", "xmax", "ymax")
            )
            box = (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
            yield path.stem, element.findtext("name"), box


@pytest.mark.parametrize("name", ["facemask", "ilc"])
def test_round_trip(name, tmp_path):
    wanted = list(parse(DATA / name))
    for form in (Format.VOC, Format.YOLO, Format.COCO, Format.CSV):
        out = tmp_path / form
        result = convert(
            ConvertOptions(dataset=DATA / name, out=out, to=form, photos=PhotoMode.LINK)
        )
        assert result.record["left_out"] == 0
        assert result.record["not_held"] == {}
        read = read_dataset(tmp_path / form, ReadOptions(classes=None))
        found = {
            (Path(photo.image).stem, place): face
            for photo in read.photos
            for place, face in enumerate(photo.faces)
        }
        places: Counter[str] = Counter()
        for stem, label, box in wanted:
            face = found.pop((stem, places[stem]))
            places[stem] += 1
            assert face.label == label
            assert face.box == pytest.approx(box, abs=TOLERANCE)
        assert not found
