"""The metric modules of this repository, `eval/metrics/<name>/<name>.py`, loaded by path through `evaluate`, offline.

`prm` never imports them: the folder is found by its name.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from prm.errors import ConfigError

METRICS_PACKAGE = "prm.eval.metrics"  # a name, not an import: `eval` may import `prm`, never the other way


def metric_path(name: str) -> Path:
    """Folder of a metric module, in a checkout as in an installed wheel.

    Raises:
        ConfigError: no such metric.
    """
    spec = importlib.util.find_spec(METRICS_PACKAGE)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    for folder in folders:
        if (folder / name / f"{name}.py").is_file():
            return folder / name
    known = sorted(path.parent.name for folder in folders for path in folder.glob("*/*.py"))
    raise ConfigError(f"no metric {name!r}; there are {', '.join(known) or 'none, the installation is incomplete'}")


@cache
def load_metric(name: str) -> Any:
    """An `evaluate.EvaluationModule`, loaded by path and kept.

    Raises:
        ConfigError: no such metric.
    """
    import evaluate

    return evaluate.load(str(metric_path(name)), keep_in_memory=True)
