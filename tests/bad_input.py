"""Bad input and what one gets: one list that tests go through and a page is made of.

`python -m tests.bad_input` (`make bad-input`) writes the page; the tests hold it current.
"""

import contextlib
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner, Result

from data_prep.cli import app as data_prep
from evaluate.cli import app as evaluate
from tests.makers import make_dataset, make_photo

PAGE = Path(__file__).parents[1] / "data_prep" / "BAD_INPUT.md"
TOLD = ("error: ", "left out: ", "note: ", "findings  ")  # Lines that count.
HEAD = """# Bad input, and what one gets

Made by `make bad-input` of the cases of `tests/bad_input.py`, each of which is a test. Exit code 0:
all done, maybe with a note. 1: done, but what is named was left out. 2: not done. Only the first
line is shown here. No input makes a traceback, and none is ever changed; `make fuzz` tries others.

| input | command | exit | one is told |
|---|---|---|---|"""

VOC = "convert set -o out --to csv"
YOLO = "convert yolo -o out --to csv"
COCO = "convert coco -o out --to csv"
CSV = "convert csv -o out --to yolo"


@dataclass(frozen=True)
class Case:
    """One bad input: how it is made of good ones, a command, and its exit code."""

    what: str
    spoil: Callable[[Path], object]
    command: str
    code: int


def write(name: str, content: str | bytes) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return spoil


def change(name: str, *pairs: tuple[str, str]) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        text = (root / name).read_text()
        for old, new in pairs:
            assert old in text, old
            text = text.replace(old, new, 1)
        (root / name).write_text(text)

    return spoil


def truncate(name: str, share: float) -> Callable[[Path], object]:
    def spoil(root: Path) -> None:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: int(share * len(data))])

    return spoil


def remove(name: str) -> Callable[[Path], object]:
    return lambda root: (root / name).unlink()


def make_good(root: Path) -> None:
    """Small datasets, tables and lists, all of them good."""
    make_dataset(root / "set", photos=3)
    for name in ("yolo", "coco", "csv"):
        for stem in "ab":
            make_photo(root / name / "images" / f"{stem}.jpg", seed=ord(stem))
    write("yolo/data.yaml", "names: [with_mask, without_mask]\n")(root)
    for stem in "ab":
        write(f"yolo/labels/{stem}.txt", "0 0.5 0.5 0.2 0.3\n1 0.2 0.3 0.1 0.1\n")(root)
    record = {
        "images": [{"id": n, "file_name": f"images/{s}.jpg"} for n, s in ((1, "a"), (2, "b"))],
        "categories": [{"id": 1, "name": "with_mask"}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [10, 10, 30, 30]} for n in (1, 2)
        ],
    }
    write("coco/annotations.json", json.dumps(record, indent=1))(root)
    rows = ["filename,class,xmin,ymin,xmax,ymax", "a.jpg,with_mask,10,10,40,50"]
    write("csv/faces.csv", "\n".join([*rows, "b.jpg,without_mask,5,5,50,60", ""]))(root)
    head = "image,xmin,ymin,xmax,ymax,label,score,detection"
    found = "images/photo0.jpg,10,12,30,40,with_mask,0.8,0.9"
    write("predictions.csv", f"{head}\n{found}\n")(root)
    write("recode.toml", '[sources.one]\npath = "set"\n')(root)


XML = "set/annotations/photo0.xml"
EVALUATE = "evaluate set predictions.csv -o out"
LEDGER = "build set -o out --decisions decisions.jsonl"

