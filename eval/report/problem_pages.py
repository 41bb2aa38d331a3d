"""A page for each problem on demand (`prm eval --from runs/x --problem ID`): what every method made of it, the trees
of the live searches, the solutions that verifiers chose, and where truth and verifier disagree."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prm.errors import ConfigError
from prm.report.formatting import Column, Value
from prm.report.page import Link, ScoredStep, Section, Solution, Table, render_report
from prm.report.page import write_report as write_page

from ..arena import EvalArena
from ..results import MethodResult, method_title
from ..sampling import GradedRollouts
from ..search.strategies import STRATEGIES
from .methods import by_method
from .problem_trees import HOW_TO_READ, GrownSearches
from .wording import known

if TYPE_CHECKING:
    from ..prepare import Run
    from ..run import EvalResult

FOLDER = "problems"
WORST = "worst"
TO_THE_RUN = Link("The whole run", "../report.html")
PROBLEM_IDS = "per_problem.jsonl"
METHODS = "What each method makes of it: the chance to be right, over subsets of samples and ties."


def write_problem_pages(run: Run, result: EvalResult, indices: Sequence[int]) -> list[Path]:
    """Write the pages of the problems at these places into `problems/` of the output directory.

    Args:
        run: prepared for the same config as `result`; what it needs is in the store.
    """
    if not indices:
        return []
    searches = [GrownSearches.of(arena, indices) for arena in _with_searches(run, result)]
    folder = Path(run.config.output_dir) / FOLDER
    return [_write(run, result, searches, index, folder) for index in indices]


def problems_named(result: EvalResult, wanted: Sequence[str]) -> tuple[list[int], list[str]]:
    """The places of the problems that are asked for, and the names that no problem has.

    Args:
        wanted: ids of problems, or `worst:K` for the K problems where the best method loses most against pass@n.
    """
    places = {problem.unique_id: index for index, problem in enumerate(result.problems)}
    found: list[int] = []
    unknown: list[str] = []
    for name in dict.fromkeys(wanted):
        worst = re.fullmatch(rf"{WORST}:(\d+)", name)
        if worst:
            found += _by_regret(result)[: int(worst[1])]
        elif name in places:
            found.append(places[name])
        else:
            unknown.append(name)
    return list(dict.fromkeys(found)), unknown


def no_such_problem(result: EvalResult, unknown: Sequence[str]) -> ConfigError:
    """What to say of names that no problem has: the nearest ids, and where all of them are."""
    ids = [problem.unique_id for problem in result.problems]
    said = " or ".join(" ".join(filter(None, [repr(name), _nearest(name, ids)])) for name in unknown)
    return ConfigError(
        f"no problem of this run is called {said}; {PROBLEM_IDS} has their ids, and {WORST}:20 names the worst twenty"
    )


def _nearest(name: str, ids: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, ids, n=1)
    return f"(did you mean {near[0]!r}?)" if near else ""


def problem_pages(folder: Path) -> list[Path]:
    """The pages of problems below a run's output directory."""
    return sorted((folder / FOLDER).glob("*.html"))


def page_name(unique_id: str) -> str:
    """The file of a problem's page: its id where that can be a file's name, else what can be of it, and a hash."""
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "_", unique_id).strip("._")[:60]
    if plain == unique_id:
        return f"{plain}.html"
    return f"{plain}-{hashlib.sha256(unique_id.encode()).hexdigest()[:6]}.html"


def _by_regret(result: EvalResult) -> list[int]:
    """All problems, those first where the best method (or the baseline) falls most behind pass@n."""
    oracle = result.find("pass_at_n", max(result.ns)).per_problem
    method = best_or_baseline(result).per_problem
    return sorted(range(len(oracle)), key=lambda index: method[index] - oracle[index])


def best_or_baseline(result: EvalResult) -> MethodResult:
    """The best method that a PRM guides, or the majority vote where there is none."""
    key = result.best.key if result.best else f"majority@{max(result.ns)}"
    return next(line for line in result.methods if line.key == key)


def _with_searches(run: Run, result: EvalResult) -> list[EvalArena]:
    """The run's arenas with every live search of the results grown again, which the store has."""
    live = {s.name: s for several in STRATEGIES.values() for s in several if s.live and s.kinds}
    for arena in run.arenas:
        for line in result.methods:
            if line.verifier == arena.name and line.method in live:
                live[line.method].evaluate(arena, line.n)
    return run.arenas


