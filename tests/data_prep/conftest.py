"""Running the command line inside the test's own process."""

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from data_prep.base.tables import read_faces
from data_prep.cli import app
from tests.data_prep.checks import GOOD
from tests.makers import hash_tree


@pytest.fixture
def run() -> Callable[..., Result]:
    """Call `python -m data_prep`; an error that is not explained in one line fails the test."""

    def call(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert "Traceback" not in result.output
        return result

    return call


@pytest.fixture
def checked_build(dataset, tmp_path, run):
    """Build the dataset; checks what holds in every case."""

    def call(*options):
        before = hash_tree(dataset)
        result = run("build", dataset, "-o", tmp_path / "out", "--workers", 1, *options)
        assert hash_tree(dataset) == before
        if result.exit_code == 2:
            assert not (tmp_path / "out").exists()
            assert len(result.stderr.strip().splitlines()[-1:]) == 1
            return result, None
        faces = read_faces(tmp_path / "out")
        assert (faces["image"].str.match(r"images/photo\d\.jpg")).sum() == GOOD
        assert all((tmp_path / "out" / crop).is_file() for crop in faces["crop"])
        page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
        for line in result.stderr.splitlines():
            if line.startswith("left out: "):
                name = line.removeprefix("left out: ").split(":")[0]
                assert name.replace("&", "&amp;").replace("'", "&#39;") in page
        return result, faces

    return call
