"""The report on step labels: what was labelled and spent, values by step position, stopping rules, agreement of two
labelers, and, where the truth is known, accuracy and calibration.

Accuracy and calibration are `data_gen.label_quality`'s, agreement is `data_gen.agreement`'s, what tokens are divided
by is `data_gen.label_cost`'s, and the page is `data_gen.label_page`'s.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from prm.labels import LabelledRollout, StepLabel
from prm.report.label_parts import COUNTED
from prm.rollouts import Cost, Outcome
from prm.run_record import library_versions
from prm.sampling_rules import FIRST_SUCCESS_RULE, FIXED_RULE

from .agreement import LabelledTwice, agreement_report
from .consensus import ConsensusLabeler
from .estimates import shown
from .grading import FINISHED
from .judge import SOURCE as JUDGE_SOURCE
from .label_cost import completion_words, cost_words, distinct_labels
from .label_quality import calibration_report, truth_report
from .prefixes import Prefix, PrefixResult, open_prefixes
from .truth import TruthOf, arithmetic_truth

VALUE_BINS = (0.25, 0.5, 0.75)  # borders inside (0, 1); exactly 0 and exactly 1 are bins of their own
NO_RULE = "none"
_TOKENS = ("generated_tokens", "prefilled_tokens", "cached_tokens")


def label_report(
    rows: Sequence[LabelledRollout],
    results: Mapping[Prefix, PrefixResult],
    grader_version: str,
    *,
    truth_of: TruthOf = arithmetic_truth,
    rejected_cost: Cost | None = None,
) -> dict[str, Any]:
    """Everything worth knowing about step labels, ready for JSON. Shares, and tokens per label, are of the labels that
    are known: one that nothing decided is no label that somebody could train on.

    Args:
        results: what completing prefixes showed; empty where no labeler did.
        truth_of: the truth about a rollout's steps, `None` where it is not known.
        rejected_cost: what was spent on rollouts that were left out; it is part of the bill.
    """
    labels = [label for row in rows for label in row.labels]
    prefixes = [prefix for row in rows for prefix in open_prefixes(row.rollout)]
    cost = sum((row.cost for row in rows), rejected_cost or Cost())
    distinct, known = distinct_labels(rows), sum(label.hard is not None for label in labels)
    report: dict[str, Any] = {
        "problems": len({row.rollout.problem.unique_id for row in rows}),
        "rollouts": len(rows),
        "step_labels": len(labels),
        "distinct_labels": distinct,
        "distinct_prefixes": len(results),
        "shared_prefixes": len(prefixes) - len(set(prefixes)),
        "decided_by_rollout": sum(map(_decided, rows)),
        **_completions(results),
        "known_labels": known,
        "unknown_labels": len(labels) - known,
        "hard_correct_share": _share([label.hard for label in labels].count(1), known),
        "sources": dict(sorted(Counter(label.source for label in labels).items())),
        "rules": dict(sorted(Counter(map(_rule, labels)).items())),
        "tokens_per_label": _share(cost.generated_tokens, known),
        "tokens_per_distinct_label": _share(cost.generated_tokens, distinct),
        "cost_per_label": {name: _share(getattr(cost, name), known) for name in _TOKENS},
        "cost_per_distinct_label": {name: _share(getattr(cost, name), distinct) for name in _TOKENS},
        "cost": _bill(cost),
        "by_position": _by_position(rows),
        "values_by_position": values_by_position(rows),
        "grader": grader_version,
        "versions": library_versions(),
    }
    if rejected_cost is not None:
        report["rejected_cost"] = _bill(rejected_cost)
    return report | _against_truth(rows, truth_of)


def _bill(cost: Cost) -> dict[str, float]:
    """What a cost counts. The time it took is the run's and not the labels': `label_run.json` has it."""
    return {name: value for name, value in cost.to_dict().items() if name != "seconds"}


def _decided(row: LabelledRollout) -> bool:
    """Whether the last label is the outcome of the rollout itself; a judge looks at that step as at any other."""
    return row.rollout.stop_reason in FINISHED and bool(row.labels) and row.labels[-1].source != JUDGE_SOURCE


def _rule(label: StepLabel) -> str:
    """The rule that stopped the sampling behind a label; a label without completions or a posterior has none."""
    return label.rule if label.n_total or label.rule != FIXED_RULE else NO_RULE


def _completions(results: Mapping[Prefix, PrefixResult]) -> dict[str, Any]:
    """Counts and shares of the completions, and how many prefixes got how many."""
    outcomes = [outcome for result in results.values() for outcome in result.outcomes]
    per_prefix = Counter(result.n_asked for result in results.values())
    return {
        "completions": len(outcomes),
        "completions_per_prefix": {str(count): per_prefix[count] for count in sorted(per_prefix)},
        "truncated_share": _share(outcomes.count(None), len(outcomes)),
        "unparsable_share": _share(outcomes.count(Outcome.UNPARSABLE), len(outcomes)),
        "timeout_share": _share(outcomes.count(Outcome.TIMEOUT), len(outcomes)),
    }


def _against_truth(rows: Sequence[LabelledRollout], truth_of: TruthOf) -> dict[str, Any]:
    """`truth`, `calibration` and the number of rollouts they rest on, where any truth is known."""
    known = sum(truth_of(row.rollout) is not None for row in rows)
    if not known:
        return {}
    found = {"truth": truth_report(rows, truth_of), "truth_rollouts": known}
    calibration = calibration_report(rows, truth_of)
    return found | ({"calibration": calibration} if calibration else {})


def consensus_report(labeler: ConsensusLabeler, names: tuple[str, str]) -> dict[str, Any]:
    """What was kept, what was left out and why, and how far the two labelers agree, ready for JSON."""
    kept = [LabelledTwice(one.rollout, one.labels, other.labels) for one, other in labeler.kept]
    rejected = [LabelledTwice(row.rollout, *row.verdicts) for row in labeler.rejected]
    return {"consensus": labeler.summary(), "agreement": agreement_report(kept + rejected, names)}


def _share(count: int, total: int) -> float | None:
    return count / total if total else None


def _by_position(rows: Sequence[LabelledRollout]) -> list[dict[str, Any]]:
    """How values fall along the solution: one entry per step position."""
    table = []
    for position in range(max((len(row.labels) for row in rows), default=0)):
        labels = [row.labels[position] for row in rows if position < len(row.labels)]
        values = [value for label in labels if (value := _value(label)) is not None]
        table.append(
            {
                "position": position,
                "labels": len(labels),
                "mean": math.fsum(values) / len(values) if values else None,
                "all_wrong": _share(values.count(0.0), len(values)),
                "mixed": _share(sum(0 < value < 1 for value in values), len(values)),
                "all_right": _share(values.count(1.0), len(values)),
            }
        )
    return table


def _value(label: StepLabel) -> float | None:
    """The soft value, or the hard label where the sampling's rule leaves no unbiased one."""
    return label.hard if label.rule == FIRST_SUCCESS_RULE else label.soft


