"""`report.html` of a run of `prm bench`: the benchmark's numbers, and what the scores are worth by themselves."""

from __future__ import annotations

from collections.abc import Mapping

from prm.report.formatting import Column, percent, points
from prm.report.page import Figure, Section, Table, render_report
from prm.report.plots import reliability_plot

from .quality import Quality
from .table import Summary, results_of

TITLES = {"processbench": "ProcessBench", "prmbench": "PRMBench", "best_of_n": "Best-of-n of recorded samples"}
_ALL = "all"


def render(summary: Summary) -> str:
    """The page."""
    title = TITLES[summary["benchmark"]]
    found = results_of(summary)
    caption = f"{title}: 95% intervals, problems drawn with replacement."
    table = Table(found.headers, found.rows, caption, f"{summary['benchmark']}.csv")
    facts = {"verifier": summary["verifier"], "weights": summary["fingerprint"] or "in memory"}
    return render_report(
        title,
        f"Of {summary['verifier']}",
        _lead(summary),
        [Section("Results", "\n\n".join(found.notes), tables=[table]), *quality_sections(_qualities(summary))],
        {**facts, "seed": summary["config"]["seed"]},
        footer="Run again with the same configuration to get the same numbers.",
    )


def quality_sections(qualities: Mapping[str, Quality]) -> list[Section]:
    """Ranking, calibration and bias of sets of scored items, by their names."""
    if not qualities:
        return []
    headers: list[str | Column] = [
        "scored",
        Column("items", "integer"),
        Column("share wrong", "number"),
        Column("AUROC", "number"),
        Column("AUROC within a problem", "number"),
        Column("AUPRC of wrong", "number"),
        Column("ECE", "number"),
        Column("Brier score", "number"),
    ]
    rows = [
        [name, q.n, q.wrong, q.auroc, q.auroc_within, q.auprc_of_wrong, q.ece, q.brier]
        for name, q in qualities.items()
    ]
    names: list[str | Column] = ["scored", *(Column(n, "number") for n in ("place of a step", "steps", "characters"))]
    bias = [[name, q.place, q.steps, q.characters] for name, q in qualities.items()]
    figures = [
        Figure(reliability_plot(quality.bins, title=f"Reliability, {name}", unit="items"), narrow=True)
        for name, quality in qualities.items()
    ]
    return [
        Section(
            "What the scores are worth by themselves",
            "AUROC .5 is chance; the AUPRC is worth what it has over the share of wrong items. ECE (bins of equal "
            "mass) and Brier score are 0 at best.",
            figures,
            [Table(headers, rows, "Scores against the truth, problems drawn with replacement.", "quality.csv")],
        ),
        Section(
            "What the scores follow beside the truth",
            "Rank correlations, 0 without bias: of a step's score with its place in solutions that are right "
            "throughout, and of a solution's score with its length among solutions that are alike right or wrong.",
            tables=[Table(names, bias, "Spearman's correlation, problems drawn with replacement.", "bias.csv")],
        ),
    ]


def _qualities(summary: Summary) -> dict[str, Quality]:
    """Of each subset that was measured by itself, and of all where there is not just one."""
    parts = {name: found["quality"] for name, found in summary["subsets"].items() if found.get("quality")}
    if len(parts) != 1:
        parts[_ALL] = summary["quality"]
    return {name: Quality.from_dict(row) for name, row in parts.items() if row}


def _lead(summary: Summary) -> str:
    return _LEADS[summary["benchmark"]](summary)


def _processbench(summary: Summary) -> str:
    mean = summary["mean_f1"]
    if mean is None:
        return "An F1 needs solutions with an error and solutions without one."
    bar = summary["mean_interval"]
    return f"Mean F1 of finding the first wrong step: {percent(mean)} [{percent(bar[0])}, {percent(bar[1])}]."


def _prmbench(summary: Summary) -> str:
    score, bar = summary["prm_score"], summary["mean_interval"]
    if score is None or bar is None:
        return "A PRMScore needs right and wrong steps."
    return f"PRMScore over all steps: {percent(score)} [{percent(bar[0])}, {percent(bar[1])}]."


def _best_of_n(summary: Summary) -> str:
    name, found = list(summary["subsets"].items())[-1]
    gain, low, high = found["gain_over_majority"]
    return (
        f"At {name}: {percent(found['best_of_n'][0])} right, {points(gain)} [{points(low)}, {points(high)}] points on "
        "majority voting."
    )


_LEADS = {"processbench": _processbench, "prmbench": _prmbench, "best_of_n": _best_of_n}
