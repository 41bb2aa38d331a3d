from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from prm.grading import ExactGrader, MathGrader, group_answers
from prm.grading.grader import Pair
from prm.rollouts import Outcome


def _partition(answers: Sequence[str | None], ids: Sequence[int]) -> set[frozenset[str | None]]:
    classes: dict[int, set[str | None]] = {}
    for answer, class_id in zip(answers, ids, strict=True):
        classes.setdefault(class_id, set()).add(answer)
    return {frozenset(members) for members in classes.values()}


class CountingGrader(ExactGrader):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Pair] = []

    def grade_many(self, pairs: Sequence[Pair]) -> list[Outcome]:
        self.asked += pairs
        return super().grade_many(pairs)


@pytest.mark.parametrize(
    ("answers", "classes"),
    [
        (["10%", ".1", "10", "0.10", "$10"], [{"10%", "10", "$10"}, {".1", "0.10"}]),
        (["10%", ".1", r"10\%"], [{"10%", ".1", r"10\%"}]),
        (["x=1", "y=1", "1", "2"], [{"x=1", "y=1", "1"}, {"2"}]),
        (["1/3", "0.333333", "0.3333333", "0.33", "2/6"], [{"1/3", "0.333333", "0.3333333", "2/6"}, {"0.33"}]),
        ([r"\sqrt{12}", r"2\sqrt{3}", "12", r"\frac{12}{\sqrt{12}}"], None),
        (["18 dollars", "18", "19", "18.00"], [{"18 dollars", "18", "18.00"}, {"19"}]),
        (["(1,2)", "1,2", "2,1"], None),
        (["1 < x < 2", "(1,2)", "x=1"], None),
    ],
)
def test_classes_do_not_depend_on_the_order(
    grader: MathGrader, answers: list[str], classes: list[set[str]] | None
) -> None:
    partitions = [_partition(order, group_answers(order, grader)) for order in itertools.permutations(answers)]
    assert all(partition == partitions[0] for partition in partitions)
    if classes is not None:
        assert partitions[0] == {frozenset(members) for members in classes}


def test_ids_count_up_by_first_appearance_and_none_does_not_vote(grader: MathGrader) -> None:
    assert group_answers(["x+1", None, "5", "1+x", " ", "5.0"], grader) == [0, -1, 1, 0, -1, 1]
    assert group_answers([], grader) == []


def test_equality_holds_if_either_direction_says_so() -> None:
    class OneWay(ExactGrader):
        def grade_many(self, pairs: Sequence[Pair]) -> list[Outcome]:
            return [Outcome.CORRECT if pair == ("x+y", "longer+x") else Outcome.WRONG for pair in pairs]

    assert group_answers(["x+y", "longer+x"], OneWay()) == [0, 0]
    assert group_answers(["longer+x", "x+y"], OneWay()) == [0, 0]


def test_equal_spellings_and_plain_numbers_never_reach_the_grader() -> None:
    counting = CountingGrader()
    answers = ["7", "7.0", "$7$", "1/7", "0.142857", "7%", "East", "east"]
    assert group_answers(answers * 9, counting) == [0, 0, 0, 1, 1, 0, 2, 2] * 9
    assert group_answers(["x+1", "$x+1$", r"\boxed{x+1}"], counting) == [0, 0, 0]
    assert [pair for pair in counting.asked if "east" not in str(pair).lower()] == []


def test_an_unreadable_answer_costs_one_question_not_one_a_class() -> None:
    class NeverReads(CountingGrader):
        def grade_many(self, pairs: Sequence[Pair]) -> list[Outcome]:
            self.asked += pairs
            return [Outcome.TIMEOUT for _ in pairs]

    never = NeverReads()
    assert group_answers([str(n) for n in range(20)] + ["9999999999!"], never)[-1] == 20
    assert never.asked == [("9999999999!", "0")]


def test_without_a_grader_spelling_and_arithmetic_decide() -> None:
    assert group_answers(["x+1", "1+x", "0.5", "1/2"]) == [0, 1, 2, 2]
