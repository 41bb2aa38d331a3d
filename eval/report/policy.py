"""The report's sections on compute-optimal policies: what each bin of problems gets, and what that gains, held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prm.report.formatting import Column, si
from prm.report.page import Figure, Section, Table
from prm.report.plots import IntervalRow, Series, clear_of, interval_plot, line_plot

from ..policy_finding import PolicyFinding
from ..results import MethodResult, method_title
from .wording import capital

TEXT = (
    "Problems are parted by how hard they look, and for each part and each budget the policy holds the method that "
    "does best within the budget (arXiv 2408.03314). A budget is what best-of-n costs with the same verifier; "
    "estimating the difficulty is paid out of it. Accuracies and gains are held out: each problem is measured with "
    "the choices made on the other folds."
)
HOW = {
    "oracle": "the share of right samples, which nobody knows beforehand: an upper bound",
    "scores": "the mean score of a few samples of its own",
    "agreement": "how far the answers of a few samples of its own agree",
}


def policy_section(findings: Sequence[PolicyFinding], methods: Sequence[MethodResult]) -> Section:
    """Every policy of a run: accuracy against the budget beside best-of-n, gains, choices."""
    figures = [figure for finding in findings for figure in _figures(finding, methods)]
    tables = [table for finding in findings for table in _tables(finding)]
    return Section("Compute-optimal spending", TEXT, figures, tables)


def _title(finding: PolicyFinding) -> str:
    return f"difficulty by {finding.measure.by}, {finding.verifier}"


def _figures(finding: PolicyFinding, methods: Sequence[MethodResult]) -> Iterator[Figure]:
    budgets = sorted(finding.budgets, key=lambda one: one.flops)
    spent, reached = [one.spent for one in budgets], [one.accuracy for one in budgets]
    series = [Series.from_estimates("compute-optimal, held out", spent, reached, color=0)]
    same = [line for line in methods if (line.method, line.verifier) == ("best_of_n", finding.verifier)]
    fixed = [line for one in budgets for line in same if line.n == one.n]
    if fixed:
        flops, accuracies = [line.bill.flops for line in fixed], [line.accuracy for line in fixed]
        series.append(Series.from_estimates("best-of-n", flops, accuracies, color=1, style="dashed", mark=1))
    if len(budgets) > 1:
        plot = line_plot(
            series,
            title=f"Compute-optimal: {_title(finding)}",
            x_label="FLOPs per problem, both models, difficulty estimation included",
            y_label="accuracy",
            log_x=True,
        )
        yield Figure(
            plot, f"Difficulty is {HOW.get(finding.measure.by, finding.measure.by)}. Bands are 95% intervals."
        )
    rows = [
        IntervalRow(f"budget of best-of-{one.n}, over {name}", gain.mean, gain.low, gain.high)
        for one in budgets
        for name, gain in (("best-of-n", one.over_best_of_n), ("the best fixed method", one.over_fixed))
    ]
    plot = interval_plot(rows, title=f"Gain at equal compute, {_title(finding)}, percentage points", x_label="points")
    caption = f"Paired by problem, held out over {finding.folds} folds of {finding.problems} problems, 95% intervals. "
    yield Figure(plot, caption + clear_of("zero"))


def _tables(finding: PolicyFinding) -> Iterator[Table]:
    name = f"{finding.name}_{finding.verifier}".replace("/", "_")
    bins = len(finding.bin_problems)
    budget = Column("budget: best-of-n", "integer")
    yield Table(
        [budget, Column("FLOPs", "si"), Column("spent", "si"), *(f"bin {number}" for number in range(1, bins + 1))],
        [[one.n, one.flops, one.spent, *map(_choice, one.choices)] for one in finding.budgets],
        f"{capital(_title(finding))}: what each bin gets, the easiest first, in the exported policy "
        f"({finding.file}). Estimating the difficulty of a problem cost {si(finding.estimation.flops)} FLOPs.",
        f"{name}.csv",
    )
    headers = [budget, Column("accuracy", "percent"), Column("over best-of-n", "points")]
    yield Table(
        [*headers, Column("over the best fixed method", "points"), "which is"],
        [[one.n, one.accuracy, one.over_best_of_n, one.over_fixed, _choice(one.fixed)] for one in finding.budgets],
        "Held out, in percentage points, paired by problem. The fixed method needs no estimate of difficulty; it is "
        "the best one within the budget, chosen held out likewise, and named as it is on all problems.",
        f"{name}_gains.csv",
    )
    yield Table(
        ["method", Column("n", "integer"), *(Column(f"bin {number}", "percent") for number in range(1, bins + 1))],
        [
            ["problems", None, *(f"{count:,}" for count in finding.bin_problems)],
            ["pass@1", None, *finding.bin_pass_at_1],
            *([method_title(line.method), line.n, *line.accuracy] for line in finding.methods),
        ],
        f"Accuracy in each bin; {finding.binning} bins"
        + (f", parted at {', '.join(f'{edge:.3g}' for edge in finding.edges)}." if finding.edges else "."),
        f"{name}_bins.csv",
        folded=f"Every method in every bin, {_title(finding)}",
    )


def _choice(key: str) -> str:
    """`dvts@16` as people read it."""
    method, _, n = key.rpartition("@")
    return f"{method_title(method.partition('/')[0])} @ {n}"
