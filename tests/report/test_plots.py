"""The SVG of every plot: well-formed, complete, themed, and of the same bytes each time."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from functools import _lru_cache_wrapper, cache

import numpy as np
import pytest

from prm.errors import DataError
from prm.report.plots import IntervalRow, Series, histogram, interval_plot, line_plot, reliability_plot
from prm.report.svg import NEUTRAL, standalone_svg
from prm.stats.calibration import ReliabilityBin
from prm.stats.intervals import Estimate

NS = {"s": "http://www.w3.org/2000/svg"}


@cache
def accuracy_plot() -> str:
    n = [1, 2, 4, 8, 16]
    majority = Series("Majority vote", n, [0.40, 0.42, 0.5, 0.55, 0.58], [0.36, 0.38, 0.46, 0.51, 0.54], [0.6] * 5)
    best = Series.from_estimates(
        "Best-of-n & <PRM>", [1, 16], [Estimate(0.4, 0.3, 0.5, 9), Estimate(0.7, 0.6, 0.8, 9)]
    )
    beam = Series("Beam $search$", [16], [0.75], [0.71], [0.79], style="dashed", color=5)
    return line_plot(
        [majority, best, beam],
        title="Accuracy",
        x_label="n",
        y_label="Solved",
        log_x=True,
        chance=[(0.45, "greedy")],
    )


@cache
def gain_plot() -> str:
    rows = [IntervalRow("Beam search", 0.12, 0.08, 0.16), IntervalRow("Best-of-n", 0.01, -0.02, 0.04)]
    return interval_plot(rows, title="Gain", x_label="points")


@cache
def score_plot() -> str:
    return histogram([("right", [0.9, 0.8, 0.85]), ("wrong", [0.1, 0.2])], title="Scores", x_label="score")


@cache
def calibration_plot() -> str:
    bins = [ReliabilityBin(0.0, 0.4, 0.2, 0.1, 50), ReliabilityBin(0.5, 1.0, 0.8, 0.9, 40)]
    return reliability_plot(bins, title="Calibration")


PLOTS: list[_lru_cache_wrapper[str]] = [accuracy_plot, gain_plot, score_plot, calibration_plot]


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(node.itertext()).strip() for node in root.iterfind(".//s:text", NS)]


def rgb_colours(svg: str) -> set[str]:
    """Colours outside a variable's fallback."""
    return set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"var\([^)]*\)", "", svg)))


@pytest.mark.parametrize("plot", PLOTS)
def test_a_plot_has_the_same_bytes_each_time(plot: _lru_cache_wrapper[str]) -> None:
    assert plot.__wrapped__() == plot()


@pytest.mark.parametrize("plot", PLOTS)
def test_a_plot_is_one_element_that_asks_nobody_for_anything(plot: _lru_cache_wrapper[str]) -> None:
    svg = plot()
    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    references = re.findall(r'(?:href|src)="([^"]*)"', svg) + re.findall(r"url\(([^)]*)\)", svg)
    assert all(reference.startswith("#") for reference in references)
    assert "<style" not in svg and "<script" not in svg


@pytest.mark.parametrize("plot", PLOTS)
def test_every_colour_follows_the_theme(plot: _lru_cache_wrapper[str]) -> None:
    svg = plot()
    assert "var(--ink, #1c2024)" in svg
    assert not rgb_colours(svg) - {"#000000"}  # matplotlib's default of parts that are not drawn


@pytest.mark.parametrize("plot", PLOTS)
def test_every_reference_meets_an_id_and_ids_differ_between_plots(plot: _lru_cache_wrapper[str]) -> None:
    svg = plot()
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    used = re.findall(r'href="#([^"]+)"', svg) + re.findall(r"url\(#([^)]+)\)", svg)
    assert set(used) <= set(ids)
    for other in PLOTS:
        if other is not plot:
            assert not set(ids) & set(re.findall(r'\bid="([^"]+)"', other()))


def test_lines_carry_their_names_and_references_theirs() -> None:
    found = texts(accuracy_plot())
    for label in ("Majority vote", "Best-of-n & <PRM>", "Beam $search$", "greedy", "Accuracy", "Solved"):
        assert label in found
    for tick in ("1", "2", "4", "8", "16", "40%", "50%"):
        assert tick in found


def test_every_point_tells_its_numbers_on_hover() -> None:
    root = ElementTree.fromstring(accuracy_plot())
    notes = [node.text for node in root.iterfind(".//s:use/s:title", NS)]
    assert len(notes) == 5 + 2 + 1
    assert "Majority vote: 58.0% at 16, interval 54.0% to 60.0%" in notes
    assert "Beam $search$: 75.0% at 16, interval 71.0% to 79.0%" in notes


def test_a_series_of_several_points_has_a_band() -> None:
    with_band = accuracy_plot().count("FillBetweenPolyCollection")
    bare = line_plot([Series("a", [1, 2], [0.1, 0.2])], title="t", x_label="x", y_label="y")
    assert with_band == 2
    assert "FillBetweenPolyCollection" not in bare


def test_many_series_have_error_bars_for_bands() -> None:
    many = [Series(f"s{i}", [1, 2], [0.1, 0.2], [0.0, 0.1], [0.2, 0.3]) for i in range(5)]
    crowded = line_plot(many, title="t", x_label="x", y_label="y")
    assert "FillBetweenPolyCollection" not in crowded
    assert crowded.count("-LineCollection_") == 5
    assert line_plot(many[:4], title="t", x_label="x", y_label="y").count("FillBetweenPolyCollection") == 4


