"""The figures in the README are those on the cards, which belong to the weights that ship."""

import re
from pathlib import Path

from pipeline.cli import COMMANDS
from pipeline.experiments.measure import describe_results
from pipeline.nets.cards import ClassifierCard, DetectorCard, load_weights, read_card

ROOT = Path(__file__).parent.parent
WEIGHTS = ROOT / "weights"
CARD = WEIGHTS / "MODEL_CARD.md"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def measured() -> dict:
    """Both cards' figures in one record, as `measure` had them before it wrote the cards."""
    detector = read_card(WEIGHTS / "detector.json", DetectorCard).results["measured"]
    classifier = read_card(WEIGHTS / "classifier.json", ClassifierCard).results["measured"]
    assert detector["faces_sha256"] == classifier["faces_sha256"]
    sources = [name for name, figures in detector.items() if isinstance(figures, dict)]
    return {source: {**classifier[source], **detector[source]} for source in sources}


def test_results_tables_are_those_of_the_cards():
    table = describe_results(measured())
    assert table in CARD.read_text(encoding="utf-8")
    text = README.split("neither had learnt from")[1].split("These photos")[0]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4
    assert set(rows) <= set(table.splitlines())


def test_readme_is_for_the_first_ten_minutes():
    assert len(README.splitlines()) <= 150


def test_links_lead_somewhere():
    packages = [ROOT / name for name in ("data_prep", "evaluate", "pipeline")]
    readmes = [path for package in packages for path in package.rglob("README.md")]
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", CARD, *readmes):
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_what_commands_of_readmes_write_is_ignored():
    named = {"clean-effect", "prepared", "runs"}  # As the commands call it if not told.
    folders = (ROOT / name for name in ("data_prep", "evaluate", "pipeline", "weights"))
    for page in (
        *ROOT.glob("*.md"),
        *(page for folder in folders for page in folder.rglob("*.md")),
    ):
        text = page.read_text(encoding="utf-8")
        named |= set(re.findall(r"(?:-o|--out|--reports|--ledger) ([a-z][\w.-]*)", text))
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {f"/{name}" for name in named - {"requirements.txt"}} <= {
        line.rstrip("/") for line in ignored
    }


def test_commands_of_the_readme_are_there():
    named = set(re.findall(r"\btrimask ([a-z][a-z-]+)", README))
    assert {"run", "build", "train", "suspects", "review", "evaluate"} <= named <= {*COMMANDS}


def test_shipped_weights_match_their_cards():
    assert load_weights(WEIGHTS / "detector.safetensors", DetectorCard)[1].negative_slope == 0.1
    assert load_weights(WEIGHTS / "classifier.safetensors", ClassifierCard)[1].input_size == 128
