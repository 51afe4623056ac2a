"""What is left in the folder: the page, the tables, and the pictures decoded again."""

from __future__ import annotations

import base64
import re
import warnings
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_prep.base.html import COLOURS, to_uri
from evaluate import EvaluateOptions, Evaluation, evaluate
from evaluate.arrays import Detections
from evaluate.evaluation import measure_case
from evaluate.measures.case import Case
from evaluate.report.gallery import GROUND, PER_KIND, SIDE, draw_gallery
from evaluate.report.outputs import render_report
from evaluate.report.plots import _wrap, choose_colours, draw_confusion
from tests.evaluate.scenes import Seen, as_detections, as_truth, make_case, make_scene


class Page(HTMLParser):
    """Collects what a page would load, its texts and anchors, and checks that tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.loaded += [value for name, value in attrs if name in ("src", "href")]
        self.ids |= {value for name, value in attrs if name == "id"}
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def read_page(html: str) -> Page:
    page = Page()
    page.feed(html)
    assert page.open == []
    return page


def render(evaluation: Evaluation) -> Page:
    page = Page()
    page.feed(render_report(evaluation.case, evaluation.metrics))
    assert page.open == []
    return page


def test_shows_the_numbers_of_the_record_and_needs_nothing_else():
    scene = make_scene(3)
    case = make_case(
        scene.truth,
        scene.detections,
        crops=scene.crops,
        other=scene.detections,
        resamples=30,
        iou=[0.3],
    )
    names = dict.fromkeys(("ground_truth", "predictions", "source", "split")) | {"against": "<b>o"}
    full = measure_case(replace(case, names=names, warnings=("2 rows <left> out",)))
    page, record = render(full), full.metrics
    assert all(link.startswith(("data:image/", "#")) for link in page.loaded)
    assert {link[1:] for link in page.loaded if link.startswith("#")} <= page.ids
    assert len([link for link in page.loaded if link.startswith("data:")]) == 8
    text = re.sub(r"\s+", " ", page.text)
    low, high = record["intervals"]["map50"]
    for shown in (
        "2 rows <left> out",  # Escaped, or it would be a tag.
        "Compared with <b>o",
        f"{record['map50']:.3f}mAP at IoU 0.5",
        f"{low:.3f} to {high:.3f}",
        f"{record['alarm']['fnr']:.3f}",
        f"Accuracy {record['classifier_alone']['accuracy']:.3f}",
        f"{record['at_iou'][0]['map']:.4f}",
        *(row[key] for row in record["conventions"] for key in ("name", "why")),
    ):
        assert shown in text


def test_without_the_optional_parts(annotations, predictions):
    """No probabilities, no crops, nothing to compare with, photos that are not there."""
    lines = predictions.read_text().splitlines()
    predictions.write_text("\n".join(",".join(line.split(",")[:8]) for line in lines) + "\n")
    page = render(evaluate(annotations, predictions, EvaluateOptions(bootstrap=0)))
    assert "give their folder with --photos" in page.text
    assert page.ids.isdisjoint({"classifier", "probabilities", "against"})
    assert "alarm" in page.ids


def test_nothing_predicted_and_other_classes(annotations, tmp_path):
    (tmp_path / "none.csv").write_text("image,xmin,ymin,xmax,ymax,label,score,detection\n")
    options = EvaluateOptions(classes="with_mask,without_mask,mask_weared_incorrect,tram")
    page = render(evaluate(annotations, tmp_path / "none.csv", options))
    assert "tram" in page.text
    assert "alarm" not in page.ids


def test_tables(annotations, predictions, tmp_path):
    evaluate(annotations, predictions, EvaluateOptions(bootstrap=0)).save(tmp_path / "report")
    curves, confusion, errors = (
        pd.read_csv(tmp_path / "report" / f"{name}.csv")
        for name in ("curves", "confusion", "errors")
    )
    masked = curves[curves["class"] == "with_mask"]
    assert masked["score"].tolist() == [0.81, 0.48]
    assert masked["precision"].tolist() == [1, 0.5]
    assert masked["recall"].tolist() == [0.5, 0.5]
    assert len(curves[curves["class"] == "face"]) == 4
    confusion = confusion.set_index("annotated")
    assert confusion.loc["without_mask", "with_mask"] == 1
    assert confusion.loc["with_mask", "missed"] == 1
    assert confusion.loc["false", "without_mask"] == 1
    errors = errors.set_index("kind")
    assert sorted(errors.index) == ["false_face", "missed", "wrong_class"]
    wrong = errors.loc["wrong_class"]
    assert (wrong["label"], wrong["annotated"], wrong["iou"]) == ("with_mask", "without_mask", 1)
    assert errors.loc["missed", ["image", "xmin", "ymax"]].tolist() == ["b.png", 40, 60]
    assert pd.isna(errors.loc["false_face", "annotated"])


def decode(src: str) -> np.ndarray:
    data = base64.b64decode(src.removeprefix("data:image/jpeg;base64,"))
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def rgb(label: str) -> list[int]:
    return [int(COLOURS[label][start : start + 2], 16) for start in (1, 3, 5)]


@pytest.fixture
def scene(tmp_path):
    """A missed face in the corner of a blue photo, a wrong class, and a detection on no face."""
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:] = (0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    truth = as_truth([Seen(0, 0, (0, 0, 20, 20)), Seen(0, 1, (100, 40, 140, 80))])
    truth = replace(truth, photos=("a.png",))
    detections = as_detections(
        [Seen(0, 2, (100, 40, 140, 80), 0.9), Seen(0, 0, (160, 10, 180, 30), 0.8)]
    )
    return truth, detections, {"a.png": tmp_path / "a.png"}


def test_pictures_show_the_photo_and_both_kinds_of_boxes(scene):
    truth, detections, files = scene
    shown = draw_gallery(Case(truth, detections, files=files))
    assert {kind: len(some) for kind, some in shown.items() if some} == {
        "missed": 1,
        "wrong_class": 1,
        "false_face": 1,
    }
    wrong = shown["wrong_class"][0]
    assert wrong.caption == "without_mask taken for mask_weared_incorrect 0.90, IoU 1.00"
    assert wrong.title == "a.png: 100, 40, 140, 80"
    picture = decode(wrong.src)
    assert picture.shape == (SIDE, SIDE, 3)
    # The box is 40 of 96 pixels wide, in the middle: its left edge lies at 28/96 of the picture.
    edge = round(28 / 96 * SIDE)
    corner, middle = picture[edge + 2, edge], picture[SIDE // 2, edge]
    assert np.abs(corner.astype(int) - rgb("mask_weared_incorrect")).max() < 70
    assert np.abs(middle.astype(int) - rgb("without_mask")).max() < 70  # the annotated frame
    assert picture[SIDE // 2, SIDE // 2].tolist() == pytest.approx([0, 0, 255], abs=12)
    missed = shown["missed"][0]
    assert missed.caption == "with_mask, 20 px"
    assert decode(missed.src)[3, 3].tolist() == pytest.approx([GROUND] * 3, abs=4)


def test_long_and_foreign_names_of_classes(scene, capsys):
    truth, detections, files = scene
    names = ("wears the mask over mouth and nose alike", "口罩没有戴好", "wornIncorrectly" * 3)
    case = Case(replace(truth, classes=names), detections, files=files)
    edge = decode(draw_gallery(case)["wrong_class"][0].src)[SIDE // 2, round(28 / 96 * SIDE)]
    legend = bytes.fromhex(choose_colours(names)[names[1]][1:])
    assert np.abs(edge.astype(int) - list(legend)).max() < 70, "the legend's colour"
    labels = [_wrap(name) for name in (*names, "mask_weared_incorrect")]
    assert max(len(line) for label in labels for line in label.split("\n")) <= 14
    assert labels[-1] == "mask_weared\n_incorrect"
    confusion = {"counts": np.eye(3, dtype=int), "rows": names, "columns": names}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Of glyphs that no font here has.
        for _ in range(2):
            assert to_uri(draw_confusion(confusion, "無\ufdd0")).startswith("data:image/png")
    assert capsys.readouterr().err.count(r"show boxes for letters of '無\ufdd0'") == 1


@pytest.mark.parametrize("fault", ["unknown", "broken"])
def test_photo_that_cannot_be_shown_leaves_an_empty_picture(scene, fault, tmp_path):
    truth, detections, files = scene
    if fault == "broken":
        files["a.png"].write_bytes(b"no photo")
    else:
        files = {}
    shown = draw_gallery(Case(truth, detections, files=files))
    assert shown["false_face"][0].src == ""
    assert shown["false_face"][0].caption == "with_mask 0.80"


def on_photo(boxes: list[list[float]], scores: np.ndarray) -> Detections:
    none = np.zeros(len(boxes), np.int64)
    return Detections(none, np.array(boxes, float), none, scores, scores, None)


def test_worst_first_and_not_too_many(scene):
    truth, _, files = scene
    count = PER_KIND + 5
    boxes = [[150, 5 * n, 160, 5 * n + 4] for n in range(count)]
    many = on_photo(boxes, np.linspace(0.1, 0.9, count))
    shown = draw_gallery(Case(truth, many, files=files))["false_face"]
    assert len(shown) == PER_KIND
    assert shown[0].caption.endswith("0.90")


def test_boxes_far_out_of_the_photo_cost_nothing(scene):
    truth, _, files = scene
    wild = on_photo([[0, 0, 6e4, 6e4], [150, 50, 1e12, 1e12]], np.array([0.9, 0.8]))
    shown = draw_gallery(Case(truth, wild, files=files))
    pictures = [one for some in shown.values() for one in some if "with_mask 0." in one.caption]
    assert [decode(one.src).shape for one in pictures] == [(SIDE, SIDE, 3)] * 2