def _write(run: Run, result: EvalResult, searches: Sequence[GrownSearches], index: int, folder: Path) -> Path:
    problem = result.problems[index]
    graded = run.workshop.samples[index]
    trees = [tree for one in searches for tree in one.outlines(index, run.first_error)]
    sections = [
        Section("The problem", problem.problem, links=[TO_THE_RUN] if run.config.report else []),
        *([Section("Live searches", HOW_TO_READ, trees=trees)] if trees else []),
        _samples_section(run, [one.arena for one in searches], graded, index),
        Section("Methods", METHODS, tables=_method_tables(result, index)),
    ]
    facts = {"Answer": problem.answer, "Level": problem.level, "Subject": problem.subject}
    right = sum(rollout.correct for rollout in graded.rollouts)
    page = render_report(
        problem.unique_id,
        f"One problem of a search on {len(result.problems)}",
        f"{right} of {len(graded.rollouts)} plain samples are right. {_lead(result, index)}".strip(),
        sections,
        {name: str(value) for name, value in facts.items() if value},
        footer=f"Samples and searches are those of seed {run.config.seed}; chances are means over all seeds.",
    )
    return write_page(folder / page_name(problem.unique_id), page)


def _lead(result: EvalResult, index: int) -> str:
    if result.best is None:
        return ""
    line = next(line for line in result.methods if line.key == result.best.key)
    accuracy = line.per_problem[index]
    verdict = "right" if accuracy == 1 else "wrong" if accuracy == 0 else f"right with a chance of {accuracy:.0%}"
    return f"{line.label[:1].upper()}{line.label[1:]}, the run's best method, is {verdict}."


def _method_tables(result: EvalResult, index: int) -> list[Table]:
    """Every method at its largest n, and all lines on demand."""
    headers: list[str | Column] = ["method", "verifier", Column("n", "integer"), Column("right", "percent")]
    headers += [Column("FLOPs", "si"), Column("generated", "si"), Column("verifier tokens", "si")]
    largest = [lines[-1] for lines in by_method(result.methods)]
    return [
        Table(headers, [_method_row(line, index) for line in lines], "On this problem alone.", name, folded=folded)
        for lines, name, folded in (
            (largest, "methods.csv", ""),
            (result.methods, "methods_all_n.csv", f"All {len(result.methods)} lines, every n"),
        )
    ]


def _method_row(line: MethodResult, index: int) -> list[Value]:
    bill = line.bills[index]
    cost = (known(value) for value in (bill.flops, bill.generated_tokens, bill.verifier_tokens))
    return [method_title(line.method), line.verifier or None, line.n, line.per_problem[index], *cost]


def _samples_section(run: Run, arenas: Sequence[EvalArena], graded: GradedRollouts, index: int) -> Section:
    """The distinct answers among the samples, and what each verifier chose and should have chosen."""
    headers: list[str | Column] = ["answer", "verdict", Column("samples", "integer")]
    headers += [f"best score, {arena.name}" for arena in arenas]
    rows = []
    for label in dict.fromkeys(graded.classes):
        members = [i for i, other in enumerate(graded.classes) if other == label]
        one = graded.rollouts[members[0]]
        best = [max(arena.samples()[index].scores[i] for i in members) for arena in arenas]
        verdict = "none" if label < 0 else "right" if one.correct else "wrong"
        scores = [None if label < 0 or score < 0 else score for score in best]
        rows.append(((label >= 0, len(members)), [one.pred or "no answer", verdict, len(members), *scores]))
    rows.sort(key=lambda row: row[0], reverse=True)
    table = Table(headers, [row for _, row in rows], "Distinct answers of the shared samples.", "answers.csv")
    solutions = [solution for arena in arenas for solution in _solutions(run, arena, graded, index)]
    return Section("The shared samples", tables=[table], solutions=solutions)


def _solutions(run: Run, arena: EvalArena, graded: GradedRollouts, index: int) -> Iterator[Solution]:
    """What the verifier scores highest, and, where that is wrong, the right solution that it scores highest."""
    pool = arena.samples()[index]
    answered = [i for i in range(len(pool)) if pool.classes[i] >= 0]
    if not answered:
        return
    best = max(answered, key=lambda i: pool.scores[i])
    yield _solution(run, arena, graded, index, best, f"What {arena.name} scores highest")
    right = [i for i in answered if pool.correct[i]]
    if right and not pool.correct[best]:
        other = max(right, key=lambda i: pool.scores[i])
        yield _solution(run, arena, graded, index, other, f"The right solution that {arena.name} scores highest")


def _solution(run: Run, arena: EvalArena, graded: GradedRollouts, index: int, sample: int, title: str) -> Solution:
    steps, found = arena.steps[index][sample], arena.step_scores[index][sample]
    known: list[float] = list(found.scores) if found else []
    scores: list[float | None] = [*([None] * (len(steps) - len(known))), *known]  # an ORM has one, at the end
    error = None if run.first_error is None else run.first_error(graded.problem.problem, steps)
    shown = []
    for place, (text, score) in enumerate(zip(steps, scores, strict=True)):
        right = None if error is None else error == -1 or place < error
        mistaken = right is not None and score is not None and (score >= arena.spec.threshold) != right
        shown.append(ScoredStep(text, score, None if right is None else float(right), mistaken))
    rollout = graded.rollouts[sample]
    verdict = "right" if rollout.correct else "wrong"
    note = f"Answer {rollout.pred}, {verdict}; aggregated score {arena.samples()[index].scores[sample]:.3f}."
    return Solution(title, graded.problem.problem, shown, note)
