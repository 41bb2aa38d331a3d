"""The index of formats: each is one small file that parses rows into records and renders records as rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prm.errors import ConfigError, DataError
from prm.spelling import hint

from .base import Format
from .labels import LabelsFormat
from .math_shepherd import MathShepherdFormat
from .mc_values import McValuesFormat
from .prm800k import Prm800kFormat
from .processbench import ProcessBenchFormat
from .rlhflow import RlhflowFormat
from .rollouts import RolloutsFormat
from .stepwise import StepwiseFormat

# A row is recognised by the first format whose columns it has: labels stand before rollouts, whose columns they have.
_ALL: tuple[Format, ...] = (
    LabelsFormat(),
    RolloutsFormat(),
    StepwiseFormat(),
    Prm800kFormat(),
    MathShepherdFormat(),
    RlhflowFormat(),
    ProcessBenchFormat(),
    McValuesFormat(),
)
FORMATS: Mapping[str, Format] = {form.name: form for form in _ALL}


def find_format(name: str) -> Format:
    """The format of a name.

    Raises:
        ConfigError: an unknown one; the nearest is named.
    """
    if name in FORMATS:
        return FORMATS[name]
    raise ConfigError(f"unknown format {name!r}; {hint(name.lower().replace('-', '_'), FORMATS)}")


def recognised(row: Mapping[str, Any]) -> Format | None:
    """The format whose columns a row has."""
    return next((form for form in _ALL if row.keys() >= set(form.columns)), None)


def recognise(row: Mapping[str, Any], path: str) -> Format:
    """The format of a file, from its first row.

    Raises:
        DataError: no format has these columns.
    """
    if form := recognised(row):
        return form
    known = "; ".join(f"{form.name}: {', '.join(form.columns)}" for form in _ALL)
    raise DataError(
        f"a row with the columns {sorted(row)} is of no known format",
        path=path,
        remedy=f"Rename the columns ({known})",
    )
