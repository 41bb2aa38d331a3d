"""Numbers that others published, in percent, with their source: to stand beside ours, and marked as published.

They were measured by their authors, with their thresholds and their reading of the checkpoints, and are no results of
this program.
"""

from __future__ import annotations

from dataclasses import dataclass

_LESSONS = "arXiv 2501.07301, table 7"
_GENPRM = "arXiv 2504.00891, figure 1"
_PURE = "arXiv 2504.15275, and the README of CJReinforce/PURE"
_PRMBENCH = "arXiv 2501.03124, and the README of ssmisya/PRMBench"
_SECOND_HAND = "not confirmed at its source: tables that quote PRMBench's leaderboard"
SUBSETS = ("gsm8k", "math", "olympiadbench", "omnimath")


@dataclass(frozen=True)
class Published:
    """What was published of one model on one benchmark.

    Attributes:
        name: the checkpoint's on the Hub, or of a model without one.
        mean: mean F1 over ProcessBench's four subsets, or PRMBench's overall PRMScore.
        subsets: by subset, where they were published.
    """

    name: str
    benchmark: str
    mean: float
    source: str
    subsets: tuple[float, ...] = ()

    def of(self, subset: str) -> float | None:
        """A subset's number as a share, where there is one."""
        known = dict(zip(SUBSETS, self.subsets, strict=False))
        return known[subset] / 100 if subset in known else None


def _processbench(name: str, mean: float, *subsets: float, source: str = _LESSONS) -> Published:
    return Published(name, "processbench", mean, source, subsets)


PUBLISHED = (
    _processbench("o1-mini", 87.9, 93.2, 88.9, 87.2, 82.4),
    _processbench("Qwen/Qwen2.5-Math-PRM-72B", 78.3, 87.3, 80.6, 74.3, 71.1),
    Published("GenPRM-7B", "processbench", 75.2, _GENPRM),
    _processbench("Qwen/Qwen2.5-Math-PRM-7B", 73.5, 82.4, 77.6, 67.5, 66.3),
    _processbench("GPT-4o-0806", 61.9, 79.2, 63.6, 51.4, 53.5),
    _processbench("jinachris/PURE-PRM-7B", 57.5, 69.0, 66.5, 48.4, 45.9, source=_PURE),
    _processbench("Qwen/Qwen2.5-Math-7B-PRM800K", 56.5, 68.2, 62.6, 50.7, 44.3),
    _processbench("Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B", 42.1, 70.8, 53.6, 22.9, 21.0),
    _processbench("Skywork/Skywork-o1-Open-PRM-Qwen-2.5-1.5B", 36.4, 59.0, 48.0, 19.3, 19.2),
    _processbench("peiyi9979/math-shepherd-mistral-7b-prm", 31.5, 47.9, 29.5, 24.8, 23.8),
    _processbench("RLHFlow/Llama3.1-8B-PRM-Mistral-Data", 28.4, 50.4, 33.4, 13.8, 15.8),
    _processbench("RLHFlow/Llama3.1-8B-PRM-Deepseek-Data", 26.6, 38.8, 33.8, 16.9, 16.9),
    Published("o1-mini", "prmbench", 68.8, f"{_PRMBENCH} (394 of the samples)"),
    Published("GPT-4o", "prmbench", 66.8, _PRMBENCH),
    Published("Qwen/Qwen2.5-Math-PRM-7B", "prmbench", 65.5, _SECOND_HAND),
    Published("jinachris/PURE-PRM-7B", "prmbench", 65.3, "the README of CJReinforce/PURE"),
    Published("peiyi9979/math-shepherd-mistral-7b-prm", "prmbench", 47.0, _PRMBENCH),
)


def published_on(benchmark: str) -> tuple[Published, ...]:
    """What is known of a benchmark, the best first."""
    return tuple(sorted((one for one in PUBLISHED if one.benchmark == benchmark), key=lambda one: -one.mean))
