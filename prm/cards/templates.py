"""Rendering of the jinja2 templates that lie in this folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def render(name: str, values: Mapping[str, Any]) -> str:
    """Fill one template; a name the template uses and `values` lacks is an error, never an empty string."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("prm.cards", "."), undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template(name).render(values)
