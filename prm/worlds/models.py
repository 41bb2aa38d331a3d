"""Where the shipped checkpoints of the arithmetic world are: `embedded:generator` and `embedded:base`.

Every option that takes a model's path takes these two names as well, from the command line or from a recipe.
"""

from __future__ import annotations

from pathlib import Path

from prm.errors import ConfigError

PREFIX = "embedded:"
NAMES = ("generator", "base")


def embedded_model(name: str) -> Path:
    """The directory of a shipped checkpoint.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in NAMES:
        raise ConfigError(f"no embedded model {name!r}; choose from {', '.join(PREFIX + n for n in NAMES)}")
    return Path(__file__).parent / "arithmetic_models" / name


def expand_embedded(value: str) -> str:
    """Replace `embedded:NAME` in an option's value, such as `zero_shot=embedded:base`, by the checkpoint's path."""
    before, found, name = value.partition(PREFIX)
    return before + str(embedded_model(name)) if found else value
