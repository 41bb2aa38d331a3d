"""`report.html` of a run of `prm bench`: the benchmark's numbers, and what the scores are worth by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prm.report.formatting import Column, Row, percent, points
from prm.report.page import Figure, Section, Table, render_report
from prm.report.plots import reliability_plot

from .quality import Quality
from .table import Summary, results_of

TITLES = {"processbench": "ProcessBench", "prmbench": "PRMBench", "best_of_n": "Best-of-n of recorded samples"}
_ALL = "all"


EXPLAINED = {
    "processbench": "First error found: of the solutions with an error, the share whose first wrong step was named. "
    "Right accepted: of those without one, the share in which no step was called wrong. A step is called wrong below "
    "the threshold. F1 is the harmonic mean of the two shares (arXiv 2412.06559).",
    "prmbench": "A step is called wrong below the threshold. PRMScore is half the F1 of right steps and half that of "
    "wrong ones, over the pooled steps of a category; a dimension is the mean of its categories (arXiv 2501.03124).",
    "best_of_n": "Of n samples of a problem the one with the highest score is taken; majority takes the most frequent "
    "answer, and pass@n is what no selection beats. Means are over every n of a problem's samples (arXiv 2305.20050).",
}
"""What the columns of a benchmark's table are, and where it was published."""


def render(summary: Summary, run: Mapping[str, Any] | None = None) -> str:
    """The page.

    Args:
        run: what `run.json` holds.
    """
    title = TITLES[summary["benchmark"]]
    found = results_of(summary)
    caption = f"{title}: 95% intervals, problems drawn with replacement."
    table = Table(found.headers, found.rows, caption, f"{summary['benchmark']}.csv")
    facts = {"verifier": summary["verifier"], "files": len(summary["settings"]["files"])}
    if started := (run or {}).get("started"):
        facts["measured"] = started[:10]
    text = "\n\n".join([EXPLAINED[summary["benchmark"]], *map(_sentence, found.notes)])
    return render_report(
        title,
        f"Of {summary['verifier']}",
        _lead(summary),
        [Section("Results", text, tables=[table]), *quality_sections(_qualities(summary))],
        {**facts, "seed": summary["config"]["seed"]},
        footer="Run again with the same configuration to get the same numbers.",
        provenance=_provenance(summary, run or {}),
    )


def _provenance(summary: Summary, run: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The verifier, every file with its hash, the settings, and what they ran with."""
    config, settings = summary["config"], summary["settings"]
    plain = {name: value for name, value in config.items() if value not in (None, "", [], False)}
    made = {name: str(run[name]) for name in ("command", "started", "seconds", "git_commit") if run.get(name)}
    groups = {
        "Verifier": {"path": config["prm_path"], "weights": summary["fingerprint"] or "in memory"},
        "Files": dict([*settings["files"], *settings["fit_files"]]),
        "Settings": {name: " ".join(one) if isinstance(one, list) else str(one) for name, one in plain.items()},
        "Run": made,
        "Versions": {name: str(version) for name, version in run.get("versions", {}).items()},
    }
    return {name: values for name, values in groups.items() if values}


def _sentence(note: str) -> str:
    return f"{note[0].upper()}{note[1:]}."


def quality_sections(qualities: Mapping[str, Quality]) -> list[Section]:
    """Ranking, calibration and bias of sets of scored items, by their names."""
    if not qualities:
        return []
    ranking: list[str | Column] = ["scored", Column("items", "integer")]
    ranking += [Column(n, "number") for n in ("share wrong", "AUROC", "AUROC within a problem", "AUPRC of wrong")]
    ranked: list[Row] = [
        [name, q.n, q.wrong, q.auroc, q.auroc_within, q.auprc_of_wrong] for name, q in qualities.items()
    ]
    calibration: list[str | Column] = ["scored", Column("ECE", "number"), Column("Brier score", "number")]
    calibrated: list[Row] = [[name, q.ece, q.brier] for name, q in qualities.items()]
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
            [
                Table(ranking, ranked, "Ranking, problems drawn with replacement.", "ranking.csv"),
                Table(calibration, calibrated, "Calibration, problems drawn with replacement.", "calibration.csv"),
            ],
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