def test_labels_of_lines_that_end_together_do_not_overlap() -> None:
    series = [Series(f"method {i}", [1, 2], [0.5, 0.6 + i / 1000]) for i in range(6)]
    root = ElementTree.fromstring(line_plot(series, title="t", x_label="x", y_label="y"))
    heights = [
        float(node.attrib["y"])
        for node in root.iterfind(".//s:text", NS)
        if "".join(node.itertext()).startswith("method")
    ]
    assert len(heights) == 6
    assert min(np.diff(sorted(heights))) > 12  # points, of a font of 10


def test_labels_keep_inside_the_picture() -> None:
    label = "a rather long name of a method that goes on and on"
    svg = line_plot([Series(label, [1, 2], [0.5, 0.6])], title="t", x_label="x", y_label="y")
    root = ElementTree.fromstring(svg)
    assert "a rather long name of a" in texts(svg) and "method that goes on and on" in texts(svg)
    width = float(root.attrib["viewBox"].split()[2])
    for node in root.iterfind(".//s:text", NS):
        text = "".join(node.itertext()).strip()
        if len(text) > 1 and text in label:
            assert float(node.attrib["x"]) + 10 * 0.5 * len(text) < width


def test_points_without_a_value_are_left_out() -> None:
    svg = line_plot([Series("a", [1, 2, 3], [0.1, math.nan, 0.3])], title="t", x_label="x", y_label="y")
    assert svg.count("<title>a: ") == 2


def test_a_method_keeps_its_colour_and_marker_from_plot_to_plot() -> None:
    a, b = Series("a", [1, 2], [0.1, 0.2], color=0), Series("b", [1, 2], [0.3, 0.4], color=3)
    alone = line_plot([b], title="t", x_label="x", y_label="y")
    together = line_plot([a, b], title="t", x_label="x", y_label="y")
    assert "--series-3" in alone and "--series-0" not in alone
    assert "--series-3" in together and "--series-0" in together


def test_colour_and_marker_are_chosen_apart_and_a_reference_has_no_colour() -> None:
    plots = {
        mark: line_plot(
            [Series("a", [1, 2], [0.1, 0.2], color=NEUTRAL, mark=mark)], title="t", x_label="x", y_label="y"
        )
        for mark in (0, 1)
    }
    assert all("--series-" not in plot and "--muted" in plot for plot in plots.values())
    shapes = [re.search(r'<path id="[^"]*-m\w+" d="([^"]*)" style="stroke: var\(--paper', p) for p in plots.values()]
    assert shapes[0] and shapes[1] and shapes[0][1] != shapes[1][1]


def test_the_name_of_a_reference_stands_over_its_line() -> None:
    rows = [IntervalRow("a", 0.7, 0.6, 0.8)]
    svg = interval_plot(rows, title="t", x_label="x", reference=0.5, reference_label="chance", scale="number")
    (label,) = [n for n in ElementTree.fromstring(svg).iterfind(".//s:text", NS) if n.text == "chance"]
    assert "text-anchor: middle" in label.attrib["style"]
    assert float(label.attrib["x"]) > 30  # a subtitle would begin at the picture's edge


def test_only_intervals_clear_of_the_reference_stand_out() -> None:
    svg = gain_plot()
    found = texts(svg)
    assert "+12.0 [+8.0, +16.0]" in found and "+1.0 [−2.0, +4.0]" in found
    root = ElementTree.fromstring(svg)
    styles = {"".join(node.itertext()): node.attrib["style"] for node in root.iterfind(".//s:text", NS)}
    assert "--series-0" in styles["+12.0 [+8.0, +16.0]"]
    assert "--muted" in styles["+1.0 [−2.0, +4.0]"]


def test_a_histogram_names_its_groups_and_counts_them() -> None:
    found = " ".join(texts(score_plot()))
    assert "right" in found and "wrong" in found
    assert "right 3, wrong 2" in score_plot()


def test_a_reliability_plot_tells_each_bin() -> None:
    svg = calibration_plot()
    assert "<title>20.0% said, 10.0% right, 50 steps</title>" in svg
    assert "<title>80.0% said, 90.0% right, 40 steps</title>" in svg


def test_a_picture_on_its_own_follows_the_readers_theme() -> None:
    alone = standalone_svg(accuracy_plot())
    root = ElementTree.fromstring(alone.encode())
    left, top, width, height = map(float, root.attrib["viewBox"].split())
    assert left < 0 and top < 0
    assert root.attrib["width"] == f"{width:g}pt" and root.attrib["height"] == f"{height:g}pt"
    assert "prefers-color-scheme: dark" in alone
    assert alone.startswith("<?xml")


def test_the_users_own_matplotlib_settings_do_not_leak_in_or_out() -> None:
    import matplotlib

    plain = gain_plot()
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path"}):
        assert gain_plot.__wrapped__() == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_bad_series_are_refused() -> None:
    with pytest.raises(DataError, match="2 x and 1 y values"):
        Series("a", [1, 2], [1])
    with pytest.raises(DataError, match="one edge of its band"):
        Series("a", [1], [1], low=[0])
    with pytest.raises(DataError, match="has no points"):
        line_plot([Series("a", [], [])], title="t", x_label="x", y_label="y")
    with pytest.raises(DataError, match="logarithmic axis and the value 0"):
        line_plot([Series("a", [0, 1], [1, 2])], title="t", x_label="x", y_label="y", log_x=True)
    with pytest.raises(DataError, match="has no rows"):
        interval_plot([], title="t", x_label="x")
    with pytest.raises(DataError, match="has no values"):
        histogram([], title="t", x_label="x")
    with pytest.raises(DataError, match="has no bins"):
        reliability_plot([], title="t")
