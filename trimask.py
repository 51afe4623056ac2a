"""TriMask from Python: for every face in a photo, is a mask worn properly, wrongly, or not at all?

>>> import trimask
>>> model = trimask.load()
>>> faces = model.predict(trimask.EXAMPLE)
>>> faces[0].label
'without_mask'

In a notebook `faces` shows itself; it also has `.to_frame()`, `.plot()` and `.save(folder)`.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import os.path
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from multiprocessing import parent_process
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

__all__ = ["EXAMPLE", "Face", "Faces", "Model", "PhotoError", "Results", "__version__"]
__all__ += ["evaluate", "learner", "load"]


def _check_packages() -> None:
    """Refuse to work with a package of another project that happens to be called like ours."""
    for name in ("data_prep", "evaluate", "pipeline"):
        spec = importlib.util.find_spec(name)
        found = None if spec is None or spec.origin is None else Path(spec.origin)
        if found is None or "TriMask" not in found.read_text(encoding="utf-8", errors="replace"):
            raise ImportError(
                f"`import {name}` finds {found or 'nothing'}, which is not the '{name}' that came "
                f"with trimask ({Path(__file__).parent / name}). Another project, such as Hugging "
                "Face's evaluate, has a package of that name: install trimask in an environment "
                "of its own (uv tool install, pipx, python -m venv), or uninstall the other and "
                "install trimask again."
            )


_check_packages()

if Path(sys.argv[0]).stem == "trimask" and parent_process() is None:  # The command.
    from data_prep.base.errors import end_when_interrupted

    end_when_interrupted()

from data_prep.base.files import as_path  # noqa: E402
from data_prep.base.photo import PhotoError  # noqa: E402
from data_prep.base.progress import log, tell  # noqa: E402
from data_prep.formats import predictions as tables  # noqa: E402
from pipeline.inference import sources  # noqa: E402
from pipeline.inference.records import Face, list_rows  # noqa: E402

if TYPE_CHECKING:
    import pandas as pd
    from fastai.learner import Learner
    from PIL import Image

    from data_prep.formats.predictions import PredictionRow
    from evaluate import Evaluation
    from pipeline.inference.predictor import Predictor

EXAMPLE = Path(__file__).parent / "pipeline" / "drawing" / "portrait.jpg"
"""A photo to try things on: the astronaut Eileen Collins, by NASA, in the public domain."""

SHOWN, ROWS = 12, 20  # Most photos of a contact sheet, and rows beside it in a notebook.


class _Shown:
    """What results of one photo and of several have in common."""

    _rows: Callable[[], list[PredictionRow]]
    plot: Callable[[], Image.Image]

    def to_frame(self) -> pd.DataFrame:
        """A row per face, with the columns of `predictions.csv`."""
        import pandas as pd

        rows = [
            [r.image, *r.box, r.label, r.score, r.detection, *r.probabilities, r.orientation]
            for r in self._rows()
        ]
        kinds: dict[str, Any] = dict.fromkeys(tables.COLUMNS, float)
        kinds |= {"image": str, "label": str, tables.ORIENTATION: int}
        table = pd.DataFrame(rows, columns=list(tables.COLUMNS)).astype(kinds)
        doubts = pd.Series([row.unsure for row in self._rows()], dtype=object)
        return table.assign(unsure=doubts) if doubts.notna().any() else table

    def _repr_html_(self) -> str:
        if getattr(self, "error", ""):
            return f"<p>{escape(repr(self))}</p>"
        picture, stored = self.plot(), io.BytesIO()
        picture.thumbnail((640, 640))
        picture.save(stored, format="JPEG", quality=85)
        data = base64.b64encode(stored.getvalue()).decode()
        table = self.to_frame().drop(columns="orientation")
        how: dict[str, Any] = {"max_rows": ROWS, "show_dimensions": len(table) > ROWS}
        shown = table.to_html(index=False, float_format="{:.3f}".format, **how)
        tag = f'<img src="data:image/jpeg;base64,{data}" alt="faces">'
        return f"<p>{escape(repr(self))}</p>{tag}{shown}"


@dataclass(frozen=True, repr=False)
class Faces(_Shown, Sequence[Face]):
    """The faces of one photo, best detection first.

    Each has `box` (`xmin, ymin, xmax, ymax` in pixels of the upright photo), `label`, `score`
    (detection × class probability), `detection` and `probabilities`, of the classes in the order
    of the table's columns.
    """

    name: str
    faces: tuple[Face, ...]
    orientation: int = 1  # EXIF's, 1 to 8, that the photo was turned upright by.
    error: str = ""  # Why the photo could not be read.
    photo: sources.Item = field(default="", compare=False)  # As it was given.
    size: tuple[int, int] = (0, 0)  # Pixels of the upright photo; 0 if it could not be read.
    learnt: str = ""  # Whether the weights learnt from it: "", "exact" or "near".

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, place: Any) -> Any:
        return self.faces[place]

    def __repr__(self) -> str:
        what = self.error or ", ".join(f"{f.label} {f.score:.2f}" for f in self) or "no face"
        return f"Faces({self.name}{', learnt from' if self.learnt else ''}: {what})"

    def _rows(self) -> list[PredictionRow]:
        return list_rows(self.name, self.faces, self.orientation)

    def to_row(self) -> tables.PhotoRow:
        """The photo as a row of `photos.csv`."""
        known = (*self.size, self.orientation, len(self), self.learnt)
        return tables.PhotoRow(sources.spell(self.name), *known, reason=self.error)

    def plot(self) -> Image.Image:
        """The upright photo with its faces marked; small photos are enlarged to be readable."""
        from PIL import Image

        from pipeline.inference.draw import draw_faces

        frame = sources.decode_item(self.photo, self.name)
        if frame.pixels is None:
            raise PhotoError(frame.error)
        return Image.fromarray(draw_faces(frame.pixels, self.faces))

    def save(self, folder: str | Path) -> None:
        """Write `predictions.csv`, `photos.csv`, and the drawn photo into `annotated/`."""
        Results((self,)).save(folder)


@dataclass(frozen=True, repr=False)
class Results(_Shown, Sequence[Faces]):
    """The faces of several photos, photo by photo."""

    photos: tuple[Faces, ...]

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, place: Any) -> Any:
        return self.photos[place]

    def __repr__(self) -> str:
        faces = sum(map(len, self.photos))
        learnt = sum(bool(photo.learnt) for photo in self.photos)
        more = f", {learnt} learnt from" if learnt else ""
        told = f"{tell(len(self))}, {tell(faces, 'face')}, {len(self.errors)} unreadable{more}"
        return f"Results({told})"

    @property
    def errors(self) -> dict[str, str]:
        """Why photos could not be read, by their names."""
        return {one.name: one.error for one in self.photos if one.error}

    def _rows(self) -> list[PredictionRow]:
        return [row for one in self.photos for row in one._rows()]

    def plot(self) -> Image.Image:
        """A contact sheet of the first 12 photos that could be read; more are told of below it."""
        from PIL import Image, ImageDraw, ImageOps

        read = [one for one in self.photos if not one.error]
        drawn = [one.plot() for one in read[:SHOWN]]
        columns, rows, side = min(4, max(len(drawn), 1)), max(-(-len(drawn) // 4), 1), 320
        height = rows * side + (40 if len(read) > SHOWN else 0)
        sheet = Image.new("RGB", (columns * side, height), "white")
        told = f"the first {SHOWN} of {tell(len(read))}"
        ImageDraw.Draw(sheet).text((8, rows * side + 6), told, "black", font_size=24)
        for place, picture in enumerate(drawn):
            cell = (place % columns * side, place // columns * side)
            sheet.paste(ImageOps.pad(picture, (side, side), color="white"), cell)
        return sheet

    def save(self, folder: str | Path) -> None:
        """Write `predictions.csv`, `photos.csv`, and drawn photos, in the place of an earlier save.

        Raises `OutputError`: the folder holds other files, or a run of run.py.
        """
        import numpy as np

        from data_prep.base.files import OutputError, refuse_other_files
        from pipeline.inference.draw import save_drawing
        from pipeline.inference.sinks import write_photo_table

        out = as_path("folder", folder)
        refuse_other_files(out, tables.PHOTOS_FILE, "save", mark=None)
        if (out / sources.JOURNAL).exists():
            raise OutputError(f"{folder}: holds a run of run.py; choose another folder with save.")
        drawn = [(out / sources.ANNOTATED / one.name, one) for one in self.photos if not one.error]
        for path, one in drawn:
            if not path.parent.resolve().is_relative_to(out.resolve()):
                told = f"{one.name} would be drawn outside of it; choose another folder with save."
                raise OutputError(f"{folder}: {told}")
        rows = self._rows()
        asked = any(row.unsure is not None for row in rows)
        tables.write_predictions(out / tables.FILE, rows, unsure=asked)
        write_photo_table(out, [one.to_row() for one in self.photos])
        for path, one in drawn:
            save_drawing(path, np.asarray(one.plot()))


@dataclass(frozen=True)
class Model:
    """Both nets, ready for use; threads may share it."""

    predictor: Predictor

    def __repr__(self) -> str:
        return f"Model({self.predictor.origin})"

    def predict(
        self,
        photos: sources.Item | list[Any] | tuple[Any, ...],
        *,
        thresh: float = 0.5,
        resize: float | None = None,
    ) -> Faces | Results:
        """Find the faces of a photo, or of several, and tell their classes.

        Args:
            photos: A file, an address (`https://…`), an array (height × width × 3, uint8, RGB), a
                PIL image; a list of these; or a folder, walked recursively, or a glob.
            thresh: Least detection score of a face, 0 to 1.
            resize: Enlargement before detection; chosen per photo when None.

        Returns:
            `Faces` for one photo; else `Results`, where what can't be read has an `error`.

        Raises `PhotoError` where the one photo can't be read, `PhotosError` where there is none,
        `ValueError` for a `thresh` or `resize` that is no number or out of range.

        >>> import numpy as np
        >>> load(device="cpu").predict([EXAMPLE, np.zeros((64, 64, 3), np.uint8)])
        Results(2 photos, 1 face, 0 unreadable)
        """
        if not (_lies(thresh, 0, 1) and (resize is None or (_lies(resize, 0, 8) and resize))):
            hint = "thresh goes from 0 to 1, resize from above 0 to 8, or is None."
            raise ValueError(f"{thresh=}, {resize=}: {hint}")
        predictor = replace(self.predictor, thresh=thresh, resize=resize)
        if isinstance(photos, (list, tuple)):
            return _collect(predictor, sources.list_photos(photos), photos)
        # Path's raises for a name that is too long, which `find_only_photos` tells of.
        if sources.is_file(photos) and not os.path.isfile(photos):  # noqa: PTH113
            found = sources.find_only_photos(str(photos))
            left = [*found.passed_over, *((name, "a video: see run.py") for name in found.videos)]
            if left:
                log(f"passed over: {sources.count_reasons(left)}")
            return _collect(predictor, found, [found.root / image for image in found.images])
        (faces,) = _collect(predictor, sources.list_photos([photos]), [photos])
        if faces.error:
            raise PhotoError(faces.error)
        return faces


def _lies(number: object, least: float, most: float) -> bool:
    """Whether it is a number in a range."""
    if isinstance(number, bool) or not isinstance(number, Real):
        return False
    return least <= float(number) <= most


def _collect(predictor: Predictor, source: sources.Source, photos: Sequence[Any]) -> Results:
    found = [
        Faces(f.name, tuple(faces), f.orientation, f.error, photos[f.index], f.size, f.learnt)
        for f, faces in predictor.predict(source)
    ]
    return Results(tuple(found))


def load(
    weights: str | Path | Learner | None = None,
    *,
    device: str = "auto",
    engine: str = "auto",
    bf16: bool | None = None,
    boxes: str | Path | Sequence[float] | None = None,
    quality: str = "normal",
    unsure: bool = False,
) -> Model:
    """Load the nets.

    Args:
        weights: A run folder, another folder with a detector or a classifier, or one of them, a
            `.safetensors` with its card; the other is the shipped one, and both are when None. Or
            what `learner` gave, as it is now.
        device: `auto`, `cpu` or `cuda`.
        engine: What runs the nets: `auto`, `torch`, `onnx` or `openvino`.
        bf16: Use bfloat16; where the processor is fast at it when None.
        boxes: How faces are boxed: as annotators of `facemask`, `ilc` or `head` do, a JSON of
            fit-boxes, or offsets as shares of a box, left to bottom; by the detector when None.
        quality: `normal`, or `high`, which fuses three looks at each photo.
        unsure: Tell of each face whether its class is sure: `face.unsure` is empty, or names the
            classes it may be of, `a|b`, or is `none`; with the coverage that the card states.

    Raises `WeightsError`, `DeviceError`, `EngineError`, `OffsetsError`: one is missing or damaged;
    `ValueError`: another quality, or no truth value for bf16 or unsure.

    >>> load(device="cpu").predict(EXAMPLE, thresh=0.9)[0].label
    'without_mask'
    """
    from pipeline.inference.predictor import Predictor
    from pipeline.nets.options import HIGH, NORMAL, SHIPPED, find_boxes

    path = as_path("weights", weights) if isinstance(weights, (str, Path)) else SHIPPED
    given = weights is not None and not isinstance(weights, (str, Path))
    engine = "torch" if given and engine == "auto" else engine
    flags = (("bf16", bf16, (True, False, None)), ("unsure", unsure, (True, False)))
    for name, value, known in (("quality", quality, (NORMAL, HIGH)), *flags):
        if value not in known:
            raise ValueError(f"{name}={value!r}: {' or '.join(map(str, known))}.")
    offsets = None if boxes is None else find_boxes(boxes)
    how: dict[str, Any] = {"bf16": bf16, "boxes": offsets, "unsure": unsure and not given}
    predictor = Predictor.load(path, device=device, engine=engine, quality=quality, **how)
    if given:
        from pipeline.training.export import use_learner

        half = predictor.detector.bf16
        own = use_learner(weights, device=predictor.detector.device, bf16=half, engine=engine)
        origin = "detector as shipped; classifier as given"
        predictor = replace(predictor, classifier=own, origin=origin, unsure=unsure)
    return Model(predictor)


def learner(prepared: str | Path, recipe: str = "resnet34", **changes: Any) -> Learner:
    """A fastai `Learner` on a prepared folder, as `trimask train` makes it.

    `dls.show_batch`, `lr_find`, `fine_tune`, `ClassificationInterpretation` and `export` work as in
    any fastai notebook; `load` runs it on photos. `pipeline/training/notebooks` has two examples.

    Args:
        prepared: The folder that `trimask build` made.
        recipe: Name of a recipe, or its file.
        changes: Keys of the recipe that are to be different, such as `init="random"`.

    >>> learn = learner("prepared", sizes=[128])  # doctest: +SKIP
    >>> learn.dls.show_batch(); learn.lr_find(); learn.fine_tune(3)  # doctest: +SKIP
    >>> load(learn).predict("photo.jpg").plot()  # doctest: +SKIP
    """
    from data_prep.base.command import tell_missing

    folder = as_path("prepared", prepared)
    with tell_missing():
        from pipeline.training.learner import make_learner
    return make_learner(folder, recipe, **changes)


def evaluate(
    annotations: str | Path,
    faces: Faces | Results | Sequence[Faces] | pd.DataFrame | str | Path,
    **options: Any,
) -> Evaluation:
    """Measure predictions against annotations: mAP, recall per class, and more, with intervals.

    Args:
        annotations: Annotated photos: a dataset's folder or file in any known format, or the
            `faces.csv` of a prepared folder.
        faces: What `predict` gave, a list of it for single photos, its `.to_frame()` or rows of
            that, or a file such as `predictions.csv`.
        options: Those of the command, such as `split="valid"`; see `evaluate.EvaluateOptions`.

    Returns:
        The figures as `.metrics`, `.to_frame()`, or `.save(folder)` for a report.

    Raises:
        UserError: Something can't be read, the photos' names fit no annotated photo, or an option
            has a wrong value (`OptionError`).
        TypeError: Annotations or faces are neither.

    >>> evaluate("annotations", model.predict("photos")).metrics["map50"]  # doctest: +SKIP
    """
    import pandas as pd

    from data_prep.base.command import check_values
    from data_prep.formats.predictions import read_prediction_table, tabulate_predictions
    from evaluate.evaluation import evaluate as measure
    from evaluate.inputs.predictions import make_predictions
    from evaluate.options import EvaluateOptions

    if not isinstance(annotations, (str, Path)):
        raise TypeError("annotations come first, as a path; then what predict gave.")
    annotations = as_path("annotations", annotations)
    how = EvaluateOptions(**check_values(EvaluateOptions, options))
    if isinstance(faces, (str, Path)):
        return measure(annotations, as_path("faces", faces), how)
    called = Path("predictions")
    if isinstance(faces, pd.DataFrame):
        table = read_prediction_table(
            called, frame=faces, probabilities=how.all_classes, vocabulary=how.vocabulary
        )
        return measure(annotations, make_predictions(table, called), how)
    if isinstance(faces, (Faces, list, tuple)):
        faces = Results(tuple([faces] if isinstance(faces, Faces) else faces))
    if not (isinstance(faces, Results) and all(isinstance(one, Faces) for one in faces)):
        raise TypeError("faces come second: what predict gave, or a file such as predictions.csv.")
    table = tabulate_predictions(faces._rows())
    ran = tuple(one.to_row() for one in faces)
    return measure(annotations, make_predictions(table, called, ran), how)


def main() -> None:
    """The command `trimask`."""
    from pipeline.cli import trimask

    trimask(prog_name="trimask", obj=__version__)
