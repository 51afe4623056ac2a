"""The house keeps its shape: sizes of files and rooms, and arrows that point one way."""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PACKAGES = ("data_prep", "evaluate", "pipeline")
FILES = sorted(
    [
        *(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")),
        ROOT / "run.py",
        ROOT / "trimask.py",
    ]
)
FLOORS = (
    ("nets",),
    ("inference", "runs"),
    ("drawing", "review"),
    ("training",),
    ("cleaning",),
    ("experiments", "serve"),
    ("cli",),
)
"""Rooms of `pipeline` from the ground up: a room imports from floors below it, and `inference`
nothing of `runs`."""


def lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def imports(path):
    """Modules of ours that a file imports anywhere in it, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room(module):
    return ".".join(module.split(".")[:2])


def test_no_file_is_too_long_and_there_are_not_too_many():
    assert {path.name: lines(path) for path in FILES if lines(path) > 450} == {}
    assert len(FILES) <= 190
    assert sum(map(lines, FILES)) <= 28_000


@pytest.mark.parametrize(
    ("package", "others"),
    [("data_prep", ("evaluate", "pipeline")), ("evaluate", ("pipeline",))],
)
def test_packages_point_one_way(package, others):
    found = [
        f"{path.relative_to(ROOT)}: {module}"
        for path in (ROOT / package).rglob("*.py")
        for module in imports(path)
        if module.split(".")[0] in others
    ]
    assert found == []


def test_base_imports_nothing_of_ours():
    found = [
        f"{path.name}: {module}"
        for path in (ROOT / "data_prep" / "base").rglob("*.py")
        for module in imports(path)
        if module.split(".")[0] in PACKAGES and room(module) != "data_prep.base"
    ]
    assert found == []


def test_rooms_of_pipeline_import_from_floors_below():
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    found = []
    for path in (ROOT / "pipeline").rglob("*.py"):
        parts = path.relative_to(ROOT / "pipeline").with_suffix("").parts
        if parts[0] in {"__init__", "__main__"}:
            continue
        for module in imports(path):
            if not module.startswith("pipeline."):
                continue
            other = module.split(".")[1]
            if other != parts[0] and floor[other] >= floor[parts[0]]:
                found.append(f"{'/'.join(parts)}: {module}")
    assert found == []


def test_counts_are_told_by_tell_which_knows_the_singular():
    nouns = r"photo|face|boxe|file|video|frame|training|seed|decision|prediction|group"
    counted = re.compile(rf"(?<! of )\{{[^{{}}]*\}}\}}? (?:{nouns})s\b")
    pages = [path for package in PACKAGES for path in (ROOT / package).rglob("templates/*.html")]
    texts = [path.read_text(encoding="utf-8") for path in [*FILES, *pages]]
    never_one = {"{len(photos)} photos", "{count} photos", "{folds} faces", "{len(options)} photos"}
    never_one |= {"{of} decisions", "{tell(len(first - second), verb='has/have')} predictions"}
    assert {found[0] for text in texts for found in counted.finditer(text)} <= never_one


def test_workflow_for_forks_calls_the_make_targets_everywhere():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    job = workflow["jobs"]["check"]
    assert job["strategy"]["matrix"] == {
        "os": ["ubuntu-latest", "macos-latest", "windows-latest"],
        "python": ["3.11", "3.12", "3.13"],
    }
    steps = [step["run"].split()[:2] for step in job["steps"] if "run" in step]
    assert steps == [["make", "lint"], ["make", "type-check"], ["make", "test"]]
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for _, target in steps)
