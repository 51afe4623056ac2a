"""Self-contained HTML pages from templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def render_html(
    package: str,
    template: str,
    *,
    filters: Mapping[str, Callable[..., str]] | None = None,
    **context: Any,
) -> str:
    """Fill a template; every text is escaped.

    Args:
        package: Package with the template in its folder `templates`. `base.html`, the frame of
            every page, lies here in `data_prep`.
        template: File name.
        filters: Ways to show a value, besides `percent`, by the name the template uses.
        context: What the template names. A name it lacks is an error.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("data_prep")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    environment.filters.update(filters or {})
    return environment.get_template(template).render(**context)
