"""Plain text tables."""

from __future__ import annotations

import pytest

from prm.errors import DataError
from prm.report.formatting import Column
from prm.report.terminal import display_width, render_table
from prm.stats.intervals import Estimate

HEADERS: list[str | Column] = ["Method", Column("Accuracy", "percent"), Column("FLOPs", "si")]
ROWS = [
    ("majority vote", Estimate(0.541, 0.5, 0.58, 100), 2.1e7),
    ("beam search with the PRM", Estimate(0.7, 0.66, 0.74, 100), None),
]


def test_numbers_align_right_and_text_left() -> None:
    assert render_table(HEADERS, ROWS).replace("\N{NO-BREAK SPACE}", " ").split("\n") == [
        "Method                              Accuracy  FLOPs",
        "────────────────────────  ──────────────────  ─────",
        "majority vote             54.1% [50.0, 58.0]  21.0M",
        "beam search with the PRM  70.0% [66.0, 74.0]      –",
    ]


@pytest.mark.parametrize("width", [50, 40, 34])
def test_a_table_fits_the_width_and_loses_nothing(width: int) -> None:
    table = render_table(HEADERS, ROWS, width=width)
    assert max(display_width(line) for line in table.split("\n")) <= width
    words = table.split()
    for word in ("majority", "vote", "beam", "search", "PRM", "54.1%", "70.0%", "21.0M"):
        assert word in words
    assert "[50.0,\N{NO-BREAK SPACE}58.0]" in table


def test_where_whole_words_do_not_fit_they_are_kept_whole() -> None:
    table = render_table(["name"], [("incompressible",)], width=5)
    assert "incompressible" in table


def test_output_away_from_a_terminal_is_never_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    long = "word " * 60
    assert long.strip() in render_table(["text"], [(long.strip(),)])


def test_wide_and_combining_characters_take_their_cells() -> None:
    assert display_width("数学") == 4
    assert display_width("e\u0301") == 1
    lines = render_table(["a", "b"], [("数学", "x"), ("abcd", "x")]).split("\n")
    assert lines[2] == "数学  x"
    assert lines[3] == "abcd  x"


def test_a_table_without_rows_shows_its_headers() -> None:
    assert render_table(["a", "bc"], []).split("\n") == ["a  bc", "─  ──"]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(DataError, match="row 1 of a table has 1 values"):
        render_table(["a", "b"], [("x",)])
