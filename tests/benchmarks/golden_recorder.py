"""Runs the command lines for `golden.py` and takes what they wrote into its record."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from golden_compare import write

KEPT = {".csv", ".json", ".jsonl", ".toml", ".txt", ".xml", ".yaml", ".names"}
TEXTS = KEPT | {".html", ".md"}
VOLATILE = (
    (r'"(inputs|code_sha256)": "[0-9a-f]{64}"', r'"\1": "-"'),
    (r'"seconds": (\{[^}]*\}|[\d.]+)', '"seconds": "-"'),
    (r'"photos_per_second": [\d.]+', '"photos_per_second": "-"'),
    (r"\b\d+(\.\d+)? (s|seconds|minutes)\b", "- s"),
    (r"(?m)^.*: \d+/\d+ in - s\n", ""),
    (r"\x1b\[[\d;?]*[a-zA-Z]", ""),
)
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "2")
# Threads that spin while they wait make a busy machine ten times slower.
THREADS["OMP_WAIT_POLICY"] = "passive"
PLAIN = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "CUDA_VISIBLE_DEVICES": ""}


@dataclass
class Recorder:
    """Runs commands in `DIR/.work`, so that paths are short and the same in every record."""

    out: Path
    steps: Mapping[str, tuple[tuple[str, ...], Callable[[Recorder], None]]]
    step: str = ""

    def __post_init__(self) -> None:
        self.root, self.out = Path.cwd(), self.out.resolve()
        self.work, self.shared = self.out / ".work", (self.root.parent / "shared").resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        if not (self.work / "shared").exists():
            (self.work / "shared").symlink_to(self.shared)

    def record(self, step: str) -> None:
        """Do a step, and before it those it needs; it appears whole or not at all."""
        needs, do = self.steps[step]
        for need in needs:
            self.record(need)
        if (self.out / step).exists():
            return
        self.step, began = step, time.monotonic()
        for folder in (self.work / step, self.out / ".part"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        do(self)
        (self.out / ".part").replace(self.out / step)
        write(f"{step}: {time.monotonic() - began:.0f} s", to=sys.stderr)

    def run(self, name: str, command: str) -> str:
        """Keep what a command says, and its exit code: a failure is part of the record, too."""
        first, *more = command.split()
        # Help names a folder of the checkout: its lines must not break by how long that is.
        helps = command.endswith("--help")
        width = {"COLUMNS": "400"} if helps else {}
        where = [str(self.root / first)] if first.endswith(".py") else ["-m", first]
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, *where, *(word.replace("<root>", str(self.root)) for word in more)],
            cwd=self.work,
            env={**os.environ, **THREADS, **PLAIN, **width, "PYTHONPATH": str(self.root)},
            capture_output=True,
            text=True,
        )
        said = self.clean(f"{done.stdout}--- standard error\n{done.stderr}")
        if helps:
            said = re.sub(r"─{3,}", "──", re.sub(r" {3,}", "  ", said))
        text = f"$ {command}\nexit code {done.returncode}\n{said}"
        (self.out / ".part" / f"{name}.said.txt").write_text(text, encoding="utf-8")
        seconds = time.monotonic() - began
        write(f"  {seconds:5.1f} s, exit {done.returncode}: {command}", to=sys.stderr)
        return done.stdout

    def clean(self, text: str) -> str:
        """Without what differs from run to run and from folder to folder."""
        for path, word in ((self.work, "<work>"), (self.root, "<root>"), (self.shared, "<shared>")):
            text = text.replace(str(path), word)
        for pattern, new in VOLATILE:
            text = re.sub(pattern, new, text)
        return text

    def keep(self, name: str) -> None:
        """Take `DIR/.work/STEP/NAME`, a file or folder, into the record."""
        base, part = self.work / self.step, self.out / ".part"
        hashes = []
        for path in sorted((base / name).rglob("*")) or [base / name]:
            place = path.relative_to(base)
            if not path.is_file() or path.name.startswith(".") or path.suffix == ".npz":
                continue
            data = path.read_bytes()
            if path.suffix in TEXTS:
                data = self.clean(data.decode("utf-8")).encode()
            if path.suffix in KEPT or path.suffix == ".safetensors":
                (part / place).parent.mkdir(parents=True, exist_ok=True)
                (part / place).write_bytes(data)
            else:
                hashes.append(f"{hashlib.sha256(data).hexdigest()}  {place.as_posix()}\n")
        if hashes:
            (part / f"{name.replace('/', '-')}.hashes").write_text("".join(hashes))

    def copy(self, source: str, images: list[str], to: str, *, annotated: bool = True) -> None:
        """Some photos of a set as a set of its own."""
        for image in images:
            files = [image, f"annotations/{Path(image).stem}.xml"][: 2 if annotated else 1]
            for file in files:
                target = self.work / self.step / to / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.shared / "data" / source / file, target)

    def photos(self, source: str, most: int) -> list[str]:
        """The first photos of a set by name."""
        names = sorted(p.name for p in (self.shared / "data" / source / "images").iterdir())
        return [f"images/{name}" for name in names[:most]]
