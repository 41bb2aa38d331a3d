"""The report's last section: which problems have a page of their own, and how to make one (`problem_pages` does)."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from prm.report.formatting import percent
from prm.report.page import Link, Section

from .problem_pages import FOLDER, PROBLEM_IDS, WORST, best_or_baseline, page_name

if TYPE_CHECKING:
    from ..evaluate_search import EvalConfig
    from ..run import EvalResult

SHOWN = 80
"""Characters of a problem that stand beside its link."""


def problem_section(config: EvalConfig, result: EvalResult, folder: Path) -> Section:
    """The pages that lie below a folder, which the report is in, those first where the best method loses most."""
    n = max(result.ns)
    best, oracle = best_or_baseline(result), result.find("pass_at_n", n)
    there = [
        (best.per_problem[index] - oracle.per_problem[index], index, page_name(problem.unique_id))
        for index, problem in enumerate(result.problems)
        if (folder / FOLDER / page_name(problem.unique_id)).is_file()
    ]
    links = []
    for _, index, name in sorted(there):
        problem = result.problems[index]
        right, possible = (percent(line.per_problem[index]) for line in (best, oracle))
        text = shorten(problem.problem, SHOWN, placeholder=" …")
        links.append(
            Link(problem.unique_id, f"{FOLDER}/{name}", f"{text} ({best.label} {right}, pass@{n} {possible})")
        )
    how = (
        f"prm eval --from {config.output_dir} --problem {WORST}:5 writes a page for each of the five problems where "
        f"{best.label} loses most against pass@{n}: what every method makes of it, the trees of the searches, and the "
        f"solutions that verifiers chose, step by step. Ids name single problems; {PROBLEM_IDS} has them. No model is "
        "asked again."
    )
    return Section("Problem by problem", how, links=links)
