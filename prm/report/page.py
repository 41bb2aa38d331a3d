"""One self-contained HTML page: no script, no request to anywhere, light and dark, and fit to print.

It lays out what it is given. Every text is escaped; only the SVG comes in as markup, from `prm.report.plots`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.errors import DataError
from prm.report.formatting import MISSING, Column, Row, as_columns, format_cell, format_rows, to_csv
from prm.report.outline import SearchOutline, outline_values
from prm.report.svg import theme_css

if TYPE_CHECKING:
    from jinja2 import Template

_HERE = Path(__file__).resolve().parent

MOST_OPTIONS = 6
"""Figures that one `Choice` can have; page.css has a rule for each."""


@dataclass(frozen=True)
class Figure:
    """A plot with an optional caption.

    Attributes:
        svg: what a function of `prm.report.plots` returned.
        caption: text under it.
        narrow: keep to half a page; two narrow figures in a row stand side by side.
    """

    svg: str
    caption: str = ""
    narrow: bool = False


@dataclass(frozen=True)
class Choice:
    """One finding as several figures, such as accuracy against n or against FLOPs: the reader chooses, without any
    script, and print shows all of them.

    Attributes:
        name: what is chosen, such as "Accuracy against".
        options: (label, figure) pairs, the first one shown; at most `MOST_OPTIONS`.
    """

    name: str
    options: Sequence[tuple[str, Figure]]


@dataclass(frozen=True)
class Highlight:
    """A number that a reader should take home, with what it is and, small, its interval or where it comes from."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under headers; the page formats them and offers the raw values as CSV.

    Attributes:
        headers: names, or `Column`s that say how their values are written.
        rows: one value per column; an `Estimate` is shown with its interval.
        caption: what the table shows, and of what its intervals are.
        csv_name: the name of the CSV file, such as `methods.csv`.
        best: indices of the rows to stand out.
        folded: its name, where it is long and shown on demand only; print shows it.
    """

    headers: Sequence[str | Column]
    rows: Sequence[Row]
    caption: str
    csv_name: str
    best: Sequence[int] = ()
    folded: str = ""


@dataclass(frozen=True)
class ScoredStep:
    """A step with the score it got, from 0 (wrong) to 1 (right), and its label, where there is one.

    Attributes:
        mistaken: score and label are on different sides.
    """

    text: str
    score: float | None = None
    label: float | None = None
    mistaken: bool = False


@dataclass(frozen=True)
class Solution:
    """A problem and the steps of one solution, each in the colour of its score.

    Attributes:
        title: what is to be seen in it.
        note: where it comes from.
    """

    title: str
    problem: str
    steps: Sequence[ScoredStep]
    note: str = ""


@dataclass(frozen=True)
class Link:
    """A page beside this one, with what is to be read there.

    Attributes:
        href: relative to this page, so that both can be moved together.
    """

    text: str
    href: str
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A headed part of the report: text (paragraphs parted by blank lines), then links, figures, tables, solutions and
    search trees."""

    title: str
    text: str = ""
    figures: Sequence[Figure | Choice] = ()
    tables: Sequence[Table] = ()
    solutions: Sequence[Solution] = ()
    trees: Sequence[SearchOutline] = ()
    links: Sequence[Link] = ()


