"""How surely training photos are known again: `python -m tests.benchmarks.known_photos PREPARED`.

Measured on a prepared folder of both shared sets, and on the third set, which no net has seen. With
`--write` the cards of the shipped weights get the list of their training photos, if they were
trained on that very folder.
"""

from __future__ import annotations

import io
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from data_prep.base.files import write_json
from data_prep.base.photo import read_photo
from data_prep.base.progress import log
from data_prep.base.tables import read_faces
from pipeline.nets.cards import ClassifierCard, DetectorCard, read_card
from pipeline.nets.learnt import KnownPhotos, fingerprint_photo, list_photos
from pipeline.nets.options import CLASSIFIER, DETECTOR, SHIPPED
from pipeline.runs.folder import identify_data

STRANGERS = Path(__file__).parents[3] / "shared/data/youyinnn/images"


def alter(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Copies of a photo as they go around."""
    height, width = pixels.shape[:2]

    def encode(copy: np.ndarray, quality: int) -> np.ndarray:
        data = io.BytesIO()
        Image.fromarray(copy).save(data, "JPEG", quality=quality)
        return np.array(Image.open(data))

    def resize(x: float, y: float) -> np.ndarray:
        way = cv2.INTER_AREA if x < 1 else cv2.INTER_CUBIC
        return cv2.resize(pixels, None, fx=x, fy=y, interpolation=way)

    cuts = {
        share: pixels[round(height * share) :, round(width * share) :] for share in (0.02, 0.05)
    }
    return {
        **{f"quality {q}": encode(pixels, q) for q in (90, 50, 20)},
        **{f"{x} × size": resize(x, x) for x in (0.25, 0.5, 2)},
        "stretched": resize(1, 1.1),
        "mirrored, half size, quality 60": encode(resize(0.5, 0.5)[:, ::-1], 60),
        **{f"{share:.0%} cut from two sides": cut for share, cut in cuts.items()},
        "brighter": np.clip(pixels * 1.2 + 10, 0, 255).astype(np.uint8),
    }


def main(prepared: Path, *, write: bool) -> None:
    """Tell both rates."""
    data, roots = identify_data(prepared)
    faces = read_faces(prepared)
    trained = faces[faces["split"] == "train"]
    photos = list_photos(trained, roots, log)
    known = KnownPhotos(photos)
    found: Counter[str] = Counter()
    some = trained[["source", "image"]].drop_duplicates()[::3]
    for source, image in some.itertuples(index=False):
        for name, copy in alter(read_photo(roots[source] / image, upright=True).pixels).items():
            found[name] += known.tell(fingerprint_photo(copy)) == "near"
    for name, count in found.items():
        log(f"known again, {name}: {count} of {len(some)}")
    for name, looks in {
        "validation": list_photos(faces[faces["split"] == "valid"], roots, log),
        "third set": [fingerprint_photo(read_photo(p).pixels) for p in STRANGERS.iterdir()],
    }.items():
        log(f"taken for one, {name}: {sum(map(bool, map(known.tell, looks)))} of {len(looks)}")
    for net, kind in ((DETECTOR, DetectorCard), (CLASSIFIER, ClassifierCard)):
        card = read_card(SHIPPED / f"{net}.json", kind)
        if write and card.training["data"]["faces_sha256"] == data["faces_sha256"]:
            card = card.model_copy(update={"training_photos": photos})
            write_json(SHIPPED / f"{net}.json", card.model_dump(mode="json"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), write="--write" in sys.argv)
