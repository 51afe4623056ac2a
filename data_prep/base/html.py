"""Self-contained HTML pages from templates."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from data_prep.base.labels import CLASSES
from data_prep.base.progress import log, tell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def render_html(
    package: str,
    template: str,
    *,
    filters: Mapping[str, Callable[..., str]] | None = None,
    **context: Any,
) -> str:
    """Fill a template of a package's folder `templates`; every text is escaped.

    `filters` are ways to show a value besides `percent` and `tell`; `context` is what the template
    names, and a name it lacks is an error. `base.html`, the frame of every page, lies here.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("data_prep.base")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    environment.filters["tell"] = lambda count, *noun: tell(count, *noun).replace(
        str(count), f"{count:,}", 1
    )
    environment.filters.update(filters or {})
    return environment.get_template(template).render(**context)


GREEN, RED, YELLOW = "#2a7f62", "#c8553d", "#d69a00"
BLUE, VIOLET, GREY = "#2b6cb0", "#7a52a8", "#5b6770"
"""Colours of every plot of a page."""

COLOURS = dict(zip(CLASSES, (GREEN, RED, YELLOW), strict=True))  # Colour of each class.

INK = "#3a4750"
"""Colour of texts and of what belongs to no class."""


def new_axes(
    title: str, x: str, y: str, *, width: float = 6.2, height: float = 3.7
) -> tuple[Figure, Axes]:
    """A figure, sides in inches, and its axes with a title and names."""
    from matplotlib.figure import Figure  # Servers show pages without plots.

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(colors=INK, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


@dataclass(frozen=True)
class Picture:
    """Something to look at, such as an error."""

    src: str  # A data URI; empty when the photo was not found.
    caption: str  # What it is, in a few words.
    title: str = ""  # Where it is: photo and box.


def jpeg_uri(data: bytes) -> str:
    """The bytes of a JPEG file as a data URI."""
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


@cache
def _find_font(letters: str) -> str | None:
    """The first font of this machine that has all letters, the plots' own if it can be."""
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    wanted = set(map(ord, letters)) - {ord("\n")}
    for font in sorted(fontManager.ttflist, key=lambda font: font.name != "DejaVu Sans"):
        last = font.name.startswith("Last Resort")  # Matplotlib's own, of boxes alone.
        if not last and wanted <= FT2Font(font.fname).get_charmap().keys():
            return font.name
    odd = "".join(letter for letter in letters if not letter.isascii())
    log(f"note: plots show boxes for letters of '{odd}'; install a font that has all of them")
    return None


def to_uri(figure: Figure) -> str:
    """The figure as a PNG data URI; letters that no font here has are boxes, which is told once."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        words = text.get_text()
        if not words.isascii() and (font := _find_font("".join(sorted({*words, "x"})))):
            text.set(fontfamily=font)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(buffer, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
