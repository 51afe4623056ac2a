"""A small dataset with all that a format may fail to hold."""

from pathlib import Path

from tests.makers import make_photo, make_voc

FACES = {
    "images/día 1/año neu.jpg": [
        ("with_mask", (10.1, 12, 30.7, 40.3333333333333)),
        ("no mask", (60, 20.5, 100, 70)),
    ],
    "images/día 2/año neu.jpg": [("with_mask", (0.1, 0.2, 0.3 + 33, 55.7))],
    "images/empty.jpg": [],
    "images/x.png": [("Mask, worn", (5, 5, 45, 44))],
}
SIZE = (120, 90)


def make_odd_dataset(root: Path) -> Path:
    """Blanks and accents, a name twice, a photo without faces, no stated size, difficult faces."""
    for seed, (image, objects) in enumerate(FACES.items()):
        make_photo(root / image, *SIZE, seed=seed)
        note = root / image.replace("images", "annotations").rsplit(".", 1)[0]
        path = Path(f"{note}.xml")
        make_voc(path, image, objects, None if image.endswith("png") else SIZE)
        text = path.read_text(encoding="utf-8")
        if image.endswith("png"):
            text = text.replace("<difficult>0", "<difficult>1")
        path.write_text(text, encoding="utf-8")
    return root
