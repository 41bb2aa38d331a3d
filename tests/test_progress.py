"""Progress as people see it: one live line on a terminal, plain lines in a log, and a tally beside the count."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import sys
import termios

import pytest

from prm.progress import ProgressLines, Tally, progress_bar


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_plain_lines_now_and_then_and_one_at_the_end() -> None:
    clock, stream = Clock(), io.StringIO()
    lines = ProgressLines("score with prm", 400, "solution", lambda: "accuracy 50%", stream, clock=clock)
    for _ in range(3):
        clock.now += 6
        lines.advance(50)
    clock.now += 9
    lines.advance(250)
    lines.close()
    assert stream.getvalue().replace("\N{NO-BREAK SPACE}", " ").splitlines() == [
        "score with prm: 100 of 400 solutions (25%), 8.33 solutions/s, 36 s left, accuracy 50%",
        "score with prm: 400 solutions in 27 s, accuracy 50%",
    ]
    assert "\r" not in stream.getvalue()


def test_an_open_end_has_no_time_left_and_one_of_a_kind_no_plural() -> None:
    clock, stream = Clock(), io.StringIO()
    lines = ProgressLines("convert", None, "row", None, stream, clock=clock)
    clock.now += 20
    lines.advance(40)
    lines.close()
    assert stream.getvalue().replace("\N{NO-BREAK SPACE}", " ").splitlines() == [
        "convert: 40 rows, 2 rows/s",
        "convert: 40 rows in 20 s",
    ]
    lines = ProgressLines("train", 1, "step", None, stream, clock=clock)
    assert "train: 0 of 1 step (0%)" in lines._line(1.0, last=False)


def test_a_stage_that_fails_says_how_far_it_came() -> None:
    stream = io.StringIO()
    with pytest.raises(ValueError), progress_bar("label", 10, "completion", stream=stream) as advance:
        advance(3)
        raise ValueError
    assert stream.getvalue().startswith("label: 3 of 10 completions (30%) in ")


def test_a_terminal_has_one_live_line_with_count_status_and_time() -> None:
    stream = Terminal()
    said = ["accuracy 40%", "accuracy 60%"]
    with progress_bar("search", 8, "solution", lambda: said.pop(0) if said[1:] else said[0], stream=stream) as advance:
        advance(4)
        advance(4)
    last = stream.getvalue().rstrip("\n").split("\r")[-1]
    assert "search" in last and "8/8" in last and "accuracy 60%" in last and "solution/s" in last
    assert stream.getvalue().count("\n") == 1


def shown_on_a_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a terminal of that width gets of a stage whose units are counted while they are made, and graded after."""
    controller, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24 if columns else 0, columns, 0, 0))
    graded = [0]
    with os.fdopen(terminal, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with progress_bar("samples", 8, "solution", lambda: f"{graded[0]}/8 graded") as advance:
            for count in (4, 4):
                advance(count)
                graded[0] += count
    seen = os.read(controller, 100_000).decode()
    os.close(controller)
    return seen.replace("\r\n", "\n")


def test_the_last_live_line_has_what_came_of_the_last_units(monkeypatch: pytest.MonkeyPatch) -> None:
    last = shown_on_a_terminal(100, monkeypatch).rstrip("\n").split("\r")[-1]
    assert last.startswith("samples: 100%") and "8/8 [" in last and "8/8 graded" in last


def test_a_terminal_that_does_not_know_its_width_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = shown_on_a_terminal(0, monkeypatch)
    assert re.fullmatch(r"samples: 8 solutions in .*, 8/8 graded\n", seen)


def test_a_tally_says_problems_accuracy_with_its_interval_and_tokens_a_second() -> None:
    clock = Clock()
    tally = Tally(30, clock=clock)
    assert tally() == ""
    clock.now += 10
    tally.add(problems=10, tokens=12_000)
    assert tally() == "10/30 problems, 1.20k tokens/s"
    tally.add(problems=10, graded=20, right=12.0)
    assert tally() == "20/30 problems, accuracy 60.0% [38.7, 78.1], 1.20k tokens/s"


def test_a_tally_takes_accuracies_between_right_and_wrong() -> None:
    tally = Tally(3)
    tally.add(problems=3, graded=3, right=2.6)
    assert "accuracy 86.7% [33.3, 98.8]" in tally()


def test_what_has_hardly_begun_promises_no_end() -> None:
    clock, stream = Clock(), io.StringIO()
    lines = ProgressLines("beam search", 4800, "solution", None, stream, clock=clock)
    for count in (2, 198):
        clock.now += 20
        lines.advance(count)
    first, second = stream.getvalue().splitlines()
    assert "left" not in first and "left" in second
