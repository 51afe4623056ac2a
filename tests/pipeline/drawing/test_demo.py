"""The demo photos, with landmarks given in place of a net's."""

import numpy as np
import pytest
from PIL import Image

from data_prep.base.photo import read_photo
from pipeline.drawing.demo import (
    make_demo_photos,
    read_portrait,
    write_demo_photos,
)
from pipeline.inference.boxes import FaceBoxes
from tests.pipeline.makers import BrightDetector

LANDMARKS = np.array([(200, 106), (241, 108), (222, 128), (205, 149), (240, 150)], np.float32)
"""Eyes, nose and mouth corners of the portrait, read off by eye."""


class PortraitDetector(BrightDetector):
    """Knows one portrait."""

    def _find(self, photo, min_score):
        box = np.array([[175, 60, 265, 185]], np.float32)
        return FaceBoxes(box, np.ones(1, np.float32), LANDMARKS[None])


@pytest.fixture(scope="module")
def photos():
    return make_demo_photos(PortraitDetector())


def test_masks_are_where_they_should_be(photos):
    bare = photos["portrait_bare.jpg"].astype(int)
    assert np.array_equal(bare, read_portrait())
    nose, mouth, eyes = (222, 128), (222, 155), (220, 106)
    for name, covers_nose in (("mask", True), ("below_nose", False)):
        change = np.abs(photos[f"portrait_{name}.jpg"] - bare).max(axis=2)
        assert change[mouth[1], mouth[0]] > 20, "the mouth is covered"
        assert (change[nose[1], nose[0]] > 20) == covers_nose
        assert change[eyes[1] - 12 : eyes[1] + 6, 195:246].max() == 0, "the eyes are not"
        assert change[:60].max() == 0
        assert change[260:].max() == 0


def test_written_photos_are_those(photos, tmp_path):
    paths = write_demo_photos(PortraitDetector(), tmp_path / "demo")
    assert [path.name for path in paths] == list(photos)
    for path in paths:
        difference = read_photo(path).pixels.astype(int) - photos[path.name]
        assert np.abs(difference).mean() < 4
        with Image.open(path) as image:
            assert image.format == "JPEG"
