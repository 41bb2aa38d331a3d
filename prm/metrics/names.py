"""What the metrics of evaluation are called, and which way is better.

`auroc` is over all rows, `monte_carlo/auroc` over those with labels of that source; the trainer puts `eval_` in front
of both, and `--metric_for_best_model` takes them with or without it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Literal

from prm.errors import ConfigError

Kind = Literal["prm", "orm"]

LOWER_IS_BETTER = ("loss", "brier", "ece")
_BOTH = (*LOWER_IS_BETTER, "auroc", "auroc_within", "auprc_of_wrong")
METRICS: dict[Kind, tuple[str, ...]] = {
    "prm": (
        *_BOTH,
        *("step_accuracy", "first_error_f1", "first_error_accuracy", "all_correct_accuracy", "first_error_f1_fitted"),
    ),
    "orm": (*_BOTH, "accuracy", "accuracy_fitted"),
}
# What a temperature leaves as it is, for it keeps the order of the scores; and what the threshold decides.
OF_ORDER = ("auroc", "auroc_within", "auprc_of_wrong", "base_rate_of_wrong")
AT_THRESHOLD: dict[Kind, tuple[str, ...]] = {"prm": ("step_accuracy", "first_error_f1"), "orm": ("accuracy",)}


def greater_is_better(name: str) -> bool:
    """Whether more of a metric is better; transformers itself knows this of losses only."""
    return not name.endswith(LOWER_IS_BETTER)


def check_metric(name: str, kind: Kind, *, eval_sets: Sequence[str] = (), others: Sequence[str] = ()) -> None:
    """Refuse a `metric_for_best_model` that no evaluation will compute, before anything is trained.

    Args:
        name: with or without `eval_`, a set's name and a label source in front.
        eval_sets: names of the evaluation sets, where there are several.
        others: metrics that this run computes besides.

    Raises:
        ConfigError: an unknown metric.
    """
    known = (*METRICS[kind], *others)
    bare = name.removeprefix("eval_")
    bare = next((bare.removeprefix(f"{one}_") for one in eval_sets if bare.startswith(f"{one}_")), bare)
    bare = bare.split("/")[-1]
    if bare not in known:
        close = get_close_matches(bare, known, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ConfigError(
            f"metric_for_best_model: evaluation does not compute {name!r} of the kind {kind}.{hint} It computes "
            f"{', '.join(known)}, and each of them for one label source, as in monte_carlo/auroc"
        )


def source_prefix(source: str) -> str:
    """A label source as it stands in front of its metrics."""
    return re.sub(r"[^\w.+:-]+", "_", source) or "unnamed"
