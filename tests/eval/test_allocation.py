"""Compute-optimal choices against brute force, and that what is reported was chosen without the problem itself."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from prm.eval.allocation import Menu, best_plan, frontier, held_out_picks, split_folds

from prm.errors import ConfigError


def random_menu(seed: int, methods: int = 4, problems: int = 12) -> Menu:
    rng = np.random.default_rng(seed)
    return Menu(rng.random((methods, problems)), rng.integers(1, 20, (methods, problems)).astype(float))


def totals(menu: Menu, bins: np.ndarray, choice: tuple[int, ...]) -> tuple[float, float]:
    """Mean accuracy and cost where bin k gets method choice[k]."""
    picked, columns = np.array(choice)[bins], np.arange(len(bins))
    return float(menu.accuracy[picked, columns].mean()), float(menu.flops[picked, columns].mean())


@pytest.mark.parametrize("seed", range(20))
def test_the_best_combination_within_a_budget_is_that_of_trying_all(seed: int) -> None:
    menu, rng = random_menu(seed), np.random.default_rng(seed)
    bins = np.concatenate([np.arange(3), rng.integers(0, 3, 9)])
    found = frontier(menu, bins, 3)
    everything = [totals(menu, bins, choice) for choice in product(range(4), repeat=3)]
    for budget in (*rng.uniform(2, 18, 6), *(flops for _, flops in everything[:5])):
        reachable = [accuracy for accuracy, flops in everything if flops <= budget * (1 + 1e-9)]
        picks = found.within(budget)
        if picks is None:
            assert not reachable
        else:
            accuracy, flops = totals(menu, bins, tuple(picks))
            assert accuracy == pytest.approx(max(reachable)) and flops <= budget * (1 + 1e-9)


def test_of_equally_accurate_methods_the_cheaper_is_taken() -> None:
    menu = Menu(np.array([[0.5, 0.5], [0.5, 0.5]]), np.array([[9.0, 9.0], [2.0, 2.0]]))
    assert frontier(menu, [0, 1], 2).within(100.0).tolist() == [1, 1]


def test_what_easy_problems_leave_goes_to_harder_ones() -> None:
    # The dear method costs 10 and helps the hard problems alone; at a mean budget of 6 half of the problems get it.
    menu = Menu(np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]), np.array([[2.0] * 4, [10.0] * 4]))
    assert frontier(menu, [0, 0, 1, 1], 2).within(6.0).tolist() == [0, 1]
    assert frontier(menu, [0, 0, 1, 1], 2).within(5.9).tolist() == [0, 0]
    assert frontier(menu, [0, 0, 1, 1], 2).within(1.9) is None


def test_a_bin_without_problems_gets_the_choice_of_its_neighbour() -> None:
    menu = Menu(np.array([[1.0, 0.0], [0.0, 1.0]]), np.ones((2, 2)))
    assert frontier(menu, [1, 3], 5).within(2.0).tolist() == [0, 0, 0, 1, 1]


def test_folds_are_a_partition_of_about_equal_sizes_and_follow_the_seed() -> None:
    folds = split_folds(23, 5, seed=3)
    assert sorted(np.concatenate(folds).tolist()) == list(range(23))
    assert {len(fold) for fold in folds} == {4, 5}
    assert [f.tolist() for f in folds] == [f.tolist() for f in split_folds(23, 5, seed=3)]
    assert [f.tolist() for f in folds] != [f.tolist() for f in split_folds(23, 5, seed=4)]
    assert [len(fold) for fold in split_folds(3, 5, seed=0)] == [1, 1, 1]
    with pytest.raises(ConfigError, match="there are 1 problems"):
        split_folds(1, 5, seed=0)


def test_problems_of_one_cluster_are_in_one_fold() -> None:
    clusters = [f"c{row // 4}" for row in range(40)]
    folds = split_folds(40, 3, seed=0, clusters=clusters)
    assert sorted(np.concatenate(folds).tolist()) == list(range(40))
    names = [{clusters[row] for row in fold} for fold in folds]
    assert sum(len(found) for found in names) == 10 and {len(found) for found in names} == {3, 4}
    with pytest.raises(ConfigError, match="there are 1 clusters"):
        split_folds(3, 2, seed=0, clusters=["a", "a", "a"])


def test_a_problem_has_no_say_in_its_own_choice() -> None:
    menu, difficulties = random_menu(1, problems=40), np.random.default_rng(1).random(40)
    folds = split_folds(40, 5, seed=0)
    options = {"count": 3, "binning": "quantile", "folds": folds}
    (before,) = held_out_picks(menu, difficulties, np.zeros(40), [10.0], **options)
    changed = menu.accuracy.copy()
    changed[:, folds[2]] = np.random.default_rng(9).random((4, len(folds[2])))
    (after,) = held_out_picks(Menu(changed, menu.flops), difficulties, np.zeros(40), [10.0], **options)
    assert after.methods[folds[2]].tolist() == before.methods[folds[2]].tolist()
    assert after.methods.tolist() != before.methods.tolist()


def test_methods_that_differ_by_noise_alone_gain_nothing_held_out() -> None:
    rng = np.random.default_rng(0)
    menu = Menu(rng.integers(0, 2, (30, 400)).astype(float), np.ones((30, 400)))
    difficulties = rng.random(400)
    options = {"count": 5, "binning": "quantile"}
    (picks,) = held_out_picks(menu, difficulties, np.zeros(400), [1.0], folds=split_folds(400, 5, seed=0), **options)
    honest = menu.accuracy[picks.methods, np.arange(400)].mean()
    in_sample = frontier(menu, (difficulties * 5).astype(int), 5).accuracy[-1]
    assert in_sample > 0.55 > honest


def test_estimating_the_difficulty_is_paid_out_of_the_budget_or_left_out() -> None:
    # The dear method helps the hard half alone.
    menu = Menu(np.array([[1.0, 0.0] * 10, [1.0, 1.0] * 10]), np.array([[1.0] * 20, [5.0] * 20]))
    bins = np.arange(20) % 2
    assert best_plan(menu, bins, 2, 3.0, 0.0).tolist() == [0, 1]
    assert best_plan(menu, bins, 2, 3.5, 0.5).tolist() == [0, 1]
    # Too dear an estimation leaves one method for all, and where that is as good, nothing is estimated either.
    assert best_plan(menu, bins, 2, 3.4, 0.5).tolist() == [0, 0]
    assert best_plan(menu, bins, 2, 5.0, 0.5).tolist() == [1, 1]
    assert best_plan(menu, bins, 2, 0.9, 0.0) is None
    # Three problems won and two lost in a bin are no reason to tell it from the other.
    lucky = Menu(np.ones((2, 20)), np.ones((2, 20)))
    lucky.accuracy[1, [1, 3, 5]], lucky.accuracy[0, [7, 9, 0, 2]] = 0.0, 0.0
    assert frontier(lucky, bins, 2).within(1.0).tolist() == [1, 0]
    assert best_plan(lucky, bins, 2, 1.0, 0.0).tolist() == [1, 1]
    options = {"count": 2, "binning": "absolute", "folds": split_folds(20, 2, seed=0)}
    for probe, probed in ((0.1, True), (2.9, False)):
        (found,) = held_out_picks(menu, bins.astype(float), np.full(20, probe), [3.9], **options)
        assert found.probed.tolist() == [probed] * 20