def values_by_position(rows: Sequence[LabelledRollout]) -> dict[str, Any]:
    """How many labels of each step position have which value: `bins` are named from 0 to 1, `counts` has one list a
    position."""
    ends = [0.0, *VALUE_BINS, 1.0]
    names = ["0", *(f"{low:g} to {high:g}" for low, high in pairwise(ends)), "1"]
    counts = [[0] * len(names) for _ in range(max((len(row.labels) for row in rows), default=0))]
    for row in rows:
        for position, label in enumerate(row.labels):
            if (value := _value(label)) is not None:
                counts[position][_value_bin(value)] += 1
    return {"bins": names, "counts": counts}


def _value_bin(value: float) -> int:
    if value in (0, 1):
        return 0 if value == 0 else len(VALUE_BINS) + 2
    return 1 + sum(value >= border for border in VALUE_BINS)


def label_table(report: Mapping[str, Any]) -> str:
    """The report's main lines, for the terminal."""
    cost = report["cost"]
    if not report["rollouts"]:
        return "\n".join(["no rollout was labelled", *_agreement_lines(report)])
    lines = [
        f"{report['step_labels']} step labels of {report['rollouts']} rollouts, {completion_words(report)}",
        *_search_lines(report),
        *_vote_lines(report),
        _right_words(report),
        f"rules: {', '.join(f'{rule} {count:,}' for rule, count in report['rules'].items())}",
        f"cost: {cost_words(report)}",
        f"tokens: {cost['generated_tokens']:,} generated, "
        f"{cost['prefilled_tokens']:,} prefilled, {cost['cached_tokens']:,} cached, "
        + (f"{cost['flops']:.3g} FLOPs" if cost["flops"] else "no FLOPs counted"),
    ]
    for name in ("truncated_share", "unparsable_share", "timeout_share"):
        if report[name]:
            lines.append(f"{name.removesuffix('_share')} completions: {report[name]:.1%}, not counted as wrong")
    for name, estimate in report.get("truth", {}).items():
        if estimate:
            of = f"{estimate['n']:,} {COUNTED[name]}"
            lines.append(f"  against the truth, {name.replace('_', ' ')}: {shown(estimate)} of {of}")
    if calibration := report.get("calibration"):
        lines.append(f"  soft values: ECE {shown(calibration['ece'])}, Brier score {shown(calibration['brier'])}")
    return "\n".join(lines + _agreement_lines(report))


def _search_lines(report: Mapping[str, Any]) -> list[str]:
    """How the searches for a first wrong step ended, where there were any."""
    if not (found := report.get("first_error")):
        return []
    unsure, nothing = found["below_confidence"], found["nothing_decided"]
    return [
        f"searches: {found['searches']:,}, of which {unsure:,} ended less sure than asked for"
        + (f", {nothing:,} of these without a completion that decided anything" if nothing else "")
    ]


def _vote_lines(report: Mapping[str, Any]) -> list[str]:
    """What became of a judge's votes, where there was one."""
    if "judge" not in report:
        return []
    votes = report["judge"]["votes"]
    counts = ", ".join(f"{count:,} {status}" for status, count in votes.items() if count)
    return [f"votes of the judge: {sum(votes.values()):,} ({counts or 'none'}); undecided ones leave steps unknown"]


def _right_words(report: Mapping[str, Any]) -> str:
    """What the known labels say, and how many are unknown."""
    share, unknown = report["hard_correct_share"], f"unknown: {report['unknown_labels']:,}"
    if share is None:
        return unknown
    return f"right: {share:.1%} of the {report['step_labels'] - report['unknown_labels']:,} known labels; {unknown}"


def _agreement_lines(report: Mapping[str, Any]) -> list[str]:
    if "agreement" not in report:
        return []
    found, consensus = report["agreement"], report["consensus"]
    left_out = ", ".join(f"{count} {reason}" for reason, count in consensus["rejected"].items())
    both = " and ".join(found["labelers"])
    lines = [f"consensus of {both}: kept {consensus['kept']}; left out: {left_out or 'none'}"]
    names = {"same_first_wrong_step": "same first wrong step", "step_agreement": "steps", "kappa": "kappa of steps"}
    return lines + [f"  agreement, {words}: {shown(found[key])}" for key, words in names.items() if found[key]]
