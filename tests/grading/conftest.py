"""One grader for the tests of this folder: a Math-Verify process takes a second to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from prm.grading import MathGrader


@pytest.fixture(scope="session")
def grader() -> Iterator[MathGrader]:
    """The default rules, with a deadline that a busy machine does not reach."""
    with MathGrader(timeout_s=60) as grader:
        yield grader


@pytest.fixture(scope="session")
def slow_path_grader() -> Iterator[MathGrader]:
    """The same, every answer going through Math-Verify."""
    with MathGrader(timeout_s=60, fast_path=False) as grader:
        yield grader
