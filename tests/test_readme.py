"""The figures in the README are those on the cards, which belong to the weights that ship."""

from pathlib import Path

from pipeline.experiments.measure import describe_results
from pipeline.nets.cards import ClassifierCard, DetectorCard, load_weights, read_card

ROOT = Path(__file__).parent.parent
WEIGHTS = ROOT / "weights"


def measured() -> dict:
    """Both cards' figures in one record, as `measure` had them before it wrote the cards."""
    detector = read_card(WEIGHTS / "detector.json", DetectorCard).results["measured"]
    classifier = read_card(WEIGHTS / "classifier.json", ClassifierCard).results["measured"]
    assert detector["faces_sha256"] == classifier["faces_sha256"]
    sources = [name for name, figures in detector.items() if isinstance(figures, dict)]
    return {source: {**classifier[source], **detector[source]} for source in sources}


def test_results_table_is_that_of_the_cards():
    table = describe_results(measured())
    for name in ("README.md", "weights/MODEL_CARD.md"):
        assert table in (ROOT / name).read_text(encoding="utf-8"), name


def test_shipped_weights_match_their_cards():
    assert load_weights(WEIGHTS / "detector.safetensors", DetectorCard)[1].negative_slope == 0.1
    assert load_weights(WEIGHTS / "classifier.safetensors", ClassifierCard)[1].input_size == 128


def test_readme_has_no_open_places():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "@RESULTS@" not in text
    assert "@" not in text.replace("mAP@", "").replace("AP@", "")
