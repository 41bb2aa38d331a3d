"""`report.html`: one page of sections, each made by a file beside this one. Layout, plots and tables are
`prm.report`'s, the numbers those of `prm.eval.run`."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.report.page import Section, render_report
from prm.report.page import write_report as write_page
from prm.report.svg import standalone_svg

from ..run_settings import RESULTS_FILE
from . import header
from .accuracy import accuracy_section
from .bill import bill_section
from .certainty import certainty_section
from .controls import controls_section
from .equal_flops import needed_sentence
from .exchange import exchange_section
from .gains import gains_section
from .labels import label_section, read_label_report
from .money import unpriced_sentence
from .over_optimisation import over_optimisation_section
from .pictures import accuracy_choices
from .policy import policy_section
from .problem_links import problem_section
from .quality import quality_section
from .wording import basis_text, capital

if TYPE_CHECKING:
    from ..evaluate_search import EvalConfig
    from ..run import EvalResult


def write_report(config: EvalConfig, result: EvalResult, path: Path, picture: str) -> Path:
    """Write `report.html`, and its first picture as a file of the given name beside it. Settings, hashes and versions
    are those of the `results.json` in the same directory, where there is one; so are the problems' pages."""
    pictures = accuracy_choices(result)
    if pictures:
        first = pictures[0].options[0][1]
        path.with_name(picture).write_text(standalone_svg(first.svg), encoding="utf-8")
    page = render_report(
        "What the verifier is worth",
        f"Test-time search on {basis_text(result)}",
        header.lead(config, result),
        [
            _with_basis(section, basis_text(result))
            for section in (
                accuracy_section(config, result, pictures),
                *_notes(result),
                *_more_sections(config, result),
                problem_section(config, result, path.parent),
            )
        ],
        header.facts(config, result),
        footer="Run again with the same configuration to get the same numbers.",
        highlights=header.highlights(config, result),
        provenance=header.provenance(_document(path.with_name(RESULTS_FILE))),
    )
    return write_page(path, page)


def _notes(result: EvalResult) -> list[Section]:
    """What is to be known beside the numbers, as below the terminal's table."""
    if not result.notes:
        return []
    return [Section("Notes", "\n\n".join(f"{capital(note)}." for note in result.notes))]


def _more_sections(config: EvalConfig, result: EvalResult) -> list[Section]:
    """What follows the accuracies, each part where the run has it."""
    lines = {line.key: line for line in result.methods}
    analysis = result.analysis
    sections = [gains_section(analysis, lines, max(result.ns), needed_sentence(config, result))] if analysis else []
    if result.controls:
        sections.append(controls_section(result))
    if result.policies:
        sections.append(policy_section([made.finding for made in result.policies], result.methods))
    if result.exchange:
        sections.append(exchange_section(result.exchange))
    if analysis and analysis.chosen:
        sections.append(over_optimisation_section(analysis, lines))
    if result.quality:
        controls = {name for name, facts in result.verifiers.items() if facts["control"]}
        sections.append(quality_section(result.quality, controls))
    if config.label_report:
        sections.append(label_section(read_label_report(config.label_report)))
    if analysis:
        sections.append(certainty_section(analysis, lines))
    return [*sections, bill_section(result, unpriced_sentence(config, result))]


def _with_basis(section: Section, basis: str) -> Section:
    """The section with problems and seeds said under each of its tables that does not say them itself."""
    tables = [
        table
        if re.search(r"problems (of|that) ", table.caption)
        else replace(table, caption=f"{table.caption} {capital(basis)}.")
        for table in section.tables
    ]
    return replace(section, tables=tables)


def _document(path: Path) -> dict[str, Any]:
    """`results.json`, which a run writes before its report; empty where there is none."""
    if not path.is_file():
        return {}
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document
