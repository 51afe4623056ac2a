"""Running the command line inside the test's own process."""

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from data_prep.cli import app


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


@pytest.fixture(autouse=True)
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds without the plots of their pages, which take most of their time."""
    monkeypatch.setattr("data_prep.prepare.page.to_uri", lambda _: "data:image/png;base64,")