CASES = [
    Case(
        "an annotation that is cut off",
        truncate(XML, 0.5),
        VOC,
        1,
    ),
    Case(
        "an empty annotation",
        write(XML, ""),
        VOC,
        1,
    ),
    Case(
        "entities that unfold without end",
        write(XML, '<!DOCTYPE a [<!ENTITY x "aa">]><annotation>&x;</annotation>'),
        VOC,
        1,
    ),
    Case(
        "tags nested 20,000 deep",
        write(XML, "<a>" * 20_000),
        VOC,
        1,
    ),
    Case(
        "a box whose sides are turned round",
        change(XML, ("<xmin>10<", "<xmin>90<")),
        VOC,
        1,
    ),
    Case(
        "a box that reaches over the border",
        change(XML, ("<xmax>30<", "<xmax>160<")),
        VOC,
        0,
    ),
    Case(
        "a box outside its photo",
        change(XML, ("<xmin>10<", "<xmin>400<"), ("<xmax>30<", "<xmax>460<")),
        VOC,
        1,
    ),
    Case(
        "a coordinate that is no number",
        change(XML, ("<xmin>10<", "<xmin>nan<")),
        VOC,
        1,
    ),
    Case(
        "a coordinate of 400 digits",
        change(XML, ("<xmin>10<", f"<xmin>{10**399}<")),
        VOC,
        1,
    ),
    Case(
        "a face without a class",
        change(XML, ("<name>with_mask<", "<name> <")),
        VOC,
        1,
    ),
    Case(
        "a class that isn't known",
        change(XML, ("<name>with_mask<", "<name>maskk<")),
        "build set -o out",
        2,
    ),
    Case(
        "an annotation without a photo",
        remove("set/images/photo0.jpg"),
        VOC,
        1,
    ),
    Case(
        "another photo's size",
        change(XML, ("<width>120<", "<width>640<")),
        VOC,
        0,
    ),
    Case(
        "a photo that is a text file",
        write("set/images/photo0.jpg", "no photo"),
        VOC,
        0,
    ),
    Case(
        "a HEIC photo called .jpg",
        write("set/images/photo0.jpg", b"\0\0\0\x18ftypheic" + bytes(80)),
        "audit set -o out",
        1,
    ),
    Case(
        "a photo of 0 bytes",
        write("set/images/photo0.jpg", b""),
        "audit set -o out",
        1,
    ),
    Case(
        "a photo that lacks its end",
        truncate("set/images/photo0.jpg", 0.6),
        "audit set -o out",
        1,
    ),
    Case(
        "a folder without annotations",
        lambda root: [p.unlink() for p in (root / "set/annotations").iterdir()],
        VOC,
        2,
    ),
    Case(
        "a folder that isn't there",
        lambda root: None,
        "convert gone -o out --to csv",
        2,
    ),
    Case(
        "letters where YOLO has numbers",
        write("yolo/labels/a.txt", "0 a b c d\n"),
        YOLO,
        1,
    ),
    Case(
        "pixels where YOLO has shares",
        write("yolo/labels/a.txt", "0 50 40 20 30\n"),
        YOLO,
        1,
    ),
    Case(
        "a number of a class without a name",
        write("yolo/labels/a.txt", "7 0.5 0.5 0.2 0.3\n"),
        YOLO,
        1,
    ),
    Case(
        "no class names",
        remove("yolo/data.yaml"),
        YOLO,
        2,
    ),
    Case(
        "class names that are no YAML",
        write("yolo/data.yaml", "names: [a, {b"),
        YOLO,
        2,
    ),
    Case(
        "JSON that is cut off",
        truncate("coco/annotations.json", 0.7),
        COCO,
        2,
    ),
    Case(
        "JSON nested 20,000 deep",
        write("coco/annotations.json", "[" * 20_000),
        COCO,
        2,
    ),
    Case(
        "a box of three numbers",
        change("coco/annotations.json", ("30,\n    30\n", "30\n")),
        COCO,
        1,
    ),
    Case(
        "a category that isn't listed",
        change("coco/annotations.json", ('"category_id": 1', '"category_id": 9')),
        COCO,
        1,
    ),
    Case(
        "an annotation of no image",
        change("coco/annotations.json", ('"image_id": 1', '"image_id": 77')),
        COCO,
        1,
    ),
    Case(
        "a key that is there twice",
        change("coco/annotations.json", ('"categories"', '"images": [], "categories"')),
        COCO,
        2,
    ),
    Case(
        "a column that is there twice",
        change("csv/faces.csv", ("xmin", "xmin,xmin"), (",10", ",10,10"), (",5", ",5,5")),
        CSV,
        2,
    ),
    Case(
        "a table without a column for boxes",
        change("csv/faces.csv", ("xmin", "left_side")),
        CSV,
        2,
    ),
    Case(
        "a row with too many cells",
        change("csv/faces.csv", ("40,50", "40,50,60")),
        CSV,
        1,
    ),
    Case(
        "commas in decimals",
        change("csv/faces.csv", ("10,10,40,50", '"10,5",10,40,50')),
        CSV,
        1,
    ),
    Case(
        "a quote that is not closed",
        change("csv/faces.csv", ("a.jpg", '"a.jpg')),
        CSV,
        2,
    ),
    Case(
        "a table in UTF-16 without a mark",
        write("csv/faces.csv", "filename,class\na.jpg".encode("utf-16-le")),
        CSV,
        2,
    ),
    Case(
        "a score in percent",
        change("predictions.csv", (",0.8,0.9", ",80,90")),
        EVALUATE,
        2,
    ),
    Case(
        "a table of predictions that is empty",
        write("predictions.csv", ""),
        EVALUATE,
        2,
    ),
    Case(
        "predictions without a column",
        change("predictions.csv", (",score", ",points")),
        EVALUATE,
        2,
    ),
    Case(
        "predictions for other photos",
        change("predictions.csv", ("photo0.jpg", "zzz.jpg")),
        EVALUATE,
        2,
    ),
    Case(
        "a decision that is no JSON",
        write("decisions.jsonl", "{\n"),
        LEDGER,
        2,
    ),
    Case(
        "a decision without a key",
        write("decisions.jsonl", "{}\n"),
        LEDGER,
        2,
    ),
    Case(
        "a table of a merge that is no TOML",
        write("recode.toml", "a = ["),
        "merge recode.toml -o out",
        2,
    ),
    Case(
        "a key that a merge doesn't know",
        write("recode.toml", '[sources.one]\npaht = "set"\n'),
        "merge recode.toml -o out",
        2,
    ),
    Case(
        "an output folder with other files",
        write("out/notes.txt", "mine"),
        VOC,
        2,
    ),
    Case(
        "an output folder in the dataset",
        lambda root: None,
        "convert set --to csv --out=set/out",
        2,
    ),
    Case(
        "an output folder that is a file",
        write("out", "a file"),
        VOC,
        2,
    ),
]


def run(case: Case) -> tuple[Result, str]:
    """Try a case in the current folder, an empty one; the line of the terminal that counts."""
    make_good(Path())
    case.spoil(Path())
    name, *arguments = case.command.split()
    app = evaluate if name == "evaluate" else data_prep
    result = CliRunner().invoke(app, arguments if app is evaluate else [name, *arguments])
    lines = [line for line in result.output.splitlines() if line.startswith(TOLD)]
    line = (lines or ["nothing"])[0].replace(f"{Path.cwd()}/", "")
    line = re.sub("no VOC annotation.*? below it", "nothing in a known format", line)
    return result, line if len(line) < 300 else f"{line[:300]}…"


def to_row(case: Case, line: str) -> str:
    """A case's row of the page."""
    cells = [case.what, f"`{case.command}`", str(case.code), re.sub(r"([|<])", r"\\\1", line)]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Write the page anew."""
    rows = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            rows.append(to_row(case, run(case)[1]))
    PAGE.write_text("\n".join([HEAD, *rows, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
