"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

from tests.makers import make_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A folder `faces` with ten good photos and twenty faces."""
    return make_dataset(tmp_path / "faces")
