"""The card's `model-index`: what was measured, as the Hub's metadata, each metric with its interval.

A metric's name tells a reader its interval, and `args` holds it for programs. Best-of-n stands beside the majority
vote over as many solutions. Nothing is computed anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prm.cards.benchmarks import BenchResults
from prm.cards.facts import VerifierFacts, without_local_paths
from prm.cards.held_out import METRIC_NAMES, published_metrics
from prm.cards.results import Results
from prm.cards.tables import words

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

LEVEL = 0.95
PIPELINE_TAGS = {
    "token_classification": "token-classification",
    "sequence_classification": "text-classification",
    "reward_tokens": "text-generation",
    "implicit": "text-generation",
}


def model_index(facts: VerifierFacts, results: Results | None, bench: Sequence[BenchResults]) -> list[EvalResult]:
    """One entry for each number that was measured, by task and data set."""
    return [*_searched(results), *_benchmarked(facts, bench), *_held_out(facts)]


def _entry(metric: str, name: str, value: Any, bar: tuple[float, float] | None, **task: Any) -> EvalResult:
    from huggingface_hub import EvalResult

    said = f" (95% interval {bar[0]:.3f} to {bar[1]:.3f})" if bar else ""
    return EvalResult(
        metric_type=metric,
        metric_name=name + said,
        metric_value=round(value, 4),
        metric_args={"confidence_level": LEVEL, "low": round(bar[0], 4), "high": round(bar[1], 4)} if bar else None,
        **task,
    )


def _searched(results: Results | None) -> Iterator[EvalResult]:
    """Accuracy under search at the run's n, of this verifier's methods and of the baseline they are held against."""
    if results is None:
        return
    run = results.content
    task: dict[str, Any] = {
        "task_type": "text-generation",
        "task_name": "Test-time search",
        "dataset_name": str(run["dataset"]),
        "dataset_type": str(run["dataset"]),
    }
    baseline = words(run["baseline"])
    for line in run["methods"]:
        if line["n"] != run["n"] or line.get("oracle") or line.get("control"):
            continue
        if line["verifier"] not in (results.verifier, None) or (not line["verifier"] and line["method"] != "majority"):
            continue
        name = f"{words(line['method'])}, n = {line['n']}" + ("" if line["verifier"] else ", without a verifier")
        accuracy, gain = line["accuracy"], line["gain"]
        yield _entry("accuracy", f"Accuracy of {name}", accuracy["mean"], _bar(accuracy), **task)
        if gain and line["verifier"]:
            yield _entry("accuracy_gain", f"Gain of {name}, over {baseline}", gain["mean"], _bar(gain), **task)


def _benchmarked(facts: VerifierFacts, bench: Sequence[BenchResults]) -> Iterator[EvalResult]:
    for run in bench:
        known = run.benchmark
        numbers = [("all subsets", *run.overall()), *((row.subset, row.headline, row.interval) for row in run.rows())]
        for subset, value, bar in numbers:
            if value is not None:
                yield _entry(
                    known.metric,
                    known.metric_name,
                    value,
                    bar,
                    task_type=PIPELINE_TAGS[facts.spec.head],
                    task_name=known.title,
                    dataset_name=f"{known.title}, {subset}",
                    dataset_type=known.dataset,
                    dataset_config=subset,
                )


def _held_out(facts: VerifierFacts) -> Iterator[EvalResult]:
    """The training's own evaluation, of what is published; labels of single sources and what has no name in
    a card are left to its file."""
    data = without_local_paths((facts.metrics.get("data") or {}).get("dataset_name")) or "training data"
    for metric, found in published_metrics(facts.metrics).items():
        value = found.get("value", found.get("mean")) if isinstance(found, Mapping) else found
        if metric in METRIC_NAMES and isinstance(value, int | float) and not isinstance(value, bool):
            yield _entry(
                metric,
                METRIC_NAMES[metric],
                value,
                _bar(found) if isinstance(found, Mapping) else None,
                task_type=PIPELINE_TAGS[facts.spec.head],
                task_name="Reward modelling",
                dataset_name=f"{data}, held-out problems",
                dataset_type=str(data),
            )


def _bar(value: Mapping[str, Any]) -> tuple[float, float] | None:
    low, high = value.get("low"), value.get("high")
    return None if low is None or high is None else (low, high)
