"""What the fuzz targets start from: files that tests and commands make, and users had."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from data_prep.base.labels import CLASSES
from data_prep.base.photo import PHOTO_SUFFIXES
from data_prep.datasets.convert import ConvertOptions, convert
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.photo_match import list_dataset
from data_prep.formats.registry import FORMATS, recognise
from tests.data_prep.formats.test_other_tools import FILES, KINDS, write
from tests.makers import make_dataset, make_pixels

CASES = Path(__file__).parents[3] / "shared" / "cases"
LONGEST = 20_000  # Bytes of a file to start from.


@dataclass(frozen=True)
class Seed:
    """A folder of a few files, and those of them that are spoilt, one at a time."""

    root: Path
    files: tuple[Path, ...]


def take(source: Path, target: Path) -> Seed | None:
    """A copy of a folder, if something in it can be spoilt."""
    shutil.copytree(source, target)
    shutil.rmtree(target / "images" / "none", ignore_errors=True)
    files = [path for path in sorted(target.rglob("*")) if path.is_file()]
    texts = [
        path
        for path in files
        if path.suffix.lower() not in PHOTO_SUFFIXES and not path.name.startswith("README")
    ]
    small = [path for path in texts if 0 < path.stat().st_size <= LONGEST]
    return Seed(target, tuple(small)) if small and len(files) < 60 else None


def make_datasets(folder: Path) -> dict[Format, list[Seed]]:
    """Folders of each format: a small dataset converted to it, and the cases that are of it."""
    start = make_dataset(folder / "start", photos=2)
    found: dict[Format, list[Seed]] = {form: [] for form in Format}
    for form, how in FORMATS.items():
        if how.writes and form is not Format.CROPS:
            options = ConvertOptions(dataset=start, out=folder / "converted" / form, to=form)
            convert(options)
            (options.out / "convert.json").unlink()
            found[form] += filter(None, [take(options.out, folder / "seeds" / form)])
    for kind, files in FILES.items():
        form = KINDS.get(kind, kind)
        whole = write(folder / "tools" / kind, files)
        found[form] += filter(None, [take(whole, folder / "seeds" / f"tool-{kind}")])
    for case in sorted(CASES.iterdir()) if CASES.is_dir() else ():
        try:
            form = recognise(list_dataset(case), ReadOptions())
            seed = take(case, folder / "seeds" / case.name)
        except (ValueError, OSError):
            continue
        found[form] += filter(None, [seed])
    return found


def make_photos(folder: Path) -> Iterator[Seed]:
    """A small photo in each format that is decoded, and those of the cases."""
    pixels = Image.fromarray(make_pixels(40, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    more: dict[str, Callable[[], Image.Image]] = {
        "palette.gif": lambda: pixels.convert("P"),
        "grey16.png": lambda: pixels.convert("I"),
        "float.tif": lambda: pixels.convert("F"),
        "alpha.webp": lambda: pixels.convert("RGBA"),
        "cmyk.jpg": lambda: pixels.convert("CMYK"),
    }
    folder.mkdir(parents=True)
    for name in [f"a{suffix}" for suffix in sorted(PHOTO_SUFFIXES)] + list(more):
        path = folder / name
        options = {"exif": exif} if path.suffix in {".jpg", ".png", ".webp", ".avif"} else {}
        more.get(name, lambda: pixels)().save(path, **options)
        yield Seed(folder, (path,))
    for case in sorted((CASES / "run-hostile").glob("*")):
        if case.suffix in PHOTO_SUFFIXES and case.stat().st_size <= LONGEST:
            yield Seed(folder, (Path(shutil.copy(case, folder / f"case-{case.name}")),))


TABLES = {
    "faces.csv": (
        "image,width,height,object,label,xmin,ymin,xmax,ymax,difficult,source,group,split,blur,kept,"
        "crop\na.jpg,120,90,0,with_mask,20,15,60,55,0,set,set/a.jpg,train,12.5,1,c/a.jpg\n"
        '"b, c.jpg",120,90,0,without_mask,0,0,50,30,1,set,set/b.jpg,valid,,0,c/b.jpg\n'
    ),
    "predictions.csv": (
        "image,xmin,ymin,xmax,ymax,label,score,detection,p_with_mask,p_without_mask,"
        "p_mask_weared_incorrect,orientation\n"
        "images/000.jpg,20.00,15.00,60.00,55.00,with_mask,0.81000,0.90000,0.9,0.1,0.0,1\n"
        "images/001.jpg,0,0,50.5,30,without_mask,0.4,0.8,0.4,0.6,0.0,6\n"
    ),
    "photos.csv": (
        "image,width,height,orientation,faces,learnt,reason\n"
        "images/000.jpg,120,90,1,1,,\nimages/001.jpg,90,120,6,1,near,\nb.jpg,0,0,1,0,,damaged\n"
    ),
    "alarm.json": (
        '{"threshold": 0.5, "classes": ["without_mask"], "of": ["with_mask", "without_mask"], '
        '"thresh": 0.5}'
    ),
    "results.json": (
        '[{"image_id": 1, "category_id": 1, "bbox": [20, 15, 40, 40], "score": 0.9},'
        ' {"image_id": 2, "category_id": 2, "bbox": [0, 0, 50, 30], "score": 0.4}]'
    ),
    "groups.csv": "image,group\nimages/000.jpg,one\nimages/001.jpg,set/images/000.jpg\n",
    "train.txt": "images/000.jpg\n",
    "recode.toml": (
        f'classes = {list(CLASSES)!r}\n[sources.one]\npath = "start"\n'
        'licence = "CC0"\n[sources.one.recode]\nmask = "with_mask"\n'
    ),
}
