"""Parameters that ZeRO-3 spreads over processes, made whole for a moment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def whole(parameters: list[Any], *, write: bool = False) -> Iterator[None]:
    """Make parameters whole that ZeRO-3 partitions; elsewhere nothing happens."""
    from transformers.integrations import is_deepspeed_zero3_enabled

    if not is_deepspeed_zero3_enabled():
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(parameters, modifier_rank=0 if write else None):
        yield
