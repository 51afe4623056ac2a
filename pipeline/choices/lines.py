"""The choices that are compared, each against the recipe as it is."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from data_prep.blur import BlurRule
from data_prep.errors import UserError


class ChoiceNameError(UserError, ValueError):
    """A choice that can't be tried; the message says what to do."""


@dataclass(frozen=True)
class Line:
    """One thing that is done otherwise.

    Attributes:
        name: For `--only`, and of the line's folder.
        what: For people.
        sets: Changes to the recipe, `key=value`.
        scale: Side of the crops as a multiple of the box; that of the prepared folder when None.
        blur: Rule that thins out the majority class in training; all faces when None.
        source: The only dataset that is learnt from; all when None.
        cleaned: Learns from the labels of the folder built with decisions.
    """

    name: str
    what: str
    sets: tuple[str, ...] = ()
    scale: float | None = None
    blur: BlurRule | None = None
    source: str | None = None
    cleaned: bool = False


BASE = Line("base", "the recipe as it is")

LINES: tuple[Line, ...] = (
    Line("grey", "grey levels instead of colours", ("colour=grey",)),
    Line("tight", "crops as tight as the box", scale=1.0),
    Line("wide", "crops of 2.0 × the box", scale=2.0),
    Line("blur-global", "blur rule over all faces", blur="global"),
    Line("blur-binned", "blur rule inside size bins", blur="binned"),
    Line("repeat-rare", "rare class shown four times", ("repeat_rare=4",)),
    Line("weights-sqrt", "class weights, square root", ("class_weights=sqrt",)),
    Line("weights-inverse", "class weights, inverse", ("class_weights=inverse",)),
    Line("drawn", "as many drawn faces of the rare class as real ones", ("drawn=1.0",)),
    Line("cleaned", "labels after cleaning", cleaned=True),
    Line("progressive", "64 px, then 96, same work", ("sizes=[64,96]", "epochs=[4,4]")),
    Line("flat", "flat rate of 1e-3 instead of one-cycle", ("schedule=flat", "lr=1e-3")),
    Line("longer", "twice the epochs", ("epochs=[12]",)),
    Line("larger", "128 px instead of 96", ("sizes=[128]",)),
    Line("no-smoothing", "no label smoothing", ("label_smoothing=0.0",)),
    Line("mixup", "mixup 0.2", ("mixup=0.2",)),
    Line("shift", "crops shifted by up to 8 %", ("shift=0.08",)),
    Line("no-downscale", "no crops shrunk to the sizes of crowds", ("downscale=0.0",)),
    Line("no-warp", "no rotation, zoom or warp", ("rotate=0.0", "zoom=1.0", "warp=0.0")),
    Line("no-lighting", "no change of light", ("lighting=0.0",)),
    Line("random", "random weights instead of the detector's body", ("init=random",)),
    Line(
        "resnet34",
        "ResNet-34 from random weights, 64 px",
        ("architecture=resnet34", "init=random", "sizes=[64]", "bf16=auto"),
    ),
)
"""One line per dataset, that learns from it alone, is added to these."""


def choose_lines(only: str, sources: list[str], *, has_cleaned: bool) -> list[Line]:
    """The lines that can be run, or those that are named.

    Args:
        only: Names separated by commas; all when empty, none but the recipe itself for `base`.
        sources: Datasets there are.
        has_cleaned: Whether there is a folder built with decisions.

    Raises:
        ChoiceNameError: An unknown name, or one that needs what is not there.

    >>> [line.name for line in choose_lines("flat", ["a"], has_cleaned=False)]
    ['flat']
    """
    alone = [Line(f"only-{name}", f"learning from {name} alone", source=name) for name in sources]
    known = {line.name: line for line in [*LINES, *(alone if len(sources) > 1 else [])]}
    if not only:
        return [line for line in known.values() if has_cleaned or not line.cleaned]
    chosen = []
    for name in (part.strip() for part in only.split(",")):
        if name == BASE.name:
            continue
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}."
            raise ChoiceNameError(f"no choice '{name}': {hint}")
        if known[name].cleaned and not has_cleaned:
            raise ChoiceNameError(f"choice '{name}' needs --cleaned FOLDER.")
        chosen.append(known[name])
    return chosen
