"""Which detector is taken, and YuNet against OpenCV called by hand."""

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.drawing.demo import read_portrait
from pipeline.inference.command import app
from pipeline.inference.yunet import YuNetDetector, choose_detector
from pipeline.nets.cards import WeightsError
from tests.makers import make_pixels
from tests.pipeline.needs import THIRD_PARTY, needs_third_party

MODEL = THIRD_PARTY / "face_detection_yunet_2023mar.onnx"


def test_retinaface_is_that_of_the_weights_folder():
    assert choose_detector("retinaface", None) is None


@pytest.mark.parametrize(
    ("name", "model", "what"),
    [
        ("yunet", None, "needs --detector-model"),
        ("haar", None, "unknown detector 'haar': use retinaface or yunet"),
        ("retinaface", "x.onnx", "is for --detector yunet"),
        ("yunet", "missing.onnx", "missing.onnx: can't be read"),
    ],
)
def test_what_can_not_be_used(name, model, what, tmp_path):
    with pytest.raises(WeightsError, match=what):
        choose_detector(name, None if model is None else tmp_path / model)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x80\x04K\x01."])
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not a YuNet model"):
        YuNetDetector(path)


def test_run_explains_a_missing_model(tmp_path):
    photo = tmp_path / "a.png"
    cv2.imwrite(str(photo), make_pixels(40, 40))
    result = CliRunner().invoke(app, [str(photo), "-o", str(tmp_path), "--detector", "yunet"])
    assert result.exit_code == 2
    assert "needs --detector-model" in result.output


@needs_third_party
def test_yunet_finds_what_opencv_finds():
    photo = read_portrait()
    (found,) = YuNetDetector(MODEL).detect([photo], resize=1.0, min_score=0.5)
    plain = cv2.FaceDetectorYN.create(str(MODEL), "", photo.shape[1::-1], 0.5, 0.4, 5000)
    rows = plain.detect(photo[:, :, ::-1])[1]
    assert len(found.boxes) == len(rows) == 1
    x, y, width, height = rows[0, :4]
    np.testing.assert_allclose(found.boxes[0], [x, y, x + width, y + height], atol=0.5)
    np.testing.assert_allclose(found.landmarks[0].ravel(), rows[0, 4:14], atol=0.5)
    assert found.scores[0] == pytest.approx(rows[0, 14], abs=1e-4)
    left, right = found.landmarks[0, :2]
    assert left[0] < right[0], "left as seen in the photo, as RetinaFace has it"


@needs_third_party
def test_yunet_gives_pixels_of_the_photo_at_any_enlargement():
    photo = read_portrait()
    detector = YuNetDetector(MODEL)
    one, two = (detector.detect([photo], resize=r, min_score=0.5)[0] for r in (1.0, 1.5))
    np.testing.assert_allclose(one.boxes, two.boxes, atol=8)
    assert detector.detect([make_pixels(40, 40)], min_score=0.5)[0].boxes.shape == (0, 4)
