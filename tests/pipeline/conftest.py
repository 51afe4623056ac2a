"""A prepared folder for the tests of the pipeline."""

from pathlib import Path

import pytest

from data_prep.build import BuildOptions, build
from tests.pipeline.makers import paint_dataset


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """A folder prepared from sixteen painted photos with three faces each."""
    folder = tmp_path_factory.mktemp("painted")
    out = folder / "prepared"
    build([paint_dataset(folder / "set", 16)], out, BuildOptions(blur_rule="none"), workers=1)
    return out
