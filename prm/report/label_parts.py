"""Figures and tables of a report on step labels (`label_report.json`): the labelling's own page and the evaluation's
section show the same ones. What a figure means is said in its caption, so that it can stand anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prm.report.bars import count_bars, stacked_shares
from prm.report.formatting import Column
from prm.report.page import Figure, Table
from prm.report.plots import Series, line_plot, reliability_plot
from prm.stats.calibration import ReliabilityBin
from prm.stats.intervals import Estimate

Report = Mapping[str, Any]

_SHARE_OF_COMPLETIONS = (
    "A step's value is the share of right answers among the completions of the prefix that ends with it. A completion "
    "that was cut off or holds no answer is counted apart, never as a wrong one."
)
_VALUES = {  # what a value is, by the labeler
    "monte_carlo": _SHARE_OF_COMPLETIONS,
    "omega": _SHARE_OF_COMPLETIONS,
    "first_error": "A step's value is the chance that no step so far is wrong, given some prefixes' completions.",
    "judge": "A step's value is the share of the judge's votes on it that call it right.",
    "implicit": "The last step's value is whether the solution's answer is right; of the others nothing is known.",
}
_ANY_VALUE = "A step's value goes from 0, wrong, to 1, right."
OVER_PROBLEMS = "95% intervals over problems."
TRUTH = {
    "step_accuracy": "steps labelled as the truth has it",
    "wrong_precision": "of the steps called wrong, truly wrong",
    "wrong_recall": "of the truly wrong steps, called wrong",
    "wrong_base_rate": "share of truly wrong steps",
    "first_error_accuracy": "rollouts whose first wrong step was found, or rightly not found",
}
COUNTED = {  # what `n` counts
    "step_accuracy": "steps",
    "wrong_precision": "steps",
    "wrong_recall": "steps",
    "wrong_base_rate": "steps",
    "first_error_accuracy": "rollouts",
}
PLACES = {
    "same_step": "both find the same wrong step",
    "both_none": "both find none",
    "second_earlier": "the second finds an earlier one",
    "second_later": "the second finds a later one",
    "only_first": "only the first finds one",
    "only_second": "only the second finds one",
    "undecided": "left undecided by one or both",
}

SEARCHES = {  # how searches for the first wrong step ended
    "searches": "rollouts searched",
    "below_confidence": "ended less sure than asked for",
    "nothing_decided": "of these, without a completion that decided anything",
}


def value_text(report: Report) -> str:
    """What a step's value is: each labeler has its own, and a consensus has its first labeler's."""
    name = (report.get("agreement") or {}).get("labelers", [report.get("labeler")])[0]
    return _VALUES.get(str(name), _ANY_VALUE)


def estimate(found: Mapping[str, Any]) -> Estimate | float:
    """A figure with its interval, or alone where a single problem was labelled."""
    if found["low"] is None:
        return float(found["mean"])
    return Estimate(**{name: found[name] for name in ("mean", "low", "high", "n")})


def position_lines(report: Report) -> Figure:
    """Mean value, and the shares of steps of value 0 and of value 1, along the solution."""
    rows = [row for row in report["by_position"] if row["mean"] is not None]
    positions = [row["position"] + 1 for row in rows]
    series = [
        Series(name, positions, [row[key] for row in rows])
        for name, key in (("mean value", "mean"), ("value 0", "all_wrong"), ("value 1", "all_right"))
    ]
    return Figure(line_plot(series, title="Values by step", x_label="step", y_label="share", log_x=False))


def value_bars(report: Report) -> Figure | None:
    """How the values of each step position are distributed; `None` where no label has a value."""
    values = report["values_by_position"]
    if not any(map(any, values["counts"])):
        return None
    plot = stacked_shares(
        values["bins"],
        values["counts"],
        title="How the values are spread",
        x_label="Step",
        y_label="Share of the labels at this step, by value",
    )
    caption = "From values of 0 (orange) at the bottom to values of 1 (blue) on top."
    return Figure(plot, caption)


def position_table(report: Report) -> Table:
    """The values of each step position in numbers."""
    columns = [
        Column("step", "integer"),
        Column("labels", "integer"),
        Column("mean value", "number"),
        *(Column(name, "percent") for name in ("value 0", "between", "value 1")),
    ]
    rows = [
        [row["position"] + 1, *(row[name] for name in ("labels", "mean", "all_wrong", "mixed", "all_right"))]
        for row in report["by_position"]
    ]
    return Table(columns, rows, "Values by step; labels that are unknown are not among the shares.", "by_step.csv")


def completion_bars(report: Report) -> Figure | None:
    """How many prefixes got how many completions; `None` where all got the same number."""
    counts = {int(count): prefixes for count, prefixes in report["completions_per_prefix"].items()}
    if len(counts) < 2:
        return None
    plot = count_bars(counts, title="Completions per prefix", x_label="Completions", unit="prefixes")
    return Figure(plot, narrow=True)


def reliability_figure(report: Report) -> Figure:
    """Soft values against the share of steps that are truly right."""
    bins = [ReliabilityBin(**row) for row in report["calibration"]["reliability"]]
    return Figure(reliability_plot(bins, title="Calibration of the values", x_label="Soft value"), narrow=True)


def counts_table(report: Report) -> Table:
    """What was labelled and how the completions ended."""
    rows = [
        ["rollouts", report["rollouts"]],
        ["step labels", report["step_labels"]],
        ["of them unknown", report.get("unknown_labels")],
        ["completions", report["completions"]],
        ["generated tokens", report["cost"].get("generated_tokens")],
        ["tokens per label", report["tokens_per_label"]],
        ["distinct prefixes with a label", report.get("distinct_labels")],
        ["tokens per distinct prefix", report.get("tokens_per_distinct_label")],
        ["completions cut off", report["truncated_share"]],
        ["completions without an answer", report["unparsable_share"]],
    ]
    return Table(["labelling", "value"], rows, "What was labelled and spent.", "labels.csv")


def cost_table(report: Report) -> Table:
    """Tokens in all, per known label and per distinct prefix that has one, by kind."""
    cost, per_label, per_prefix = report["cost"], report["cost_per_label"], report.get("cost_per_distinct_label", {})
    rows = [
        [name.removesuffix("_tokens") + " tokens", cost[name], per_label[name], per_prefix.get(name)]
        for name in ("generated_tokens", "prefilled_tokens", "cached_tokens")
    ]
    per = [Column("per known label", "number"), Column("per distinct prefix", "number")]
    columns = [Column("cost"), Column("in all", "integer"), *per]
    caption = (
        "Tokens of all completions; cached ones are prompts that were not computed again. A prefix that several "
        "rollouts share has a label in each of them, and counts once among the distinct ones that have a known label."
    )
    return Table(columns, rows, caption, "cost.csv")


def endings_table(report: Report) -> Table:
    """Shares of completions that decide nothing."""
    rows = [
        ["cut off", report["truncated_share"]],
        ["without an answer", report["unparsable_share"]],
        ["not compared in time", report.get("timeout_share")],
    ]
    columns = [Column("completions that decide nothing"), Column("share", "percent")]
    return Table(columns, rows, "Counted apart, never as wrong answers.", "undecided.csv")


def judge_table(report: Report) -> Table:
    """What became of a judge's votes."""
    votes = report["judge"]["votes"]
    total = max(1, sum(votes.values()))
    rows = [[status, count, count / total] for status, count in votes.items()]
    columns = [Column("the judge's votes"), Column("votes", "integer"), Column("share", "percent")]
    caption = "Votes that are not decided leave their steps unknown; they are never taken for a verdict."
    return Table(columns, rows, caption, "votes.csv")


