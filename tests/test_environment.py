"""environment.yml, requirements.txt and pyproject.toml name the same packages and versions."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PIN = re.compile(r"^\s*(?:- )?([A-Za-z0-9._-]+)==([^\s;]+)(?:\s*;\s*(.*))?$", re.MULTILINE)


def pins_for_python_311(text: str) -> dict[str, str]:
    pins = {}
    for name, version, marker in PIN.findall(text):
        if not re.search(r"python_full_version >= '3\.1[2-9]'", marker):
            pins[name.lower()] = version
    return pins


def named_packages() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    entries = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    return {re.match(r"[A-Za-z0-9._-]+", entry)[0].lower() for entry in entries}


def test_environment_pins_are_those_of_requirements():
    conda = pins_for_python_311((ROOT / "environment.yml").read_text())
    pip = pins_for_python_311((ROOT / "requirements.txt").read_text())
    assert set(conda) == named_packages()
    assert conda == {name: pip[name] for name in conda}


def test_python_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "python=3.11" in (ROOT / "environment.yml").read_text()
    assert project["project"]["requires-python"] == ">=3.11"


def test_no_registry_is_named():
    for name in ("environment.yml", "requirements.txt", "pyproject.toml"):
        assert "://" not in (ROOT / name).read_text(), name


def test_top_level_is_the_agreed_one():
    agreed = {"data_prep", "pipeline", "evaluate", "weights", "tests"}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= agreed
