"""The notebooks run from their first to their last cell, on painted faces."""

import ast
import json
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest

from pipeline.runs import workers
from pipeline.training import learner

NOTEBOOKS = Path(learner.__file__).parent / "notebooks"

TINY = {
    "train": {
        "recipe": "fast",
        "changes": {"drawn": 0.0, "batch_size": 9},
        "size": 32,
        "larger": 48,
        "epochs": 1,
        "epochs_larger": 1,
    },
    "clean": {
        "changes": ["sizes=[32]", "epochs=[1]", "batch_size=8", "bf16=off"],
        "folds": 2,
        "seen": {"1": "without_mask"},
    },
}


def test_every_notebook_is_run_here_and_holds_no_output():
    assert {path.stem for path in NOTEBOOKS.iterdir()} == TINY.keys()
    for path in NOTEBOOKS.iterdir():
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert len({cell["id"] for cell in cells}) == len(cells)
        for cell in cells:
            assert cell["cell_type"] == "markdown" or not cell["outputs"]
            assert cell.get("execution_count") is None


def run(name):
    """Run the cells one after the other, as Jupyter does; gives the names they made."""
    names = {"__name__": "__main__"}
    for cell in json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            exec(compile(source, f"{name}.ipynb", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", []):
            made = {target.id for target in ast.walk(ast.parse(source)) if is_made(target)}
            assert made >= TINY[name].keys()
            names.update(TINY[name])
    mpl.pyplot.close("all")
    return names


def is_made(node):
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


@pytest.fixture(autouse=True)
def place(prepared, tmp_path, monkeypatch):
    """A folder with the dataset and the prepared folder that the notebooks name."""
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    monkeypatch.setattr(
        workers, "count_cores", lambda _: 1
    )  # other processes take seconds to start
    (tmp_path / "prepared").symlink_to(prepared)
    (tmp_path / "faces").symlink_to(prepared.parent / "set")


@pytest.mark.filterwarnings("ignore")
def test_train_and_interpret(tmp_path):
    names = run("train")
    assert names["learn"].dls.valid.one_batch()[0].shape[-1] == 48
    assert names["interpretation"].confusion_matrix().sum() == 12
    assert len(names["model"].predict(names["trimask"].EXAMPLE)) == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "nothing unless asked for"


@pytest.mark.filterwarnings("ignore")
def test_clean_labels(prepared):
    names = run("clean")
    first = names["table"].iloc[0]
    key = ["source", "image", "object"]
    faces = [pd.read_csv(folder / "faces.csv") for folder in (prepared, Path("cleaned"))]
    before, after = (table.set_index(key)["label"] for table in faces)
    before[tuple(first[key])] = "without_mask"
    pd.testing.assert_series_equal(after, before.loc[after.index])
