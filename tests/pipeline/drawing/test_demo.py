"""The demo photos, with landmarks given in place of a net's."""

import numpy as np
import pytest
from PIL import Image

from data_prep.base.photo import read_photo
from pipeline.inference.boxes import FaceBoxes
from pipeline.inference.detector import Detector
from tests.demo import demo_photos, read_portrait, write_demo_photos
from tests.pipeline.makers import BrightDetector

LANDMARKS = np.array([(200, 106), (241, 108), (222, 128), (205, 149), (240, 150)], np.float32)
"""Eyes, nose and mouth corners of the portrait, read off by eye."""


class PortraitDetector(BrightDetector):
    """Knows one portrait."""

    def _find(self, photo, min_score):
        box = np.array([[175, 60, 265, 185]], np.float32)
        return FaceBoxes(box, np.ones(1, np.float32), LANDMARKS[None])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    paths = write_demo_photos(PortraitDetector(), tmp_path_factory.mktemp("demo"))
    return {path.stem: path for path in paths}


def test_masks_are_where_they_should_be(photos):
    assert list(photos) == ["portrait_bare", "portrait_mask", "portrait_below_nose", "scene"]
    bare = read_photo(photos["portrait_bare"]).pixels.astype(int)
    assert np.abs(bare - read_portrait()).mean() < 4
    nose, mouth, eyes = (222, 128), (222, 155), (220, 106)
    for name, covers_nose in (("mask", True), ("below_nose", False)):
        drawn = read_photo(photos[f"portrait_{name}"]).pixels
        change = np.abs(drawn - bare).max(axis=2)
        assert change[mouth[1], mouth[0]] > 20, "the mouth is covered"
        assert (change[nose[1], nose[0]] > 20) == covers_nose
        assert change[eyes[1] - 12 : eyes[1] + 2, 195:246].max() < 12, "the eyes are not"
        assert change[:60].max() == 0
        assert change[264:].max() == 0


def test_they_are_jpegs(photos):
    for path in photos.values():
        with Image.open(path) as image:
            assert image.format == "JPEG"


def test_names_what_it_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Detector, "load", lambda path, *, device: PortraitDetector())
    demo_photos(tmp_path / "demo")
    written = sorted(map(str, (tmp_path / "demo").iterdir()))
    assert len(written) == 4
    assert sorted(capsys.readouterr().out.splitlines()) == written
