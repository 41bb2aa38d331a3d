"""How numbers are written."""

from __future__ import annotations

import csv
import io
import math

import pytest

from prm.errors import ConfigError, DataError
from prm.report import formatting
from prm.report.formatting import Column, Value, format_cell, format_rows, to_csv
from prm.stats.intervals import Estimate


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (12.5, "12.5"),
        (999.6, "1.00k"),
        (1000, "1.00k"),
        (1_250_000, "1.25M"),
        (16_000, "16.0k"),
        (504_000_000, "504M"),
        (999_600_000, "1.00G"),
        (3.2e17, "320P"),
        (-2500, "−2.50k"),
        (0.25, "0.25"),
        (math.nan, "–"),
    ],
)
def test_si_writes_three_digits_that_count(value: float, text: str) -> None:
    assert formatting.si(value) == text


def test_ticks_drop_zeros_at_the_end() -> None:
    assert [formatting.si(x, trim=True) for x in (16_000, 2e7, 2.5e9)] == ["16k", "20M", "2.5G"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.073, "+7.3"), (-0.0214, "−2.1"), (0.0, "0.0"), (-0.0001, "0.0"), (0.0001, "0.0")]
)
def test_points_are_signed_and_zero_is_not(value: float, text: str) -> None:
    assert formatting.points(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 s"), (0.123, "0.12 s"), (9.96, "10 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_seconds_are_written_as_people_say_them(value: float, text: str) -> None:
    assert formatting.seconds(value).replace("\N{NO-BREAK SPACE}", " ") == text


def test_an_estimate_is_never_written_without_its_interval() -> None:
    estimate = Estimate(0.523, 0.481, 0.5639, 300)
    assert str(format_cell(estimate, Column("a", "percent"))) == "52.3% [48.1,\N{NO-BREAK SPACE}56.4]"
    assert str(format_cell(estimate, Column("a", "number"))) == "0.523 [0.481,\N{NO-BREAK SPACE}0.564]"
    gain = Estimate(0.05, -0.01, 0.11, 300)
    assert str(format_cell(gain, Column("a", "points"))) == "+5.0 [−1.0,\N{NO-BREAK SPACE}+11.0]"


def test_plain_columns_go_by_the_type_of_the_value() -> None:
    texts = [str(format_cell(value, Column("a"))) for value in ("x", 12345, 0.5, None, math.nan)]
    assert texts == ["x", "12,345", "0.500", "–", "–"]


def test_a_column_of_numbers_and_dashes_stands_to_the_right() -> None:
    rows: list[tuple[Value, ...]] = [("a", 1, None, "x"), ("b", None, None, 2)]
    _, right = format_rows([Column(name) for name in "wxyz"], rows)
    assert right == [False, True, False, False]


def test_csv_holds_raw_values_and_three_columns_for_an_estimate() -> None:
    rows = [("beam, wide", Estimate(1 / 3, 0.25, 0.5, 10), 7), ("vote", None, 8)]
    read = list(csv.reader(io.StringIO(to_csv(["Method", Column("Accuracy", "percent"), "n"], rows))))
    assert read == [
        ["Method", "Accuracy", "Accuracy low", "Accuracy high", "n"],
        ["beam, wide", str(1 / 3), "0.25", "0.5", "7"],
        ["vote", "", "", "", "8"],
    ]


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="row 2 of a table has 1 values for the 2 columns a, b"):
        format_rows([Column("a"), Column("b")], [(1, 2), (3,)])
    with pytest.raises(ConfigError, match="unknown kind 'precent'"):
        format_cell(0.5, Column("a", "precent"))  # type: ignore[arg-type]


def test_one_number_computed_in_two_ways_is_written_in_one() -> None:
    same = [0.4125, 0.4125 + 2e-16, 0.4125 - 2e-16]
    assert {formatting.percent(one) for one in same} == {"41.2%"}
    assert {formatting.points(one) for one in same} == {"+41.2"}