def search_table(report: Report) -> Table:
    """How the searches for a first wrong step ended."""
    found = report["first_error"]
    rows = [[words, found[name]] for name, words in SEARCHES.items() if name in found]
    caption = (
        "A search that ends below the confidence asked for labels by what is most likely; one without any, nothing."
    )
    return Table(
        [Column("searches for the first wrong step"), Column("rollouts", "integer")], rows, caption, "searches.csv"
    )


def truth_table(report: Report) -> Table | None:
    """Hard labels against the truth; `None` where it is not known."""
    found = report.get("truth", {})
    rows = [
        [what, estimate(found[key]), f"{found[key]['n']:,} {COUNTED[key]}"]
        for key, what in TRUTH.items()
        if found.get(key)
    ]
    if not rows:
        return None
    caption = f"Known labels against the truth; a rollout counts where nothing unknown comes first. {OVER_PROBLEMS}"
    return Table(["against the truth", Column("share", "percent"), "of"], rows, caption, "truth.csv")


def calibration_table(report: Report) -> Table:
    """Calibration error and Brier score of the soft values."""
    found = report["calibration"]
    rows = [
        ["expected calibration error", estimate(found["ece"])],
        ["Brier score", estimate(found["brier"])],
        ["steps", found["ece"]["n"]],
    ]
    caption = f"Soft values against the truth, in bins of equal mass; {OVER_PROBLEMS}"
    return Table(["soft values", Column("value", "auto")], rows, caption, "calibration.csv")


def agreement_tables(report: Report) -> list[Table]:
    """What two labelers say of the first wrong step, and how far they agree."""
    found = report["agreement"]
    places = [[words, found["first_wrong_step"].get(place, 0)] for place, words in PLACES.items()]
    names = {"same_first_wrong_step": "rollouts with the same first wrong step, or none", "step_agreement": "steps"}
    shares = [[words, estimate(found[key])] for key, words in names.items() if found.get(key)]
    first, second = found["labelers"]
    tables = [
        Table(
            [f"first: {first}; second: {second}", Column("rollouts", "integer")],
            places,
            "What the two labelers say of the first wrong step.",
            "first_wrong_step.csv",
        ),
        Table(["agreement", Column("share", "percent")], shares, OVER_PROBLEMS, "agreement.csv"),
    ]
    if found.get("kappa"):
        row = ["Cohen's kappa of the step verdicts", estimate(found["kappa"])]
        caption = f"Agreement beyond chance: 0 is chance, 1 is full agreement; {OVER_PROBLEMS}"
        tables.append(Table(["beyond chance", Column("kappa", "number")], [row], caption, "kappa.csv"))
    return tables
