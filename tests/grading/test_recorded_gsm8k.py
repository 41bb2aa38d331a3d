"""The recorded verdicts on real models' answers, and the real references of MATH-500."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prm.grading import MathGrader, extract_answer
from prm.rollouts import Outcome

SYSTEMS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def _rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def recorded(data_dir: Path) -> list[tuple[str, str, str | None, str, bool]]:
    """(row and system, solution, what follows its last `A:`, reference, recorded verdict)."""
    items = []
    for number, row in enumerate(_rows(data_dir / "gsm8k_model_solutions.jsonl"), start=1):
        reference = row["ground_truth"].rsplit("A:", 1)[1].strip()
        for system in SYSTEMS:
            solution = row[system]["solution"]
            pred = solution.rsplit("A:", 1)[1].strip() if "A:" in solution else None
            items.append((f"row {number} {system}", solution, pred, reference, row[system]["is_correct"]))
    assert len(items) == 5276
    return items


@pytest.mark.parametrize("path", ["fast path", "Math-Verify only"])
def test_every_recorded_verdict_is_reproduced(recorded: list, path: str, request: pytest.FixtureRequest) -> None:
    grader: MathGrader = request.getfixturevalue("grader" if path == "fast path" else "slow_path_grader")
    outcomes = grader.grade_many([(pred, reference) for _, _, pred, reference, _ in recorded])
    disagreements = [
        (where, pred, reference, verdict, outcome.value)
        for (where, _, pred, reference, verdict), outcome in zip(recorded, outcomes, strict=True)
        if (outcome is Outcome.CORRECT) != verdict
    ]
    assert disagreements == []
    assert outcomes.count(Outcome.TIMEOUT) == 0


def test_extraction_finds_what_follows_the_last_mark(recorded: list) -> None:
    assert [where for where, solution, pred, _, _ in recorded if extract_answer(solution) != pred] == []


def test_math500_references_are_found_in_their_solutions_and_equal_themselves(
    data_dir: Path, slow_path_grader: MathGrader
) -> None:
    rows = _rows(data_dir / "math500.jsonl")
    references = [row["answer"] for row in rows]
    extracted = [extract_answer(row["solution"]) for row in rows]
    assert slow_path_grader.grade_many(list(zip(extracted, references, strict=True))) == [Outcome.CORRECT] * 500
