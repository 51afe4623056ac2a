"""The Dockerfile, read: it runs as nobody in particular, and copies only what the wheel needs."""

import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def steps():
    """Instructions and their texts; lines that go on are joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], " ".join(line.split()[1:])) for line in lines]


def texts(steps, name):
    return [text for step, text in steps if step == name]


def test_what_is_copied_is_what_the_wheel_is_made_of(steps):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    copied = {
        name for text in texts(steps, "COPY") if "--from" not in text for name in text.split()
    }
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*wheel["only-include"], project["project"]["readme"], "pyproject.toml"} <= copied
    assert {name.split("/")[0] for name in wheel["force-include"]} <= copied
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert ignored[1] == "*"
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert kept == {name for name in copied if name != "./"}
    assert all((ROOT / name).exists() for name in kept)
    assert not any(fnmatch(name, pattern) for name in kept for pattern in (".git*", "*.env"))


def test_it_runs_as_no_one_and_tells_its_health(steps):
    names = [step for step, _ in steps]
    assert names.count("FROM") == 2
    last = steps[len(names) - names[::-1].index("FROM") - 1 :]
    assert texts(last, "USER") == ["10001"]
    assert last.index(("USER", "10001")) > max(
        i for i, (step, _) in enumerate(last) if step == "RUN"
    )
    assert json.loads(texts(last, "ENTRYPOINT")[0]) == ["trimask", "serve", "--host", "0.0.0.0"]
    (health,) = texts(last, "HEALTHCHECK")
    command = json.loads(health[health.index("[") :])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "healthcheck", "exec")
    (port,) = texts(last, "EXPOSE")
    assert f":{port}/healthz" in command[2]
    assert f"PORT = {port}\n" in (ROOT / "pipeline/serve/command.py").read_text()


def test_no_token_and_no_other_host_stands_in_it(steps):
    told = " ".join(text for _, text in steps)
    assert "TOKEN" not in told
    assert re.findall(r"https?://[^/\s']+", told) == ["http://127.0.0.1:8378"]
