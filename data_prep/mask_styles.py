"""The masks that can be drawn: shapes, colours and patterns under names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.errors import UserError
from data_prep.mask_patterns import Colour, Pattern


class StyleError(UserError, ValueError):
    """A name that is no style's; the message lists those there are."""


@dataclass(frozen=True)
class MaskStyle:
    """How a mask looks.

    Attributes:
        name: What tables call it.
        shape: One of `mask_shapes.SHAPES`.
        colours: RGB of the cloth, then of what its pattern lays on it.
        pattern: See `mask_patterns`.
        valve: Whether it has an exhalation valve, beside the mouth.
        window: Whether the mouth is seen through a transparent window.
    """

    name: str
    shape: str
    colours: tuple[Colour, ...]
    pattern: Pattern = "plain"
    valve: bool = False
    window: bool = False


STYLES: tuple[MaskStyle, ...] = (
    MaskStyle("surgical-blue", "surgical", ((120, 170, 205),)),
    MaskStyle("surgical-white", "surgical", ((232, 234, 235),)),
    MaskStyle("surgical-green", "surgical", ((140, 195, 170),)),
    MaskStyle("surgical-black", "surgical", ((44, 44, 48),)),
    MaskStyle("surgical-pink", "surgical", ((228, 172, 188),)),
    MaskStyle("ffp2-white", "folded", ((236, 236, 233),)),
    MaskStyle("n95-cup", "cup", ((233, 230, 220),)),
    MaskStyle("duckbill-white", "duckbill", ((226, 232, 238),)),
    MaskStyle("fish-grey", "fish", ((165, 168, 174),)),
    MaskStyle("valve-respirator", "cup", ((222, 224, 226),), valve=True),
    MaskStyle("cloth-black", "cloth", ((38, 37, 40),)),
    MaskStyle("cloth-red", "cloth", ((176, 38, 44),)),
    MaskStyle("cloth-dots", "cloth", ((36, 52, 98), (236, 236, 232)), "dots"),
    MaskStyle("cloth-stripes", "cloth", ((232, 228, 218), (46, 84, 120)), "stripes"),
    MaskStyle("cloth-checks", "cloth", ((238, 232, 226), (150, 40, 50)), "checks"),
    MaskStyle(
        "cloth-flowers", "cloth", ((58, 96, 88), (232, 150, 166), (246, 214, 110)), "flowers"
    ),
    MaskStyle("bandana-red", "bandana", ((168, 34, 38), (240, 236, 230)), "dots"),
    MaskStyle("gaiter-grey", "gaiter", ((92, 96, 104),)),
    MaskStyle(
        "gaiter-camouflage", "gaiter", ((122, 120, 84), (70, 82, 54), (60, 48, 38)), "blotches"
    ),
    MaskStyle("window-blue", "surgical", ((96, 140, 190),), window=True),
)

SURGICAL_BLUE = STYLES[0]


def choose_styles(names: Sequence[str]) -> tuple[MaskStyle, ...]:
    """Styles by their names, in the order of `STYLES`; all when none is named.

    Raises:
        StyleError: A name is not known.

    >>> [style.shape for style in choose_styles(["gaiter-grey", "cloth-red"])]
    ['cloth', 'gaiter']
    """
    known = {style.name for style in STYLES}
    for name in names:
        if name not in known:
            raise StyleError(f"no style '{name}'; there are: {', '.join(s.name for s in STYLES)}.")
    return tuple(style for style in STYLES if not names or style.name in names)
