"""What holds for every build of a good dataset with something odd added to it."""

from tests.makers import make_voc

GOOD = 20
"""Faces of the dataset fixture, which are in the result whatever else is in the folder."""


def assert_left_out(outcome, *words):
    result, faces = outcome
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("left out: ")]
    for word in words:
        assert word in line
    assert len(faces) == GOOD


def assert_done(outcome, extra=1):
    result, faces = outcome
    assert result.exit_code == 0
    assert "left out" not in result.stderr
    assert len(faces) == GOOD + extra
    return faces


def annotate(dataset, photo, **options):
    return make_voc(dataset / "annotations" / "odd.xml", photo, **options)
