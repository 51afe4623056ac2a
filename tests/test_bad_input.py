"""What bad input gets, case by case, is what the page of it says."""

from pathlib import Path

import pytest

from tests.bad_input import CASES, HEAD, PAGE, make_good, run, to_row

GOOD = ("set", "yolo", "coco", "csv")


def read_all(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*.*")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_bad_input_gets_what_the_page_says(case, tmp_path, monkeypatch):
    monkeypatch.setattr("data_prep.prepare.page.to_uri", lambda _: "data:image/png;base64,")
    for name in ("expected", "given"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "expected")
    make_good(Path())
    case.spoil(Path())
    monkeypatch.chdir(tmp_path / "given")
    result, line = run(case)
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    assert result.exit_code == case.code
    assert to_row(case, line) in PAGE.read_text(encoding="utf-8").splitlines(), "make bad-input"
    for name in GOOD:
        assert read_all(Path(name)) == read_all(tmp_path / "expected" / name)


def test_page_has_nothing_else():
    page = PAGE.read_text(encoding="utf-8")
    assert page.startswith(HEAD)
    assert len(page.splitlines()) == len(HEAD.splitlines()) + len(CASES)
    assert len({case.what for case in CASES}) == len(CASES)
