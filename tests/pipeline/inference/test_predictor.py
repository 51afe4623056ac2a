"""Both stages together, or one; and the crop is the same on all three roads."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from data_prep.base.crop import crop_face
from data_prep.base.labels import CLASSES, RARE_CLASS
from data_prep.base.photo import read_photo
from data_prep.base.records import Box
from data_prep.base.tables import read_faces
from data_prep.formats.predictions import read_photos
from data_prep.prepare.build import build
from data_prep.prepare.options import BuildOptions
from pipeline.inference.boxes import MAX_FACES, FaceBoxes
from pipeline.inference.folder import predict_folder
from pipeline.inference.predictor import Predictor
from pipeline.inference.records import Clock, Frame
from pipeline.inference.sources import PhotoSet, list_photos
from pipeline.nets.cards import DetectorCard, WeightsError, read_card, save_weights
from pipeline.nets.learnt import fingerprint_photo
from pipeline.nets.retinaface import RetinaFace
from tests.makers import make_photo, make_pixels
from tests.pipeline.makers import (
    CPU,
    BrightDetector,
    ColourClassifier,
    frames_of,
    make_net,
    paint_photo,
    save_single,
    stand_ins,
)


def load(folder, **options):
    return Predictor.load(folder, device=CPU, bf16=False, thresh=0.6, resize=1, **options)


@pytest.fixture
def single(tmp_path):
    """One net for both stages."""
    save_single(tmp_path / "detector.safetensors")
    return load(tmp_path)


class GivenDetector(BrightDetector):
    """Finds the boxes it was given, photo by photo."""

    def __init__(self, boxes):
        super().__init__()
        self.boxes = iter(boxes)

    def _find(self, photo, min_score):
        boxes = np.array(next(self.boxes), np.float32).reshape(-1, 4)
        scores = np.linspace(0.9, 0.5, len(boxes), dtype=np.float32)
        return FaceBoxes(boxes, scores, np.zeros((len(boxes), 5, 2), np.float32))


def test_faces_are_found_and_told():
    odd = paint_photo([("mask_weared_incorrect", (5, 6, 30, 50))])
    clock, broken = Clock(), Frame("broken.png", error="damaged")
    frames = [*frames_of([paint_photo(), paint_photo([])]), broken, Frame("odd.png", 3, odd)]
    first, none, unread, second = stand_ins()(frames, clock)
    assert min(clock.seconds["detect"], clock.seconds["classify"]) > 0
    assert unread == []
    assert [face.label for face in first] == ["with_mask", "without_mask"]
    assert [face.box for face in first] == [Box(20, 15, 60, 55), Box(80, 30, 100, 60)]
    assert none == []
    assert [face.label for face in second] == ["mask_weared_incorrect"]
    assert first[0].detection == pytest.approx(250 / 255, abs=1e-6)
    assert first[0].probabilities == pytest.approx((0.8, 0.1, 0.1))
    assert first[0].score == pytest.approx(0.8 * 250 / 255)
    assert all(isinstance(value, float) for value in (*first[0].box, first[0].detection))


def test_threads_share_one_predictor(random_weights):
    """Eight at once, with photos of their own sizes, get what one after the other gets."""
    predictor = Predictor.load(random_weights, device=CPU, bf16=False, thresh=0.97, resize=1)
    frames = [frames_of([make_pixels(40 + 8 * n, 48, seed=n)]) for n in range(8)]
    alone = [predictor(some) for some in frames]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(predictor, frames * 2))
    assert together == alone * 2
    assert sum(len(faces) for (faces,) in alone) > 8


def test_faces_too_many_for_a_photo_are_told(capsys):
    boxes = [[[8, 8, 24, 24]] * count for count in (MAX_FACES, 1)]
    predictor = Predictor(GivenDetector(boxes), ColourClassifier(), 0.1)
    frames = frames_of([make_pixels(32, 32, seed=n) for n in range(2)])
    assert [len(faces) for _, faces in predictor.predict(frames)] == [MAX_FACES, 1]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"{frames[0].name}: {MAX_FACES} faces, the surest: more are not told"


def test_crop_is_the_same_on_all_three_roads(dataset, tmp_path):
    """`crop_face` on the photo, the file `data_prep build` wrote, and what `run.py` classifies."""
    build(BuildOptions(roots=[dataset], out=tmp_path / "prepared", ratio=9, workers=1))
    faces = read_faces(tmp_path / "prepared")
    photos, boxes, written = [], [], []
    for image, rows in faces.groupby("image", sort=True):
        photos.append(read_photo(dataset / image, upright=True).pixels)
        boxes.append(rows[["xmin", "ymin", "xmax", "ymax"]].to_numpy())
        written += [tmp_path / "prepared" / crop for crop in rows["crop"]]
    for scale in (2.0, 1.5):
        classifier = ColourClassifier()
        classifier.card = classifier.card.model_copy(update={"crop_scale": scale})
        Predictor(GivenDetector(boxes), classifier, 0.1)(frames_of(photos))
        cut = [
            crop_face(photo, Box(*box), scale)
            for photo, some in zip(photos, boxes, strict=True)
            for box in some.tolist()
        ]
        assert all(map(np.array_equal, cut, classifier.seen))
    assert len(cut) == len(classifier.seen) == len(written) == 20
    for ours, path in zip(cut, written, strict=True):
        stored = cv2.imread(str(path))[:, :, ::-1]
        assert stored.shape == ours.shape
        assert np.abs(stored.astype(int) - ours).mean() < 2


def test_both_nets_are_loaded_from_one_folder(random_weights):
    for half in (False, True):
        stages = Predictor.load(random_weights, device=CPU, bf16=half)
        assert stages.classifier.card.input_size == 64
        assert stages.detector.bf16 is stages.classifier.bf16 is half


def test_faces_have_classes_and_the_untaught_one_never(single):
    clock = Clock()
    (faces,) = single(frames_of([make_pixels(64, 64, seed=3)]), clock)
    assert len(faces) > 2
    for face in faces:
        assert sum(face.probabilities) == pytest.approx(1, abs=1e-5)
        assert face.probabilities[CLASSES.index(RARE_CLASS)] == 0
        assert 0.6 <= face.detection <= 1
    assert len({face.label for face in faces}) == 2
    assert clock.seconds["detect"] > 0


def test_scores_and_classes_are_those_of_the_net(tmp_path, single):
    """The surest anchor alone, without votes: softmax of its logits, written out."""
    net = RetinaFace(classes=2).eval()
    net.load_state_dict(save_single(tmp_path / "again.safetensors"))
    photo = make_pixels(64, 64, seed=3)
    inputs = torch.from_numpy(photo[:, :, ::-1].copy()).permute(2, 0, 1)[None].float()
    inputs -= torch.tensor([104.0, 117, 123])[:, None, None]
    with torch.inference_mode():
        shares = net(inputs).scores[0].exp()
    shares = (shares / shares.sum(dim=1, keepdim=True))[:, 1:]
    (faces,) = replace(single, thresh=0.02)(frames_of([photo]))
    assert faces[0].detection == pytest.approx(float(shares.sum(dim=1).max()), abs=1e-5)


def test_one_net_takes_the_other_from_the_shipped(tmp_path, random_weights, monkeypatch):
    monkeypatch.setattr("pipeline.inference.predictor.SHIPPED", random_weights)
    file = tmp_path / "my-detector.safetensors"
    save_weights(file, make_net(seed=7).state_dict(), DetectorCard())
    predictor = load(file)
    assert predictor.origin == f"detector {file}; classifier as shipped"
    own, other = predictor.identify(), load(random_weights).identify()
    assert own["detector"] == read_card(file.with_suffix(".json"), DetectorCard).sha256
    assert own["classifier"] == other["classifier"]
    assert own["detector"] != other["detector"]
    with pytest.raises(WeightsError, match=r"no detector\.safetensors or"):
        load(tmp_path)


def test_photos_that_were_learnt_from_are_known_again(tmp_path):
    """The very file, a copy at half the size, mirrored, and another photo."""
    photo = make_photo(tmp_path / "photos/a.jpg", 400, 300, quality=95)
    small = cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)[:, ::-1]
    Image.fromarray(small).save(tmp_path / "photos/b.jpg", quality=60)
    make_photo(tmp_path / "photos/c.png", 400, 300, seed=1)
    (tmp_path / "photos/d.png").write_text("no photo")
    photos, out = (
        PhotoSet(tmp_path / "photos", ("a.jpg", "b.jpg", "c.png", "d.png")),
        tmp_path / "o",
    )
    path = tmp_path / "photos/a.jpg"
    listed = fingerprint_photo(read_photo(path).pixels, path)
    predictor = stand_ins()
    assert predict_folder(photos, out, predictor)["learnt"] == {
        **{"exact": 0, "near": 0, "not_listed": ["detector", "classifier"]},
    }
    predictor = stand_ins()
    predictor.classifier.card.training_photos = (listed,)
    summary = predict_folder(photos, out, predictor)
    assert summary["learnt"] == {"exact": 1, "near": 1, "not_listed": ["detector"]}
    assert [row.learnt for row in read_photos(out / "photos.csv")] == ["exact", "near", "", ""]
    told = [frame.learnt for frame, _ in predictor.predict(list_photos([photo, path]))]
    assert told == ["near", "exact"], "an array has no file"
