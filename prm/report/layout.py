"""Where labels and ticks go: labels that never overlap, and ticks a reader would have chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence

MAX_LISTED_TICKS = 9


def spread(wanted: Sequence[float], sizes: Sequence[float], low: float, high: float) -> list[float]:
    """Centres for labels on a line, each as near as can be to where it is wanted, none overlapping.

    The sum of squared moves is least (an isotonic regression of the wanted places, less the room taken below each).
    Where the labels need more room than there is, all are squeezed alike.

    Args:
        wanted: the centre each label would like.
        sizes: the room each label takes.
        low, high: the ends of the line, which no label crosses unless there is too little room.
    """
    if not wanted:
        return []
    squeeze = min(1.0, (high - low) / sum(sizes))
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    offsets, used = [], 0.0
    for i in order:
        offsets.append(used + squeeze * sizes[i] / 2)
        used += squeeze * sizes[i]
    fitted = _isotonic([wanted[i] - offset for i, offset in zip(order, offsets, strict=True)])
    places = [0.0] * len(wanted)
    for i, offset, value in zip(order, offsets, fitted, strict=True):
        places[i] = min(max(value, low), high - used) + offset
    return places


def log_ticks(values: Sequence[float]) -> list[float]:
    """Ticks of a logarithmic axis: the values where they are few integers, else 1, 2, 5 or powers of ten."""
    own = sorted(set(values))
    if len(own) <= MAX_LISTED_TICKS and all(value == round(value) and value <= 4096 for value in own):
        return own
    low, high = own[0], own[-1]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1,)):
        ticks = [step * 10.0**power for power in powers for step in steps]
        inside = [tick for tick in ticks if low / 1.3 <= tick <= high * 1.3]
        if 2 <= len(inside) <= MAX_LISTED_TICKS:
            return inside
    stride = math.ceil(len(powers) / MAX_LISTED_TICKS)
    return [10.0**power for power in powers][::stride]


def _isotonic(values: Sequence[float]) -> list[float]:
    """The non-decreasing sequence nearest in least squares (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (b, n), (a, m) = pools.pop(), pools.pop()
            pools.append(((a * m + b * n) / (m + n), m + n))
    return [value for value, count in pools for _ in range(count)]
