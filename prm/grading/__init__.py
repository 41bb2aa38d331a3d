"""Grading: final answers found, compared with references, and grouped for a vote."""

from prm.grading.answers import extract_answer, normalise_answer, quick_outcome
from prm.grading.grader import ExactGrader, Grader, MathGrader, Pair
from prm.grading.grouping import group_answers

__all__ = [
    "ExactGrader",
    "Grader",
    "MathGrader",
    "Pair",
    "extract_answer",
    "group_answers",
    "normalise_answer",
    "quick_outcome",
]
