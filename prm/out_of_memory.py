"""Running out of memory shrinks a batch instead of ending a run.

A budget of tokens bounds what a batch takes, but what a token takes depends on the model, the device and who else is
on it. Where an allocation fails, the batch is run again in two halves.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

from prm.errors import OutOfMemoryError

Item = TypeVar("Item")
Result = TypeVar("Result")

# PyTorch's allocators on CUDA (and ROCm, XPU), MPS and a CPU, whose Windows variant has its own words; C++.
_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on any device."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def in_halves(
    run: Callable[[Sequence[Item]], Sequence[Result]],
    items: Sequence[Item],
    *,
    relieve: Callable[[], None] | None = None,
) -> list[Result]:
    """What `run` returns for these items; where memory runs out, it gets the two halves one after the other, down to
    one item.

    Args:
        run: gives back one result for each item, in order, and may be called again after it failed.
        relieve: called before it is, to let go of memory that can be spared.

    Raises:
        OutOfMemoryError: memory ran out with a single item.
    """
    try:
        return list(run(items))
    except (RuntimeError, MemoryError) as error:
        if not ran_out_of_memory(error):
            raise
        if len(items) == 1:
            raise OutOfMemoryError(
                f"memory ran out with a batch of one ({str(error).splitlines()[0]}); use a smaller model or dtype, or "
                "shorter texts (max_new_tokens, max_length)"
            ) from error
    # Behind the handler: the error holds the frames of the failed run, and with them its tensors.
    if relieve:
        relieve()
    _release()
    warnings.warn(
        "memory ran out: batches are halved until they fit; a smaller budget of tokens for a batch saves the attempts",
        stacklevel=2,
    )
    half = len(items) // 2
    return in_halves(run, items[:half], relieve=relieve) + in_halves(run, items[half:], relieve=relieve)


def _release() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
