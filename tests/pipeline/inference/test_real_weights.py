"""Trained nets on real photos and on the demo photos (slow)."""

import numpy as np
import pytest

from data_prep.base.photo import read_photo
from data_prep.formats.registry import read_datasets
from pipeline.inference.detector import Detector
from pipeline.inference.predictor import Predictor
from pipeline.nets.cards import DetectorCard, load_state
from pipeline.nets.options import SHIPPED
from pipeline.nets.retinaface import RetinaFace
from pipeline.training.detector import measure_faces
from pipeline.training.detector_data import FACE, Scene
from tests.demo import PLACES, write_demo_photos
from tests.pipeline.makers import CPU, frames_of
from tests.pipeline.needs import (
    SHARED,
    THIRD_PARTY,
    needs_real_data,
    needs_shipped,
    needs_third_party,
)

pytestmark = pytest.mark.slow

SAID = {"mask": "with_mask", "bare": "without_mask", "below_nose": "mask_weared_incorrect"}


@pytest.fixture(scope="module")
def scenes():
    """Thirty photos of `facemask`, spread over the set."""
    (dataset,) = read_datasets([SHARED / "data" / "facemask"])
    return [
        Scene(
            "facemask",
            photo.path,
            (photo.width, photo.height),
            np.array([face.box for face in photo.faces], np.float32),
            np.full(len(photo.faces), FACE),
        )
        for photo in dataset.photos[:: len(dataset.photos) // 30][:30]
    ]


@needs_real_data
@needs_third_party
@pytest.mark.parametrize(
    "name", ["retinaface-mobilenet0.25-sglee487.pth", "mobilenet0.25_Final.pth"]
)
def test_slope_of_the_card_is_the_one_the_weights_were_trained_with(scenes, name):
    """Both slopes load; with the other one half of the faces fall under a score of 0.5."""
    figures = {}
    for slope in (0.1, 0.0):
        net = RetinaFace(slope)
        net.load_state_dict(load_state(THIRD_PARTY / name))
        figures[slope] = measure_faces(Detector(net, DetectorCard(), device=CPU), scenes)
    assert figures[0.1]["face_ap50"] > 0.7
    assert figures[0.0]["face_ap50"] < figures[0.1]["face_ap50"] - 0.03
    assert figures[0.0]["recall"] < 0.65 * figures[0.1]["recall"]


@needs_real_data
@needs_third_party
@needs_shipped
def test_shipped_detector_is_better_than_what_it_was_made_from(scenes):
    shipped = Detector.load(SHIPPED / "detector.safetensors", device=CPU)
    net = RetinaFace(shipped.card.negative_slope)
    net.load_state_dict(load_state(THIRD_PARTY / "retinaface-mobilenet0.25-sglee487.pth"))
    before = measure_faces(Detector(net, DetectorCard(), device=CPU), scenes)
    after = measure_faces(shipped, scenes)
    assert after["face_ap50"] > before["face_ap50"]
    assert after["face_ap75"] > before["face_ap75"]


@pytest.fixture(scope="module")
def stages():
    return Predictor.load(SHIPPED, device=CPU, bf16=False)


@pytest.fixture(scope="module")
def demo(stages, tmp_path_factory):
    """The photos as `make demo` writes them, JPEG and all."""
    paths = write_demo_photos(stages.detector, tmp_path_factory.mktemp("demo"))
    return {path.name: read_photo(path).pixels for path in paths}


@needs_shipped
@pytest.mark.parametrize("kind", SAID)
def test_demo_portraits_are_told_right(stages, demo, kind):
    (faces,) = stages(frames_of([demo[f"portrait_{kind}.jpg"]]))
    assert [face.label for face in faces] == [SAID[kind]]
    assert faces[0].detection > 0.8


@needs_shipped
def test_every_face_of_the_demo_scene_is_found(stages, demo):
    (faces,) = stages(frames_of([demo["scene.jpg"]]))
    found = []
    for left, top, side, _, _ in PLACES:
        inside = [
            face
            for face in faces
            if left <= (face.box.xmin + face.box.xmax) / 2 <= left + side
            and top <= (face.box.ymin + face.box.ymax) / 2 <= top + side
        ]
        found.append(len(inside))
    assert found == [1] * len(PLACES)
    assert len(faces) == len(PLACES)
