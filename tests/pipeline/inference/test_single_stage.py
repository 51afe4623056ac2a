"""One net that finds faces and tells their classes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data_prep.base.labels import CLASSES, RARE_CLASS
from pipeline.inference.detector import Detector
from pipeline.inference.folder import predict_folder
from pipeline.inference.predictor import Predictor
from pipeline.inference.records import Clock
from pipeline.inference.sources import PhotoSet
from pipeline.nets.cards import DetectorCard, WeightsError, save_weights
from pipeline.nets.retinaface import RetinaFace, widen_scores
from tests.makers import make_pixels
from tests.pipeline.makers import CPU, frames_of, make_net, save_photo

TWO = ("with_mask", "without_mask")


def save_single(path, learnt=TWO, seed=1):
    """Widened random weights whose class logits differ from one another."""
    state = widen_scores(make_net().state_dict(), len(learnt))
    torch.manual_seed(seed)
    for name, tensor in state.items():
        if name.startswith("ClassHead.") and name.endswith("weight"):
            state[name] = tensor + 0.05 * torch.randn_like(tensor)
    save_weights(path, state, DetectorCard(learnt=learnt))
    return state


def load(folder, **options):
    return Predictor.load(folder, device=CPU, bf16=False, thresh=0.6, resize=1, **options)


@pytest.fixture
def single(tmp_path):
    save_single(tmp_path / "detector.safetensors")
    return load(tmp_path)


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


def test_classes_vote_as_boxes_do(tmp_path):
    """Weighed by the same scores, so probabilities lie between those of the boxes that vote."""
    save_single(tmp_path / "detector.safetensors", CLASSES)
    detector = Detector.load(tmp_path / "detector.safetensors", device=CPU)
    (found,) = detector.detect([make_pixels(96, 96, seed=4)], resize=1, min_score=0.5)
    assert found.probabilities.shape == (len(found.scores), 3)
    assert np.allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)
    assert (found.probabilities > 0).all()


def test_detector_without_classes_needs_a_classifier(tmp_path, random_weights):
    save_weights(tmp_path / "detector.safetensors", make_net().state_dict(), DetectorCard())
    with pytest.raises(WeightsError, match=r"classifier\.json: can't be read"):
        load(tmp_path)
    assert load(tmp_path, rest=random_weights).classifier is not None


def test_folder_without_weights_gets_none_from_elsewhere(tmp_path, random_weights):
    with pytest.raises(WeightsError, match=r"no detector\.safetensors or"):
        load(tmp_path, rest=random_weights)


def test_folders_go_through_it_and_other_weights_start_anew(tmp_path, single):
    save_photo(tmp_path / "photos" / "a.jpg")
    photos, out = PhotoSet(tmp_path / "photos", ("a.jpg",)), tmp_path / "out"
    first = predict_folder(photos, out, single)
    assert first["photos_done_now"] == 1
    assert predict_folder(photos, out, single)["photos_done_now"] == 0
    save_single(tmp_path / "detector.safetensors", seed=2)
    other = load(tmp_path)
    assert predict_folder(photos, out, other)["photos_done_now"] == 1
