"""`label_report.html`: the label report as a page to read.

It shows what the report holds and computes nothing; figures and tables are `prm.report.label_parts`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prm.report import label_parts as parts
from prm.report.formatting import Column
from prm.report.page import Section, Table, render_report, write_report

from .label_cost import cost_words

PAGE_FILE = "label_report.html"

_CALIBRATION = (
    "A Monte Carlo value is the chance to still reach the answer, not the chance that the step is right: a generator "
    "may slip behind a right step, and the points then lie above the diagonal. A posterior is meant to lie on it."
)


def write_label_page(directory: str | Path, report: Mapping[str, Any]) -> Path:
    """Write the page of a finished run beside its report; the same report gives the same bytes."""
    return write_report(Path(directory) / PAGE_FILE, label_page(report))


def page_is_fresh(directory: str | Path) -> bool:
    """Whether the page is there and not older than the report beside it."""
    page, report = Path(directory) / PAGE_FILE, Path(directory) / "label_report.json"
    return page.is_file() and report.is_file() and page.stat().st_mtime_ns >= report.stat().st_mtime_ns


def label_page(report: Mapping[str, Any]) -> str:
    """The page as HTML text."""
    sections = [*_made_from(report), _values(report), _cost(report)]
    if report.get("truth"):
        sections.append(_truth(report))
    if report.get("agreement"):
        sections.append(_agreement(report))
    sections.append(_settings(report))
    settings = report.get("settings", {})
    return render_report(
        "What the step labels are worth",
        f"{report.get('labeler', 'labels')} on {report['rollouts']:,} rollouts",
        _lead(report),
        sections,
        _facts(report),
        footer=f"Label the same rollouts with the same settings to get the same page: seed {settings.get('seed', 0)}.",
    )


def _lead(report: Mapping[str, Any]) -> str:
    share = report["hard_correct_share"]
    text = f"{cost_words(report)}; "
    text += "none is decided." if share is None else f"{share:.1%} of the known labels say right."
    if accuracy := report.get("truth", {}).get("step_accuracy"):
        first = report["truth"].get("first_error_accuracy")
        text += f" Of {accuracy['n']:,} that could be checked, {_percent(accuracy)} agree with the truth"
        text += f"; {_first_words(first, report['truth_rollouts'])}." if first else "."
    return text


def _first_words(first: Mapping[str, Any], judged: int) -> str:
    """How often the first wrong step is found, and how many of the rollouts with a truth decide it."""
    text = f"the first wrong step is found in {_percent(first)} of {first['n']:,} rollouts"
    return text if first["n"] == judged else f"{text}, and not decided in {judged - first['n']:,} others"


def _percent(found: Mapping[str, Any]) -> str:
    mean = f"{found['mean']:.1%}"
    return mean if found["low"] is None else f"{mean} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


def _facts(report: Mapping[str, Any]) -> dict[str, str | int | float]:
    settings = report.get("settings", {})
    facts = {
        "problems": report.get("problems"),
        "rollouts": report["rollouts"],
        "step labels": report["step_labels"],
        "unknown": report["unknown_labels"],
        "completions": report["completions"],
        "problem set": report.get("problem_set"),
        "generator": settings.get("model_name_or_path"),
        "seed": settings.get("seed"),
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def _made_from(report: Mapping[str, Any]) -> list[Section]:
    """What labels were chosen or converted from, and what was left out."""
    if not (made := report.get("made_from")):
        return []
    rows: list[list[Any]] = [[reason, count] for reason, count in made["left_out"].items()]
    table = Table(
        [Column("left out"), Column("solutions", "integer")], rows, "Why, each counted once.", "left_out.csv"
    )
    text = f"`prm data {made['command']}` read {made['solutions']:,} solutions in {', '.join(made['inputs'])}."
    return [Section("Where they are from", text, [], [table] if rows else [])]


def _values(report: Mapping[str, Any]) -> Section:
    figure = parts.value_bars(report)
    return Section(
        "Values by step", parts.value_text(report), [figure] if figure else [], [parts.position_table(report)]
    )


def _cost(report: Mapping[str, Any]) -> Section:
    rules = Table(
        [Column("stopping rule"), Column("labels", "integer")],
        list(report["rules"].items()),
        "What ended the sampling behind each label; none: no completion decided it.",
        "rules.csv",
    )
    figure = parts.completion_bars(report)
    tables = [parts.cost_table(report), rules]
    if report["completions"]:
        tables.insert(1, parts.endings_table(report))
    if report.get("first_error"):
        tables.append(parts.search_table(report))
    if report.get("judge"):
        tables.append(parts.judge_table(report))
    return Section("What it cost", _cost_text(report), [figure] if figure else [], tables)


def _cost_text(report: Mapping[str, Any]) -> str:
    """What the tokens were spent on. A judge completes no prefix, and labels taken from files bring their own bill."""
    decided = report["decided_by_rollout"]
    outcomes = f"{decided:,} labels are the outcome of the rollout itself and cost nothing."
    if report["distinct_prefixes"]:
        counts = list(report.get("completions_per_prefix", {}))
        each = f", {counts[0]} of each" if len(counts) == 1 else ""
        completed = (
            f"{report['completions']:,} completions of {report['distinct_prefixes']:,} distinct prefixes{each}. "
        )
        shared = f"{report['shared_prefixes']:,} prefixes were shared with another rollout and completed once"
        return f"{completed}{shared}; {outcomes}"
    text = "No prefix was completed here"
    if report["cost"]["generated_tokens"]:
        text += "; the tokens are those of the " + ("judge's votes" if report.get("judge") else "labels it was given")
    return f"{text}. {outcomes}" if decided else f"{text}."


def _truth(report: Mapping[str, Any]) -> Section:
    table = parts.truth_table(report)
    tables, figures = [table] if table else [], []
    text = f"The truth is known of {report['truth_rollouts']:,} of the {report['rollouts']:,} rollouts."
    if report.get("calibration"):
        figures.append(parts.reliability_figure(report))
        tables.append(parts.calibration_table(report))
        text += f"\n\n{_CALIBRATION}"
    return Section("Against the truth", text, figures, tables)


def _agreement(report: Mapping[str, Any]) -> Section:
    consensus = report.get("consensus", {})
    left_out = ", ".join(f"{count:,} ({reason})" for reason, count in consensus.get("rejected", {}).items())
    kept = consensus.get("kept", report["rollouts"])
    text = f"Kept are the {kept:,} rollouts where both agree on the first wrong step."
    text += f" Left out: {left_out}." if left_out else " None was left out."
    return Section("Where two labelers agree", text, [], parts.agreement_tables(report))


def _settings(report: Mapping[str, Any]) -> Section:
    settings = dict(report.get("settings", {}))
    if "data_hash" in report:
        settings["data_hash"] = report["data_hash"]
    rows: list[list[str]] = [[name, _shown(value)] for name, value in settings.items()]
    rows += [["grader", str(report["grader"])]]
    rows += [[f"version of {name}", str(value)] for name, value in report["versions"].items()]
    table = Table(["setting", "value"], rows, "Everything that decides what comes out.", "settings.csv")
    return Section("Settings", "", [], [table])


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    if isinstance(value, str) and value != value.strip():
        return repr(value)
    return "–" if value in ("", None) else str(value)
