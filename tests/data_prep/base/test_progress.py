"""Progress on standard error."""

import pytest

from data_prep.base import progress
from data_prep.base.progress import LINES, show_progress


@pytest.fixture
def slow(monkeypatch):
    """Every pass counts as long."""
    monkeypatch.setattr(progress, "QUIET", 0.0)


def test_quick_work_says_nothing(capsys):
    assert list(show_progress("abc", 3, "reading")) == list("abc")
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("slow")
def test_items_pass_unchanged_and_standard_output_stays_clean(capsys):
    assert list(show_progress(iter(range(100)), 100, "reading")) == list(range(100))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == LINES
    assert shown.err.splitlines()[-1].startswith("reading: 100/100 in ")


@pytest.mark.usefixtures("slow")
def test_few_items_give_few_lines(capsys):
    list(show_progress("abc", 3, "reading"))
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_nothing_to_do_says_nothing(capsys):
    assert list(show_progress([], 0, "reading")) == []
    assert capsys.readouterr().err == ""
