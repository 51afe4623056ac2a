"""One thread for the trainings of these tests."""

import pytest


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    pass
