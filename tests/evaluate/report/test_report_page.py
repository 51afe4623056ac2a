"""The page: whole, self-contained, and with the numbers of the record."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from evaluate.inputs.predictions import Placed, place_predictions, read_predictions
from evaluate.inputs.truth import read_ground_truth
from evaluate.plan import Plan, list_sections, measure_sections, start_evaluation
from evaluate.report.page import REPORT, render_report, write_report
from tests.evaluate.random_faces import make_scene


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


def evaluate(truth, placed, plan, **options):
    evaluation = start_evaluation(truth, placed, plan)
    list(measure_sections(evaluation, list_sections(evaluation, **options)))
    evaluation.record["inputs"] = {
        "ground_truth": "g",
        "source": None,
        "predictions": "p.csv",
        "against": "<b>o.csv",
        "split": None,
    }
    return evaluation


@pytest.fixture(scope="module")
def full():
    scene = make_scene(3)
    return evaluate(
        scene.truth,
        Placed(scene.detections, 2, ("2 rows <left> out",)),
        Plan(resamples=30, ious=(0.3,)),
        crops=scene.crops,
        other=scene.detections,
    )


def test_needs_nothing_else_and_links_lead_somewhere(full):
    page = read_page(render_report(full, {kind: [] for kind in KINDS}))
    assert all(link.startswith(("data:image/", "#")) for link in page.loaded)
    assert {link[1:] for link in page.loaded if link.startswith("#")} <= page.ids
    assert len([link for link in page.loaded if link.startswith("data:")]) == 8


KINDS = ("missed", "wrong_class", "poor_box", "wrong_class_and_box", "second_hit", "false_face")


def test_shows_the_numbers_of_the_record(full):
    page = read_page(render_report(full, {kind: [] for kind in KINDS}))
    text = re.sub(r"\s+", " ", page.text)
    record = full.record
    low, high = record["intervals"]["map50"]
    assert f"{record['map50']:.3f}mAP at IoU 0.5" in text
    assert f"{low:.3f} to {high:.3f}" in text
    assert f"{record['alarm']['fnr']:.3f}" in text
    assert f"Accuracy {record['classifier_alone']['accuracy']:.3f}" in text
    for row in record["conventions"]:
        assert row["name"] in text
        assert row["why"] in text
    assert f"{record['at_iou'][0]['map']:.4f}" in text


def test_texts_from_files_are_escaped(full):
    html = render_report(full, {kind: [] for kind in KINDS})
    assert "2 rows &lt;left&gt; out" in html
    assert "Compared with &lt;b&gt;o.csv" in html


@pytest.mark.parametrize("resamples", [0, 20])
def test_without_the_optional_parts(annotations, predictions, tmp_path, resamples):
    """No probabilities, no crops, nothing to compare with, photos that are not there."""
    lines = predictions.read_text().splitlines()
    predictions.write_text("\n".join(",".join(line.split(",")[:8]) for line in lines) + "\n")
    truth = read_ground_truth(annotations)
    placed = place_predictions(read_predictions(predictions), truth)
    evaluation = evaluate(truth, placed, Plan(resamples=resamples))
    page = read_page(write_report(evaluation, {}, tmp_path).read_text())
    assert "give their folder with --photos" in page.text
    assert page.ids.isdisjoint({"classifier", "probabilities", "against"})
    assert "alarm" in page.ids


def test_nothing_predicted_and_other_classes(tmp_path):
    scene = make_scene(1, classes=("car", "bus", "tram"))
    none = np.empty(0, dtype=np.int64)
    placed = Placed(scene.detections.take(none, none), 0, ())
    evaluation = evaluate(scene.truth, placed, Plan(resamples=10))
    write_report(evaluation, {}, tmp_path)
    page = read_page((tmp_path / REPORT).read_text())
    assert "tram" in page.text
    assert "alarm" not in page.ids