def render_report(
    title: str,
    subtitle: str,
    lead: str,
    sections: Sequence[Section],
    header_facts: Mapping[str, str | int | float],
    *,
    footer: str = "",
    highlights: Sequence[Highlight] = (),
    provenance: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """Render the page.

    Args:
        lead: the finding in one or two sentences, set large.
        header_facts: what was run (problems, models, seed, hardware), shown in this order; a whole number gets
            thousands separators.
        footer: how to get the same report again.
        highlights: a few numbers, set large under the lead.
        provenance: groups of names and values (settings, versions, hashes), shown under the header on demand.

    Raises:
        DataError: a table whose rows do not fit its headers, or a figure that is not an SVG element.
    """
    page = _template().render(
        title=title,
        subtitle=subtitle,
        lead=lead,
        css=_markup(_css()),
        facts=[(name, format_cell(value, Column(name)).text) for name, value in header_facts.items()],
        highlights=highlights,
        provenance=provenance or {},
        sections=[_section(section, number) for number, section in enumerate(sections, start=1)],
        footer=footer,
    )
    return page if page.endswith("\n") else page + "\n"


def write_report(path: str | Path, page: str) -> Path:
    """Write a rendered page, atomically, so that a reader never sees half of one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page, encoding="utf-8")
    return partial.replace(path)


def _section(section: Section, number: int) -> dict[str, Any]:
    trees = [outline_values(tree, f"tree-{number}-{place}") for place, tree in enumerate(section.trees, start=1)]
    return {
        "title": section.title,
        "paragraphs": [part.strip() for part in re.split(r"\n\s*\n", section.text) if part.strip()],
        "links": section.links,
        "figure_rows": _figure_rows(section.figures),
        "tables": [_table(table) for table in section.tables],
        "solutions": [_solution(solution) for solution in section.solutions],
        "trees": [{**tree, "svg": _markup(tree["svg"])} for tree in trees],
    }


def _figure_rows(figures: Sequence[Figure | Choice]) -> list[list[dict[str, Any]]]:
    """One figure a row, except that neighbouring narrow ones share one, two at a time."""
    rows: list[list[dict[str, Any]]] = []
    for figure in figures:
        one = _choice(figure) if isinstance(figure, Choice) else _figure(figure)
        if one["narrow"] and rows and len(rows[-1]) == 1 and rows[-1][0]["narrow"]:
            rows[-1].append(one)
        else:
            rows.append([one])
    return rows


def _figure(figure: Figure) -> dict[str, Any]:
    if not figure.svg.lstrip().startswith("<svg"):
        raise DataError("a figure of the report is not an <svg> element", remedy="Use prm.report.plots")
    return {"svg": _markup(figure.svg), "caption": figure.caption, "narrow": figure.narrow}


def _choice(choice: Choice) -> dict[str, Any]:
    """The figures of a choice; one with a single option is that figure."""
    if not 1 <= len(choice.options) <= MOST_OPTIONS:
        raise DataError(f"the choice {choice.name!r} has {len(choice.options)} options, not 1 to {MOST_OPTIONS}")
    if len(choice.options) == 1:
        return _figure(choice.options[0][1])
    options = [{"label": label, **_figure(figure)} for label, figure in choice.options]
    return {"name": choice.name, "options": options, "narrow": False}


def _table(table: Table) -> dict[str, Any]:
    columns = as_columns(table.headers)
    cells, numeric = format_rows(columns, table.rows)
    data = base64.b64encode(to_csv(table.headers, table.rows).encode()).decode()
    return {
        "columns": [{"name": c.name, "numeric": n} for c, n in zip(columns, numeric, strict=True)],
        "rows": [{"cells": row, "best": index in table.best} for index, row in enumerate(cells)],
        "caption": table.caption,
        "label": table.caption or table.csv_name,
        "folded": table.folded,
        "csv_name": table.csv_name,
        "csv_href": f"data:text/csv;charset=utf-8;base64,{data}",
    }


def _solution(solution: Solution) -> dict[str, Any]:
    steps = [
        {
            "text": step.text,
            "score": MISSING if step.score is None else f"{step.score:.2f}",
            "tone": None if step.score is None else round(10 * min(1.0, max(0.0, step.score))),
            "label": _label(step.label),
            "mistaken": step.mistaken,
        }
        for step in solution.steps
    ]
    return {"title": solution.title, "problem": solution.problem, "note": solution.note, "steps": steps}


def _label(label: float | None) -> str:
    if label is None:
        return "unknown"
    return {0.0: "wrong", 1.0: "right"}.get(label, f"{label:.2f}")


def _css() -> str:
    return theme_css() + "\n" + (_HERE / "page.css").read_text(encoding="utf-8")


def _markup(text: str) -> str:
    from markupsafe import Markup

    return Markup(text)


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")
