"""Photos answered by many processes, of this machine or of many, through Ray Data; extra `ray`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.base.cluster import ClusterError, find_ray, start_ray
from data_prep.base.files import write_atomically
from data_prep.base.progress import log, tell
from pipeline.inference.records import BATCH_FRAMES, Clock, Frame
from pipeline.inference.sources import PhotoSet, stamp_of
from pipeline.nets.compute import count_cpus

if TYPE_CHECKING:
    from pipeline.inference.predictor import Predictor
    from pipeline.inference.sinks import Entry

MEMORY = 3 << 29  # Bytes that an actor is given.
MOST, BYTES = 256, 8 << 20  # Photos of a block at most, and bytes of their files.
TRIES = 60  # Of a block: machines that died are asked often, but a photo may be what kills.


@dataclass
class Cluster:
    """Actors of Ray, each with its nets, in the place of `predict_photos`.

    They read photos themselves, which must lie where every machine finds them by the same name, as
    must weights that are not the shipped ones. What comes back of a block goes into drawings and
    the journal here, which a run goes on from, whatever becomes of the other machines.
    Raises `ClusterError`: `name` is not `ray` or `ray=ADDRESS`, or Ray is not installed.
    """

    name: str
    weights: Path
    actors: int = 0  # How many were at work.

    def __post_init__(self) -> None:
        find_ray("--cluster", self.name)

    def predict(
        self, nets: Predictor, photos: PhotoSet, folder: Path, least: float | None, clock: Clock
    ) -> Generator[Entry, None, None]:
        """See `predict_photos`; in any order. The actors' nets must be these."""
        from pipeline.inference.sinks import Drawings

        if not photos.images:
            return
        old, device = Drawings(folder, None, clock), nets.detector.device
        fields = ("engine", "thresh", "resize", "unsure", "boxes")
        with start_ray("--cluster", self.name, count_cpus() + 1) as ray:
            there, gpus = ray.cluster_resources(), int(device == "cuda")
            # One processor is left to Ray's own tasks: actors, which never end, make no room.
            most = there.get("GPU", 0) if gpus else there["CPU"] - 1
            self.actors = max(1, int(min(most, there["memory"] // MEMORY)))
            machines = tell(sum(node["Alive"] for node in ray.nodes()), "machine")
            log(f"ray: {tell(self.actors, 'actor')} on {machines} load the nets")
            blocks = [{"photos": block} for block in split_photos(photos, self.actors)]
            answers = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map_batches(
                _Actor,
                fn_constructor_args=(Path.cwd(), least, nets.identify(), self.weights),
                fn_constructor_kwargs={
                    **{n: getattr(nets, n) for n in fields},
                    **{n: getattr(nets.detector, n) for n in ("device", "bf16", "quality")},
                },
                compute=ray.data.ActorPoolStrategy(size=self.actors),
                **{"num_cpus": 1, "num_gpus": gpus, "memory": MEMORY, "max_task_retries": TRIES},
                batch_size=1,
            )
            for row in answers.iter_rows():
                entries, drawn, seconds = row["answer"]
                for stage, spent in seconds.items():
                    clock.add(stage, spent)
                for entry in entries:
                    old.add(Frame(entry.photo.image), ())
                    if entry.photo.image in drawn:
                        write_atomically(folder / entry.photo.image, drawn[entry.photo.image])
                    yield entry


def split_photos(photos: PhotoSet, actors: int) -> list[PhotoSet]:
    """Blocks of photos, in order: whole batches, fewer where files are large or few are left.

    What Ray does for each takes as long as some photos. Of each batch the first file is looked at.
    """
    names, blocks, at = photos.images, list[PhotoSet](), 0
    while at < len(names):
        most = min(max((len(names) - at) // (2 * actors), BATCH_FRAMES), MOST)
        firsts = names[at : at + most - BATCH_FRAMES + 1 : BATCH_FRAMES]
        files = (stamp_of(photos.items.get(name, photos.root / name)) for name in firsts)
        totals = accumulate(BATCH_FRAMES * size for size, _ in files)
        block = names[at : at + BATCH_FRAMES * max(1, sum(total <= BYTES for total in totals))]
        items = {name: photos.items[name] for name in photos.items.keys() & {*block}}
        blocks.append(replace(photos, passed_over=(), images=block, items=items))
        at += len(block)
    return blocks


class _Actor:
    """A process with its nets."""

    def __init__(
        self, cwd: Path, least: float | None, identity: object, weights: Path, **options: Any
    ) -> None:
        from pipeline.inference.predictor import Predictor

        os.chdir(cwd)  # For names to mean the same here, and to be told alike.
        self.nets, self.least = Predictor.load(weights, **options), least
        if self.nets.identify() != identity:
            raise ClusterError("a machine has other weights than this one")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        from pipeline.inference.folder import predict_photos

        (photos,), clock = batch["photos"], Clock()
        with tempfile.TemporaryDirectory() as folder:
            entries = list(predict_photos(self.nets, photos, Path(folder), self.least, clock))
            files = {entry.photo.image: Path(folder, entry.photo.image) for entry in entries}
            drawn = {name: file.read_bytes() for name, file in files.items() if file.is_file()}
        return {"answer": [(entries, drawn, clock.seconds)]}
