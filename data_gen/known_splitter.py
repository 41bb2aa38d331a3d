"""Which splitter made the steps of rollouts, for a stage that must split more text in the same way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from prm.errors import ConfigError
from prm.rollouts import Rollout
from prm.splitting import DEFAULT_SPLITTER, split_steps

_LOOKED_AT = 200  # rollouts tried
_ENOUGH = 0.5  # share of them whose steps a splitter must find


def splitter_of(rollouts: Sequence[Rollout]) -> str:
    """The splitter that finds the steps of the most of the rollouts in their texts: a separator that stands between
    them, or one of the others. Of equals the first one.

    Raises:
        ConfigError: none finds the steps of half of them.
    """
    tried = rollouts[:: max(1, len(rollouts) // _LOOKED_AT)]
    gaps = Counter(gap for rollout in tried for gap in rollout.gaps[1:-1] if gap)
    separators = [f"separator:{_written(gap)}" for gap, _ in gaps.most_common(3)]
    names = [DEFAULT_SPLITTER, "line", *separators, "numbered", "sentence", "thought"]
    found = {name: sum(split_steps(r.text, name).steps == r.steps for r in tried) for name in names}
    best = max(names, key=lambda name: found[name])
    if found[best] < _ENOUGH * len(tried):
        raise ConfigError(
            f"no splitter finds the steps of the rollouts; the best, {best!r}, finds those of {found[best]} of "
            f"{len(tried)}: set splitter to the one they were made with"
        )
    return best


def _written(gap: str) -> str:
    return gap.replace("\n", "\\n").replace("\t", "\\t")
