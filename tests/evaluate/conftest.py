from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluate.voc_files import voc_xml

HEADER = (
    "image,xmin,ymin,xmax,ymax,label,score,detection,"
    "p_with_mask,p_without_mask,p_mask_weared_incorrect"
)


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """Two photos with four faces, as XML only."""
    folder = tmp_path / "annotations"
    folder.mkdir()
    (folder / "a.xml").write_text(
        voc_xml(
            "a.png",
            [("with_mask", (0, 0, 10, 10)), ("without_mask", (20, 0, 30, 10))],
            (100, 100),
        )
    )
    (folder / "b.xml").write_text(
        voc_xml(
            "b.png",
            [("mask_weared_incorrect", (0, 0, 20, 20)), ("with_mask", (40, 40, 60, 60))],
            (100, 100),
        )
    )
    return folder


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """One right face, one with the wrong label, one right, one on no face; one face is missed."""
    path = tmp_path / "predictions.csv"
    rows = [
        HEADER,
        "a.jpg,0,0,10,10,with_mask,0.81,0.9,0.9,0.1,0",
        "a.jpg,20,0,30,10,with_mask,0.48,0.8,0.6,0.4,0",
        "b.jpg,0,0,20,20,mask_weared_incorrect,0.7,0.7,0,0,1",
        "b.jpg,70,70,80,80,without_mask,0.3,0.6,0.3,0.5,0.2",
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without their plots, which take most of the time; `test_report.py` draws them."""
    monkeypatch.setattr("data_prep.base.html.to_uri", lambda _: "data:image/png;base64,")
