"""How fast a verifier is trained: labels and tokens a second, the share of padding, and how far the machine is used.

The meter is told what each micro-batch held, and takes the time of the optimiser steps alone: evaluation and saving
do not count. Operations per batch are `prm.model_shape`'s.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    import torch

Reduce = Callable[[list[float]], Sequence[float]]

_SIDES = (256, 512, 1024, 2048, 4096)  # of the square matrices that are timed
_LONG = 0.005  # seconds: of products that take so long, the larger ones are no faster
_BUDGET = 0.3  # seconds


class Throughput(TrainerCallback):
    """Counts what is trained on, and divides it by the time that training took.

    Time runs from the start of an epoch, or the end of a log, an evaluation or a save, to the end of each optimiser
    step, loading of batches included.

    Args:
        rate: the matrix rate of one device in FLOP/s, asked for once, when the training starts; `None` leaves out
            the utilisation.
        reduce: sums a list of numbers over all processes; as it stands, there is one.
        clock: seconds, from any point in time.

    Example:
        >>> meter = Throughput(rate=lambda: measured_matmul_rate(device, dtype))
        >>> trainer.add_callback(meter)
        >>> meter.add(units=31, tokens=880, padded_tokens=900, flops=shape.training_flops(880, 98_000))
        >>> meter.read()  # in `Trainer.log`, in every process
    """

    def __init__(
        self,
        *,
        rate: Callable[[], float] | None = None,
        reduce: Reduce | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self._ask_rate, self._reduce, self._clock = rate, reduce or list, clock
        self._rate = math.nan
        self._mark = clock()
        self._reset()

    def _reset(self) -> None:
        self._seconds: float = 0.0
        self._sums: list[Any] = [0, 0, 0, 0]

    def add(self, *, units: Any, tokens: Any, padded_tokens: Any, flops: Any = 0.0) -> None:
        """Tell of one micro-batch of this process, in numbers or in tensors of one number, which are not waited for.

        Args:
            units: labelled units of the loss: steps, solutions or pairs.
            tokens: real tokens.
            padded_tokens: tokens that the model ran over, padding included.
            flops: operations that the real tokens need.
        """
        added = (units, tokens, padded_tokens, flops)
        self._sums = [have + more for have, more in zip(self._sums, added, strict=True)]

    def read(self) -> dict[str, float]:
        """The figures since the last reading, over all processes; every process has to ask.

        Returns:
            `labels_per_second`, `tokens_per_second`, `padding_share` and `mfu`: model FLOPs utilisation (PaLM, arXiv
            2204.02311, appendix B), the operations that the model needs over those that the devices could have done
            in matrix products, by their own measured rate. Empty where nothing was trained, without `mfu` where the
            rate is not known.
        """
        mine = [*map(float, self._sums), self._seconds, self._seconds * self._rate, 1.0]
        units, tokens, padded, flops, seconds, could, processes = self._reduce(mine)
        self._reset()
        if not seconds or not padded:
            return {}
        elapsed = seconds / processes
        found = {
            "labels_per_second": units / elapsed,
            "tokens_per_second": tokens / elapsed,
            "padding_share": 1 - tokens / padded,
        }
        return found | ({"mfu": flops / could} if could > 0 else {})

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        if self._ask_rate is not None and math.isnan(self._rate):
            self._rate = self._ask_rate()
        self._reset()

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        self._mark = self._clock()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        self._take_time(args, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        self._take_time(args, control)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        self._mark = self._clock()

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        self._mark = self._clock()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        self._mark = self._clock()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
        self._mark = self._clock()

    def _take_time(self, args: TrainingArguments, control: TrainerControl) -> None:
        if control.should_log or control.should_evaluate or control.should_save:
            _finish(args.device)  # else what is still queued would be timed with what comes next
        now = self._clock()
        self._seconds += now - self._mark
        self._mark = now


@cache
def measured_matmul_rate(device: torch.device | str, dtype: torch.dtype) -> float:
    """FLOP/s of this device in products of square matrices: the best of the timings that fit into a third of a second;
    measured once per process. Not a number where the device cannot do it (no memory, no such dtype).

    It is the denominator of the model FLOPs utilisation (PaLM, arXiv 2204.02311, appendix B) in the place of the
    maker's peak, which is not known of every machine and which no product of matrices reaches.
    """
    import torch

    device = torch.device(device)
    try:
        with torch.no_grad():
            for side in _SIDES:
                product = _product(side, device, dtype)
                product()  # the first one also chooses and loads its kernel
                if (seconds := _time(product, device)) >= _LONG:
                    break
            return 2 * side**3 / _best_time(product, device, seconds)
    except (RuntimeError, NotImplementedError):
        return math.nan


def _product(side: int, device: torch.device, dtype: torch.dtype) -> Callable[[], Any]:
    import torch

    left, right, into = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(3))
    # Of its own: how many sizes are tried is a matter of time, and a run's random numbers must not be.
    random = torch.Generator(device).manual_seed(0)
    for factor in (left, right):
        factor.uniform_(-1, 1, generator=random)  # products of ones take less power, and so less time
    return lambda: torch.mm(left, right, out=into)


def _best_time(run: Callable[[], Any], device: torch.device, first: float) -> float:
    """Seconds of one run, the best of several blocks of runs; `first` is what one took."""
    end = time.perf_counter() + _BUDGET
    block = max(1, math.ceil(2 * _LONG / first))
    while time.perf_counter() < end:
        first = min(first, _time(run, device, block))
    return first


def _time(run: Callable[[], Any], device: torch.device, count: int = 1) -> float:
    _finish(device)
    start = time.perf_counter()
    for _ in range(count):
        run()
    _finish(device)
    return (time.perf_counter() - start) / count


def _finish(device: torch.device) -> None:
    """Wait until an accelerator has done all it was told to."""
    import torch

    if device.type != "cpu":
        torch.accelerator.synchronize(device)
