"""How annotations and predictions are read and counted: the options, declared once."""

import re
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from data_prep.base.errors import OptionError
from data_prep.base.labels import CLASSES, Vocabulary, parse_aliases
from data_prep.base.photo import Size
from data_prep.formats.text import Layout
from evaluate.measures.average_precision import Rules

METRICS_FILE = "metrics.json"  # The record, which marks a folder as written here.

THRESH = 0.5  # Detector score from which `run.py` shows a face.

IncorrectPolicy = Literal["alarm", "no-alarm", "leave-out"]
"""What a mask worn wrongly is to the alarm: as good as none, as good as any, or not asked about."""

_PANELS = ("What is read", "How it is counted", "What is written")
reading, counting, writing = (partial(typer.Option, rich_help_panel=name) for name in _PANELS)
"""Options of the command line by what they are about."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """How annotations and predictions are read and counted; the help of each option says more."""

    split: Annotated[str | None, reading()] = None
    """Only this split of a faces.csv, such as valid."""
    source: Annotated[str | None, reading()] = None
    """Only this dataset of a faces.csv."""
    photos: Annotated[Path | None, reading()] = None
    """Folder of the photos, for the pictures of the report and for relative coordinates; looked for
    beside the annotations when not given."""
    alias: Annotated[list[str], reading(metavar="NAME=CLASS")] = field(default_factory=list)
    """Another name for a class; may be repeated."""
    classes: Annotated[str | None, reading(metavar="NAME,NAME,…")] = None
    """Other classes than the three of masks; the alarm is then left out."""
    truth_boxes: Annotated[Layout | None, reading()] = None
    """Numbers in text files of annotations."""
    pred_boxes: Annotated[Layout | None, reading()] = None
    """Numbers in text files of predictions."""
    image_size: Annotated[str | None, reading(metavar="WxH")] = None
    """Size of every photo in pixels, for relative coordinates."""
    names: Annotated[Path | None, reading()] = None
    """File of class names, one a line, for class numbers."""
    iou: Annotated[list[float], counting()] = field(default_factory=list)
    """Also give AP at this IoU; may be repeated."""
    thresh: Annotated[float, counting(min=0, max=1)] = THRESH
    """Detector score from which a face is shown to a user; AP takes all."""
    incorrect: Annotated[IncorrectPolicy, counting()] = "alarm"
    """What a mask worn wrongly is to the alarm."""
    only_predicted: Annotated[bool, counting("--only-predicted")] = False
    """Measure only the photos that were run, as photos.csv beside the table says; without it, only
    those with a prediction."""
    false_alarms: Annotated[str | None, counting(metavar="SHARE")] = None
    """Also find the alarm's threshold at which at most this share of the masked faces raises it,
    such as 2%, and write it to OUT/alarm.json for run.py --alarm."""
    all_classes: Annotated[bool, counting("--all-classes")] = False
    """Class AP: take every row for a detection of each class, with score detection × p_CLASS, not
    only of its label."""
    inclusive: Annotated[bool, counting("--inclusive")] = False
    """Count box sides as xmax - xmin + 1, as the VOC kit."""
    eleven_point: Annotated[bool, counting("--eleven-point")] = False
    """AP at 11 recalls (VOC 2007), not at every recall."""
    bootstrap: Annotated[int, counting(min=0)] = 1000
    """Resamples of the photos for the intervals; 0 for none."""
    seed: Annotated[int, counting(min=0)] = 0
    """Seed of the resamples."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense: a `UserError` that names the option."""
        _ = self.vocabulary, self.size
        if self.false_alarms and self.classes:
            raise OptionError("--false-alarms is about masks; leave out --classes.")
        for value in self.iou:
            if not 0 < value <= 1:
                raise OptionError(f"--iou {value:g}: an IoU lies above 0 and at most at 1.")
        _ = self.most_alarms

    @property
    def rules(self) -> Rules:
        """How hits are counted."""
        return Rules(self.inclusive, self.eleven_point, self.all_classes)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The classes and their other names."""
        labels = CLASSES
        if self.classes:
            labels = tuple(name.strip() for name in self.classes.split(","))
            if not all(labels):
                hint = "write names separated by commas, such as cat,dog."
                raise OptionError(f"--classes {self.classes}: {hint}")
            if len({name.lower() for name in labels}) < len(labels):
                raise OptionError(f"--classes {self.classes}: a class is named twice.")
        return Vocabulary(labels, parse_aliases(self.alias, labels))

    @cached_property
    def size(self) -> Size | None:
        """Width and height of every photo in pixels, if they are told."""
        text = self.image_size
        if not text:
            return None
        match = re.fullmatch(r"\s*0*([1-9]\d*)\s*[x×X,]\s*0*([1-9]\d*)\s*", text)
        if match is None:
            hint = "write width x height in pixels, such as 400x300."
            raise OptionError(f"--image-size {text}: {hint}")
        return int(match[1]), int(match[2])

    @cached_property
    def most_alarms(self) -> float | None:
        """Most false alarms that are wanted, as a share of the masked faces."""
        text = self.false_alarms
        if not text:
            return None
        match = re.fullmatch(r"\s*(\d*\.?\d+)\s*(%?)\s*", text)
        value = float(match[1]) / (100 if match[2] else 1) if match else 1.0
        if value >= 1:
            raise OptionError(f"--false-alarms {text}: write a share such as 2% or 0.02.")
        return value
