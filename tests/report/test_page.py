"""The HTML page: it parses, asks nobody for anything, escapes what it is given, and offers its numbers."""

from __future__ import annotations

import base64
import csv
import io
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from prm.errors import DataError
from prm.report.formatting import Column
from prm.report.page import (
    MOST_OPTIONS,
    Choice,
    Figure,
    Highlight,
    ScoredStep,
    Section,
    Solution,
    Table,
    render_report,
    write_report,
)
from prm.report.plots import Series, line_plot
from prm.stats.intervals import Estimate

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Outline(HTMLParser):
    """Checks that tags nest, and collects text and attributes."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert not parser.open
    return parser


@cache
def demo_page() -> str:
    plot = line_plot([Series("vote", [1, 2], [0.4, 0.5])], title="A", x_label="n", y_label="y")
    other = line_plot([Series("vote", [1, 2], [0.4, 0.6])], title="B", x_label="n", y_label="y")
    rows = [("vote <b>", Estimate(0.5, 0.45, 0.55, 300), 2.1e7), ("beam", Estimate(0.7, 0.65, 0.75, 300), None)]
    headers: list[str | Column] = ["Method", Column("Accuracy", "percent"), Column("FLOPs", "si")]
    table = Table(headers, rows, "Caption & more", "methods.csv", best=[1])
    sections = [
        Section(
            "First <part>", "One paragraph.\n\nAnother <script>alert(1)</script>.", [Figure(plot, "a plot")], [table]
        ),
        Section("Second", figures=[Figure(plot, narrow=True), Figure(other, narrow=True), Figure(other)]),
        Section("Third"),
    ]
    facts: dict[str, str | int | float] = {"Problems": 12345, "Model": 'a "quoted" name'}
    return render_report("Title & co", "sub", "The lead <i>", sections, facts, footer="prm eval")


def test_the_page_parses_and_holds_everything() -> None:
    page = outline(demo_page())
    text = " ".join(page.texts)
    for expected in ("Title & co", "The lead <i>", "12,345", 'a "quoted" name', "First <part>", "One paragraph."):
        assert expected in text
    assert page.tags.count("svg") == 4
    assert page.tags.count("section") == 3
    # Two paragraphs of the section, the subtitle and the lead.
    assert page.tags.count("p") == 4


def test_what_it_is_given_is_escaped() -> None:
    page = demo_page()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "vote &lt;b&gt;" in page


def test_the_page_asks_nobody_for_anything() -> None:
    page = demo_page()
    for tag, name, value in outline(page).attributes:
        if name in {"src", "href", "xlink:href", "srcset", "action", "data", "poster"}:
            assert value.startswith(("#", "data:text/csv")), (tag, name, value)
        elif "http" in value:
            assert name.startswith("xmlns")
    assert "@import" not in page
    assert not re.findall(r"url\((?!#)", page)


def test_the_same_input_gives_the_same_bytes() -> None:
    assert demo_page.__wrapped__() == demo_page()


def test_a_table_offers_its_raw_numbers() -> None:
    page = outline(demo_page())
    (link,) = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href") and "csv" in value]
    assert ("a", "download", "methods.csv") in page.attributes
    text = base64.b64decode(link.split("base64,")[1]).decode()
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["Method", "Accuracy", "Accuracy low", "Accuracy high", "FLOPs"]
    assert rows[1] == ["vote <b>", "0.5", "0.45", "0.55", "21000000.0"]


def test_cells_show_value_and_interval_and_the_best_row_stands_out() -> None:
    page = demo_page()
    assert '<td class="n">70.0% <span class="interval">[65.0,\N{NO-BREAK SPACE}75.0]</span></td>' in page
    best = re.findall(r'<tr class="best">\s*<td>([^<]*)</td>', page)
    assert best == ["beam"]


def test_both_themes_and_print_are_styled() -> None:
    page = demo_page()
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    # Every variable that is used is defined in both themes.
    style = page[page.index("<style>") : page.index("</style>")]
    used = set(re.findall(r"var\(--([a-z0-9-]+)", page))
    for block in re.findall(r":root \{([^}]*)\}", style):
        assert used <= set(re.findall(r"--([a-z0-9-]+):", block))
    assert len(re.findall(r":root \{", style)) == 2


def test_narrow_figures_stand_side_by_side() -> None:
    page = demo_page()
    assert page.count('<div class="pair">') == 1


def test_a_solution_shows_each_step_with_its_label_and_its_score_in_colour() -> None:
    steps = [
        ScoredStep("7+5=12 <b>", 0.93, 1.0),
        ScoredStep("12-3=8", 0.71, 0.0, mistaken=True),
        ScoredStep("A: 8", 0.04),
        ScoredStep("end", None, 0.25),
    ]
    page = render_report("t", "", "", [Section("s", solutions=[Solution("Missed", "7+5-3", steps, "by hand")])], {})
    text = " ".join(" ".join(outline(page).texts).split())
    assert (
        "Missed 7+5-3 step text label score 1 7+5=12 <b> right 0.93 2 12-3=8 wrong 0.71 ✗ 3 A: 8 unknown 0.04" in text
    )
    assert "4 end 0.25 – by hand" in text and page.count("✗") == 1
    tones = re.findall(r'class="n score(?: tone-(\d+))?"', page)
    assert tones == ["9", "7", "0", ""]
    style = page[page.index("<style>") : page.index("</style>")]
    assert all(f".solution .tone-{tone} " in style for tone in range(11))
    assert "&lt;b&gt;" in page


def test_a_short_report_has_no_navigation() -> None:
    assert "<nav" in demo_page()
    short = render_report("t", "", "", [Section("one"), Section("two")], {})
    assert "<nav" not in short
    outline(short)


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(DataError, match="not an <svg> element"):
        render_report("t", "", "", [Section("s", figures=[Figure("<img>")])], {})
    with pytest.raises(DataError, match="row 1 of a table has 1 values"):
        render_report("t", "", "", [Section("s", tables=[Table(["a", "b"], [("x",)], "c", "c.csv")])], {})


def test_a_report_is_written_whole(tmp_path: Path) -> None:
    path = write_report(tmp_path / "new" / "report.html", demo_page())
    assert path.read_text(encoding="utf-8") == demo_page()
    assert [child.name for child in path.parent.iterdir()] == ["report.html"]


def test_a_choice_shows_one_figure_and_holds_all() -> None:
    svg = [line_plot([Series(name, [1, 2], [0.1, 0.2])], title=name, x_label="x", y_label="y") for name in "abc"]
    options = [(name, Figure(one, f"caption {name}")) for name, one in zip("abc", svg, strict=True)]
    page = render_report("t", "", "", [Section("s", figures=[Choice("Against", options)])], {})
    found = outline(page)
    radios = [value for tag, name, value in found.attributes if (tag, name) == ("input", "id")]
    targets = [value for tag, name, value in found.attributes if (tag, name) == ("label", "for")]
    assert len(radios) == 3 and radios == targets and page.count(" checked>") == 1
    assert all(f"caption {name}" in page for name in "abc")
    style = page[page.index("<style>") : page.index("</style>")]
    assert all(f"input:nth-of-type({n}):checked" in style for n in range(1, MOST_OPTIONS + 1))


def test_a_choice_of_one_is_its_figure_and_one_of_none_is_refused() -> None:
    svg = line_plot([Series("a", [1, 2], [0.1, 0.2])], title="t", x_label="x", y_label="y")
    page = render_report("t", "", "", [Section("s", figures=[Choice("Against", [("n", Figure(svg))])])], {})
    assert "<input" not in page and page.count("<svg") == 1
    with pytest.raises(DataError, match="has 0 options"):
        render_report("t", "", "", [Section("s", figures=[Choice("Against", [])])], {})


def test_highlights_provenance_and_folded_tables_are_in_the_page() -> None:
    table = Table(["a"], [["x"]], "caption", "long.csv", folded="All 99 lines")
    page = render_report(
        "t", "", "", [Section("s", tables=[table])], {},
        highlights=[Highlight("Gain", "+7.3 points", "clear of zero")],
        provenance={"Settings": {"n": "16"}, "Versions": {"torch": "2.13"}},
    )  # fmt: skip
    text = " ".join(" ".join(outline(page).texts).split())
    assert "Gain +7.3 points clear of zero" in text and "Settings, versions" in text and "torch 2.13" in text
    assert page.index("All 99 lines") < page.index("long.csv")
