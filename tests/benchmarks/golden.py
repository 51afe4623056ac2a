"""What the command lines give on real data, recorded; and two such records compared.

A refactoring must not change what users get. This runs the checkout in the current folder through
its command lines alone, so that the same script records the code before and after:

    python -m tests.benchmarks.golden record DIR [--only STEP]
    python -m tests.benchmarks.golden compare DIR_A DIR_B

Data are read from `../shared` beside the checkout. What the commands write lies whole in
`DIR/.work`; recorded are text files, weights, and hashes of all else. Paths, seconds and hashes of
code, which differ from run to run, are blanked. Finished steps are not done again.

On one machine a second record is equal to the byte, weights of trainings too. On another processor
the nets are not: whether they use bfloat16 is decided by it. So record both sides on one machine.
A CSV that gained or lost a row is told by its number of rows; all values behind that row differ.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Callable
from pathlib import Path

from golden_compare import compare
from golden_recorder import Recorder

FORMATS = ("voc", "yolo", "coco", "csv", "crops")
SETS = ("facemask", "ilc")


def do_help(r: Recorder) -> None:
    r.run("run", "run.py --help")
    for package in ("data_prep", "pipeline", "evaluate"):
        listed = r.run(package, f"{package} --help")
        for command in re.findall(r"(?m)^│ ([a-z][\w-]*) ", listed):
            r.run(f"{package}-{command}", f"{package} {command} --help")


def do_build(r: Recorder) -> None:
    for name in ("build", "again"):
        r.run(name, "data_prep build shared/data/facemask shared/data/ilc -o build/prepared")
    r.keep("prepared")
    rows = list(csv.DictReader((r.work / "build/prepared/faces.csv").open(encoding="utf-8")))
    for name in SETS:
        valid = {x["image"] for x in rows if x["source"] == name and x["split"] == "valid"}
        r.copy(name, sorted(valid), f"valid/{name}", annotated=False)
        r.copy(name, sorted(valid), f"annotated/{name}")
        (r.out / ".part" / f"{name}.photos.txt").write_text("\n".join(sorted(valid)))


def do_small(r: Recorder) -> None:
    r.copy("facemask", r.photos("facemask", 60), "facemask")
    r.copy("ilc", r.photos("ilc", 30), "ilc")
    sets = "small/facemask small/ilc"
    ledger = "<root>/data_prep/ledgers/facemask-ilc.jsonl"
    decided = f"-o small/decided --decisions {ledger} --blur none"
    r.run("build", f"data_prep build {sets} -o small/prepared")
    r.run("decided", f"data_prep build {sets} {decided}")
    r.run("audit", f"data_prep audit {sets} -o small/audit")
    sources = [f'[sources.{name}]\npath = "{name}"\nlicence = "none stated"\n' for name in SETS]
    (r.work / "small/recode.toml").write_text("".join(sources))
    r.run("merge", "data_prep merge small/recode.toml -o small/merged")
    for name in ("prepared", "decided", "audit", "merged"):
        r.keep(name)


def do_predict(r: Recorder) -> None:
    for name in SETS:
        photos = f"build/valid/{name}"
        r.run(f"all-{name}", f"run.py {photos} -o predict/all-{name} --thresh 0.02 --no-draw")
        r.run(name, f"run.py {photos} -o predict/{name}")
        r.keep(f"all-{name}")
        r.keep(name)
    r.run("classify", "pipeline classify build/prepared -o predict/crops.csv")
    r.keep("crops.csv")


def do_evaluate(r: Recorder) -> None:
    counted = "--inclusive --eleven-point --all-classes --iou 0.3 --incorrect leave-out"
    for name in SETS:
        table, split = f"predict/all-{name}/predictions.csv", f"--split valid --source {name}"
        given = f"evaluate build/prepared {table} {split} -o evaluate"
        other = f"--against predict/{name}/predictions.csv --crops predict/crops.csv"
        r.run(name, f"{given}/{name}")
        r.run(f"{name}-options", f"{given}/{name}-options {counted} {other}")
        for kept in ("", "-options"):
            r.keep(f"{name}{kept}")


def do_convert(r: Recorder) -> None:
    r.copy("facemask", r.photos("facemask", 60), "start")
    for source in ("", *FORMATS):
        for to in FORMATS:
            name = f"{source}-{to}".strip("-")
            where = f"convert/{source or 'start'}"
            r.run(name, f"data_prep convert {where} -o convert/{name} --to {to}")
            r.keep(name)


def do_truths(r: Recorder) -> None:
    start, table = "build/annotated/facemask", "predict/all-facemask/predictions.csv"
    for to in ("yolo", "coco", "csv"):
        r.run(f"to-{to}", f"data_prep convert {start} -o truths/{to} --to {to}")
    found = sorted(p for p in (r.work / "truths/coco").rglob("*.json") if p.name != "convert.json")
    coco = found[0].relative_to(r.work).as_posix() if found else "truths/coco"
    written = "evaluate/facemask-boxes"
    given = {
        "voc": f"{start} {table}",
        "coco": f"{coco} {table}",
        "yolo": f"truths/yolo {table}",
        "csv": f"truths/csv {table}",
        "faces": f"build/prepared/faces.csv {table} --split valid --source facemask",
        "text": f"{written}/groundtruths {written}/detections",
    }
    for name, sides in given.items():
        r.run(name, f"evaluate {sides} -o truths/by-{name}")
        r.keep(f"by-{name}/metrics.json")


def do_train(r: Recorder) -> None:
    train = "-o train/runs --recipe"
    steps = "--set steps=10 --set validate_every=5 --set batch_size=4"
    start = "--start <root>/weights/detector.safetensors"
    for name, more in (("fast", "--set sizes=[64,96] --set epochs=[1,1]"),):
        r.run(name, f"pipeline train small/prepared {train} {name} {more}")
    r.run("detector", f"pipeline train-detector small/prepared {train} detector {start} {steps}")
    r.keep("runs")


def do_suspects(r: Recorder) -> None:
    r.run("suspects", "pipeline suspects small/prepared -o suspects/found --jobs 1")
    r.run("review", "pipeline review suspects/found --by someone --export suspects/sheet.csv")
    r.keep("found")
    r.keep("sheet.csv")


STEPS: dict[str, tuple[tuple[str, ...], Callable[[Recorder], None]]] = {
    "help": ((), do_help),
    "build": ((), do_build),
    "small": ((), do_small),
    "predict": (("build",), do_predict),
    "evaluate": (("build", "predict"), do_evaluate),
    "convert": ((), do_convert),
    "truths": (("build", "predict", "evaluate"), do_truths),
    "train": (("small",), do_train),
    "suspects": (("small",), do_suspects),
}
"""Each with the steps whose `.work` it reads."""


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    ways = parser.add_subparsers(dest="way", required=True)
    recording, comparing = ways.add_parser("record"), ways.add_parser("compare")
    recording.add_argument("out", type=Path)
    recording.add_argument("--only", choices=STEPS, action="append", help="with what it needs")
    comparing.add_argument("dirs", type=Path, nargs=2)
    comparing.add_argument("--equal", action="store_true", help="name equal files, too")
    given = parser.parse_args()
    if given.way == "compare":
        return 0 if compare(*given.dirs, show_equal=given.equal) else 1
    for step in given.only or STEPS:
        Recorder(given.out, STEPS).record(step)
    return 0


if __name__ == "__main__":
    sys.exit(main())
