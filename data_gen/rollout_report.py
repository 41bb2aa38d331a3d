"""The report on rollouts: outcomes, truncation, accuracy with its interval, and cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from prm.rollouts import Cost, Outcome, Rollout, StopReason
from prm.run_record import library_versions

from .estimates import over_problems, shown

_SHOWN_DISAGREEMENTS = 50


def rollout_report(
    rollouts: Sequence[Rollout],
    grader_version: str,
    generator: Mapping[str, Any] | None = None,
    max_new_tokens: int | None = None,
    verdicts: Mapping[str, bool] | None = None,
) -> dict[str, Any]:
    """Everything worth knowing about rollouts, ready for JSON.

    Args:
        rollouts: none where a shard has no problem; means and shares are then `None`.
        generator: its name, revision, parameters and context length; `None` for recorded solutions. Where these come
            from several systems they have an accuracy per source but no pass@1.
        max_new_tokens: tells samples that ran out of context from those that ran out of tokens.
        verdicts: a record's own verdicts by rollout key, to compare ours with.
    """
    outcomes = Counter(r.outcome.value if r.outcome else "undecided" for r in rollouts)
    reasons = Counter(r.stop_reason for r in rollouts)
    report: dict[str, Any] = {
        "problems": len({r.problem.unique_id for r in rollouts}),
        "rollouts": len(rollouts),
        "outcomes": {name: outcomes[name] for name in [*Outcome, "undecided"]},
        "stop_reasons": {reason.value: reasons[reason] for reason in StopReason},
        "truncated_share": _mean(reasons[StopReason.LENGTH], len(rollouts)),
        "without_steps": sum(not r.steps for r in rollouts),
        "steps_per_rollout": _mean(sum(len(r.steps) for r in rollouts), len(rollouts)),
        "by_source": _by_source(rollouts),
        "grader": grader_version,
        "versions": library_versions(),
    }
    if len(report["by_source"]) == 1:
        report["pass@1"] = _pass_at_1(rollouts)
    if generator is not None:
        report |= {
            "generator": dict(generator),
            "out_of_context": _out_of_context(rollouts, max_new_tokens),
            "tokens_per_rollout": _mean(sum(r.cost.generated_tokens for r in rollouts), len(rollouts)),
            "cost": sum((r.cost for r in rollouts), Cost()).to_dict(),
        }
    return report | ({"recorded_verdicts": _compare(rollouts, verdicts)} if verdicts else {})


def _mean(total: int, count: int) -> float | None:
    """`None` of nothing: a shard may have no problem to sample."""
    return total / count if count else None


def _pass_at_1(rollouts: Sequence[Rollout]) -> dict[str, Any] | None:
    """Mean over problems of the share of right samples; a truncated sample is not a solved problem."""
    by_problem: dict[str, list[bool]] = {}
    for rollout in rollouts:
        by_problem.setdefault(rollout.problem.unique_id, []).append(rollout.correct)
    return over_problems((problem, sum(right) / len(right)) for problem, right in by_problem.items())


def _by_source(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for source in dict.fromkeys(r.source for r in rollouts):
        own = [r for r in rollouts if r.source == source]
        table[source] = {
            "rollouts": len(own),
            "correct": sum(r.correct for r in own),
            "accuracy": over_problems((r.problem.unique_id, r.correct) for r in own),
        }
    return table


def _out_of_context(rollouts: Sequence[Rollout], max_new_tokens: int | None) -> int:
    return sum(
        r.stop_reason is StopReason.LENGTH and r.cost.generated_tokens < (max_new_tokens or 0) for r in rollouts
    )


def _compare(rollouts: Sequence[Rollout], verdicts: Mapping[str, bool]) -> dict[str, Any]:
    """How often our outcome is the record's verdict."""
    compared = [r for r in rollouts if r.key in verdicts]
    disagreements = [r for r in compared if r.correct != verdicts[r.key]]
    return {
        "compared": len(compared),
        "agree": len(compared) - len(disagreements),
        "disagreements": [
            {"key": r.key, "pred": r.pred, "answer": r.problem.answer, "recorded": verdicts[r.key]}
            for r in disagreements[:_SHOWN_DISAGREEMENTS]
        ],
    }


def rollout_table(report: Mapping[str, Any]) -> str:
    """The report's main lines, for the terminal."""
    lines = [f"{report['rollouts']} rollouts of {report['problems']} problems"]
    if not report["rollouts"]:
        return lines[0]
    lines[0] += f", {report['steps_per_rollout']:.1f} steps each"
    lines.append("outcomes: " + ", ".join(f"{name} {count}" for name, count in report["outcomes"].items() if count))
    if "pass@1" in report:
        lines.append(f"pass@1: {shown(report['pass@1'])}")
    else:
        lines += [f"  {source}: {shown(row['accuracy'])} correct" for source, row in report["by_source"].items()]
    if "cost" in report:
        cost = report["cost"]
        lines.append(
            f"cost: {cost['generated_tokens']:,} tokens generated, {cost['prefilled_tokens']:,} prefilled, "
            f"{cost['cached_tokens']:,} cached, "
            + (f"{cost['flops']:.3g} FLOPs" if cost["flops"] else "no FLOPs counted (num_parameters is not known)")
        )
    if report["truncated_share"]:
        share = report["truncated_share"]
        lines.append(f"truncated: {share:.1%}, not counted as wrong; raise max_new_tokens, or set stop")
    if report.get("out_of_context"):
        lines.append(f"longer than the generator's context: {report['out_of_context']}")
    if "recorded_verdicts" in report:
        verdicts = report["recorded_verdicts"]
        lines.append(f"the record's verdicts: {verdicts['agree']} of {verdicts['compared']} reproduced")
    return "\n".join(lines)
