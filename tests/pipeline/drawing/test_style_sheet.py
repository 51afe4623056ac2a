"""The sheet of all styles on the portrait, with landmarks given in place of a net's."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.drawing.geometry import WAYS_TO_WEAR
from pipeline.drawing.sheet import SheetKeeper, draw_style_sheet
from pipeline.drawing.styles import STYLES
from pipeline.inference.detector import Detector
from tests.pipeline.drawing.test_demo import PortraitDetector


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_every_style_is_shown_in_every_way(tmp_path, monkeypatch, suffix):
    shown = []
    original = SheetKeeper.add

    def add(self, drawn, photo):
        shown.append((drawn.style, drawn.worn, photo.tobytes()))
        original(self, drawn, photo)

    monkeypatch.setattr(SheetKeeper, "add", add)
    draw_style_sheet(PortraitDetector(), tmp_path / f"styles{suffix}")
    assert [item[:2] for item in shown] == [(s, worn) for s in STYLES for worn in WAYS_TO_WEAR]
    assert len({pixels for *_, pixels in shown}) == len(shown), "no two look alike"
    with Image.open(tmp_path / f"styles{suffix}") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    assert (np.abs(pixels - (176, 38, 44)).max(axis=2) < 25).sum() > 500, "the red cloth"


def test_command(tmp_path, monkeypatch):
    monkeypatch.setattr(Detector, "load", lambda _path, **_: PortraitDetector())
    result = CliRunner().invoke(app, ["mask-styles", str(tmp_path / "styles.jpg")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "styles.jpg").stat().st_size > 20_000
