"""Which gains of a run are at equal FLOPs, in words. A reference spends at most what its samples cost, so that a
method is shown at the largest n that they can match; where there is none, the row says how much less they spend.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prm.report.formatting import percent

from ..analysis.gains import Gain
from ..results import MethodResult

if TYPE_CHECKING:
    from ..evaluate_search import EvalConfig
    from ..run import EvalResult

Lines = Mapping[str, MethodResult]
"""The lines of a run by their keys."""


def closest(gains: Sequence[Gain], lines: Lines) -> list[Gain]:
    """Of the gains of each method over one reference the one with the largest n at equal FLOPs, or, without one, that
    with the smallest."""
    methods: dict[tuple[str, str], list[Gain]] = {}
    for gain in gains:
        methods.setdefault((lines[gain.key].method, lines[gain.key].verifier), []).append(gain)
    found = []
    for some in methods.values():
        some = sorted(some, key=lambda gain: lines[gain.key].n)
        found.append(next((gain for gain in reversed(some) if gain.matched), some[0]))
    return found


def equal_name(gains: Sequence[Gain]) -> str:
    """What pictures and tabs call these gains: at equal FLOPs only where every one of them is."""
    return "equal FLOPs" if all(gain.matched for gain in gains) else "up to equal FLOPs"


def row_label(gain: Gain, lines: Lines) -> str:
    """`beam search, prm @ 8`, and what the reference spends of its FLOPs where that is not the same."""
    line = lines[gain.key]
    return f"{line.label} @ {line.n}{'' if gain.matched else f' (against {percent(gain.flops_ratio)})'}"


def how_to_read(gains: Sequence[Gain]) -> str:
    """For the caption of a picture with these rows."""
    text = "Each method at the largest n whose FLOPs the reference reaches."
    if all(gain.matched for gain in gains):
        return text
    return (
        f"{text} Where there is none, the row says against how much of its FLOPs it is held: those of the end of the "
        "reference's curve, which has no more samples, or none that cost so little. Such a gain is not at equal FLOPs."
    )


def needed_sentence(config: EvalConfig, result: EvalResult) -> str:
    """With how many samples the vote would spend as much as every method at its largest n, and how to draw them; empty
    where it does, and for a panel, whose systems give one sample each."""
    lines = {line.key: line for line in result.methods}
    short = _short(result.analysis.gains, lines) if result.analysis and not config.panel else []
    if not short:
        return ""
    first, last = min(short, key=_needed), max(short, key=_needed)
    command = "" if config.rollouts else f"prm eval --from {config.output_dir} "
    text = (
        f"majority at n={max(result.ns)} spends fewer FLOPs than {_count(len(short))} at the largest n: "
        f"{command}{_samples(config, first)} would match {_now(first, lines)}"
    )
    if _needed(first) < _needed(last):
        text += f", {_samples(config, last)} all of them at the n they have now, the dearest {_now(last, lines)}"
    return text


def _samples(config: EvalConfig, gain: Gain) -> str:
    return f"{_needed(gain)} recorded samples" if config.rollouts else f"--n {_needed(gain)}"


def _needed(gain: Gain) -> int:
    return math.ceil(gain.needed_n - 1e-6)  # a whole number may have been computed from above


def _short(gains: Sequence[Gain], lines: Lines) -> list[Gain]:
    """What the vote cannot match, of the largest n of each method that is no control."""
    largest: dict[tuple[str, str], int] = {}
    for line in lines.values():
        largest[line.method, line.verifier] = max(line.n, largest.get((line.method, line.verifier), 0))
    return [
        gain
        for gain in gains
        for line in [lines[gain.key]]
        if (gain.reference, gain.equal) == ("majority", "flops") and line.n == largest[line.method, line.verifier]
        if not gain.matched and gain.flops_ratio < 1 and not line.control and not math.isnan(gain.needed_n)
    ]


def _count(methods: int) -> str:
    return "one method" if methods == 1 else f"{methods} methods"


def _now(gain: Gain, lines: Lines) -> str:
    line = lines[gain.key]
    return f"{line.label} @ {line.n} (now {percent(gain.flops_ratio)} of its FLOPs)"
