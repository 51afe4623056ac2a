"""environment.yml, requirements.txt and pyproject.toml name the same packages and versions."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PIN = re.compile(
    r"^\s*(?:- )?([A-Za-z0-9._-]+)==([^\s;]+)(?: ; (.*?))?(?: \\\n((?: +--hash=.*\n)+).*)?$",
    re.MULTILINE,
)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")
TRIED = ("onnx", "openvino", "train", "video", "web")  # Extras that tests use.


def pins_for_python_311(text: str) -> dict[str, str]:
    pins = {}
    for name, version, marker, _ in PIN.findall(text):
        if not re.search(r"python_full_version >= '3\.1[2-9]'", marker):
            pins[name.lower()] = version
    return pins


def named_packages() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    entries = [
        *project["project"]["dependencies"],
        *project["dependency-groups"]["dev"],
        *(entry for extra in TRIED for entry in extras[extra]),
    ]
    return {re.match(r"[A-Za-z0-9._-]+", entry)[0].lower() for entry in entries}


def test_environment_pins_are_those_of_requirements():
    conda = pins_for_python_311((ROOT / "environment.yml").read_text())
    pip = pins_for_python_311((ROOT / "requirements.txt").read_text())
    assert set(conda) == named_packages()
    assert conda == {name: pip[name] for name in conda}


@pytest.mark.parametrize(("name", "least"), [("requirements", 100), ("requirements-base", 40)])
def test_make_installs_nothing_without_a_hash(name, least):
    text = (ROOT / f"{name}.txt").read_text()
    pins = PIN.findall(text)
    assert len(pins) == len(re.findall(r"^[^ #]", text, re.MULTILINE)) > least
    assert not [name for name, _, _, hashes in pins if not HASH.search(hashes)]
    makefile = (ROOT / "Makefile").read_text()
    assert "--require-hashes\n" in makefile
    assert f"$(INSTALL) -r {name}.txt" in makefile


def test_base_is_a_part_of_the_whole_without_what_trains():
    base, whole = (
        set(PIN.findall((ROOT / f"{name}.txt").read_text()))
        for name in ("requirements-base", "requirements")
    )
    assert {pin[:2] for pin in base} <= {pin[:2] for pin in whole}
    names = {name for name, *_ in base}
    assert "onnxruntime" in names
    assert names.isdisjoint({"torch", "torchvision", "fastai"})


def test_base_has_nothing_that_its_packages_do_not_need():
    text = (ROOT / "requirements-base.txt").read_text()
    needed_by = {
        pin.partition("==")[0]: set(re.findall(r"^ +#(?: via)? +([a-z0-9-]+)", pin, re.MULTILINE))
        for pin in re.split(r"\n(?=\S)", text)
    }
    direct = {name for name, needs in needed_by.items() if "trimask" in needs}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert direct == {re.match(r"[a-z0-9-]+", entry)[0] for entry in project["dependencies"]}
    reached, before = direct, set()
    while reached != before:
        before = reached
        reached = before | {name for name, needs in needed_by.items() if needs & before}
    assert reached == set(needed_by)
    assert reached.isdisjoint({"faster-coco-eval", "scikit-learn", "scipy"})


def test_contributing_tells_how_requirements_are_made():
    told = (ROOT / "CONTRIBUTING.md").read_text()
    assert "--generate-hashes" in told
    assert set(re.findall(r"--extra (\w+)", told)) == set(TRIED)


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
