"""The page: whole, self-contained, and with the numbers of the record."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from evaluate import EvaluateOptions, Evaluation, evaluate
from evaluate.evaluation import Inputs, measure_inputs
from evaluate.measures.case import Case
from evaluate.report.outputs import render_report
from tests.evaluate.random_faces import make_scene
from tests.evaluate.scenes import make_case


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


def measure(case: Case) -> Evaluation:
    names = {
        "ground_truth": "g",
        "source": None,
        "predictions": "p.csv",
        "against": "<b>o.csv",
        "split": None,
    }
    return measure_inputs(Inputs(case, names, {}))


@pytest.fixture(scope="module")
def full():
    scene = make_scene(3)
    case = make_case(
        scene.truth,
        scene.detections,
        crops=scene.crops,
        other=scene.detections,
        resamples=30,
        ious=(0.3,),
    )
    return measure(replace(case, left_out=2, warnings=("2 rows <left> out",)))


def test_needs_nothing_else_and_links_lead_somewhere(full):
    page = read_page(render_report(full))
    assert all(link.startswith(("data:image/", "#")) for link in page.loaded)
    assert {link[1:] for link in page.loaded if link.startswith("#")} <= page.ids
    assert len([link for link in page.loaded if link.startswith("data:")]) == 8


def test_shows_the_numbers_of_the_record(full):
    page = read_page(render_report(full))
    text = re.sub(r"\s+", " ", page.text)
    record = full.metrics
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
    html = render_report(full)
    assert "2 rows &lt;left&gt; out" in html
    assert "Compared with &lt;b&gt;o.csv" in html


@pytest.mark.parametrize("resamples", [0, 20])
def test_without_the_optional_parts(annotations, predictions, resamples):
    """No probabilities, no crops, nothing to compare with, photos that are not there."""
    lines = predictions.read_text().splitlines()
    predictions.write_text("\n".join(",".join(line.split(",")[:8]) for line in lines) + "\n")
    options = EvaluateOptions(bootstrap=resamples)
    page = read_page(render_report(evaluate(annotations, predictions, options)))
    assert "give their folder with --photos" in page.text
    assert page.ids.isdisjoint({"classifier", "probabilities", "against"})
    assert "alarm" in page.ids


def test_nothing_predicted_and_other_classes():
    scene = make_scene(1, classes=("car", "bus", "tram"))
    none = np.empty(0, dtype=np.int64)
    case = make_case(scene.truth, scene.detections.take(none, none), resamples=10)
    page = read_page(render_report(measure(case)))
    assert "tram" in page.text
    assert "alarm" not in page.ids
