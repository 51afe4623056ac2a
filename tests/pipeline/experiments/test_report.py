"""The text of a comparison from figures that are known."""

from pipeline.experiments.compare import Compared
from pipeline.experiments.compare_report import describe, show, write_report
from pipeline.experiments.systems import System

FIGURES = {
    "photos": 4,
    "faces": 12,
    **{
        name: [0.5, 0.25, 0.75]
        for name in ("map50", "map50_95", "accuracy", "macro_recall", "precision", "recall")
    },
    **{name: [0.9, 0.8, 1.0] for name in ("two_map50", "tnr", "fnr", "auc")},
}


def compared(name, recipe=None, seconds=0.02, figures=None, drawn=None, **options):
    return Compared(
        system=System(name, recipe, **options),
        classes=3,
        figures={"set": figures or FIGURES},
        drawn=drawn,
        minutes=1.26,
        megabytes=2.25,
        seconds=seconds,
        run="001",
    )


def test_tables_of_costs_and_figures():
    some = [compared("default", "default"), compared("other", seconds=0.03, claim="a claim")]
    text = describe(some)
    assert "| `default` | 3 | – | 1.3 | 2.2 | 20 | 1.00 × |" in text
    assert "| `other` | 3 | a claim | 1.3 | 2.2 | 30 | 1.50 × |" in text
    assert "set, 4 validation photos, 12 faces:" in text
    row = next(line for line in text.splitlines() if line.startswith("| `other` | 0.5"))
    assert row.count("0.500 (0.250 to 0.750)") == 6
    assert row.count("0.900 (0.800 to 1.000)") == 4


def test_leak_stands_beside_the_honest_split():
    leak = {"photos": 4, "faces": 9, "accuracy": [0.8, 0.7, 0.9], "macro_recall": None}
    some = [
        compared("sams", "sams"),
        compared("sams-by-crop", "sams", seconds=None, figures=leak, by_crop=True),
    ]
    text = describe(some)
    assert text.splitlines()[-1] == (
        "`sams`, crop accuracy on a split by crop: set (9 faces) 0.800 (0.700 to 0.900), by photo "
        "group 0.500 (0.250 to 0.750)."
    )
    assert "| `sams-by-crop` |" not in text
    alone = describe(some[1:])
    assert alone.endswith("set (9 faces) 0.800 (0.700 to 0.900).")


def test_drawn_masks_are_told_apart():
    drawn = {"faces": 8, **{name: [1.0, 1.0, 1.0] for name in ("accuracy", "tnr", "fnr", "auc")}}
    text = describe([compared("roots", "roots", drawn=drawn)])
    assert "`roots` on 8 bare validation faces with and without a drawn mask" in text
    assert "accuracy 1.000 (1.000 to 1.000), TNR 1.000" in text


def test_figure_that_is_not_defined():
    assert show(None) == "–"
    assert show([0.12345, 0.1, 0.2]) == "0.123 (0.100 to 0.200)"


def test_nothing_but_splits_by_crop_has_no_plot(tmp_path):
    leak = {"photos": 4, "faces": 9, "accuracy": [0.8, 0.7, 0.9], "macro_recall": None}
    write_report([compared("a", "a", None, leak, by_crop=True)], tmp_path)
    assert not (tmp_path / "compare.png").exists()
    write_report([compared("a", "a")], tmp_path)
    assert (tmp_path / "compare.png").stat().st_size > 5000
