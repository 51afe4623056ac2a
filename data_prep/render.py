"""Self-contained HTML pages from templates."""

from __future__ import annotations

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def render_html(package: str, template: str, **context: Any) -> str:
    """Fill a template; every text is escaped.

    Args:
        package: Package with the template in its folder `templates`. `base.html`, the frame of
            every page, lies here in `data_prep`.
        template: File name.
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
    return environment.get_template(template).render(**context)
