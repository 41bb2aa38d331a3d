"""What a selection rule would score on average over every subset of n of the M samples of one problem.

All functions work on one problem and return its expected accuracy, a float in [0, 1]; intervals over problems are in
`prm.stats.intervals`. They are exact sums over all C(M, n) subsets (DESIGN.md, decision 7) in closed form, except
`weighted_best_of_n`, which has none. Ties are shared evenly and never look at the label: a verifier that cannot tell
two samples apart gets the average of the two, not the better.

Shapes: `correct` (M,) bool, `scores` (M,) float, `classes` (M,) int with `NO_ANSWER` for samples that do not vote.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prm.errors import ConfigError, DataError

NO_ANSWER = -1
ENUMERATE_UP_TO = 20_000  # subsets; covers every n of M = 16, where C(16, 8) = 12,870
TIE_TOLERANCE = 1e-9  # relative; two sums of the same scores in another order differ by less

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def pass_at_n(correct: ArrayLike, n: int) -> float:
    """The chance that n samples hold a correct one: 1 - C(M-c, n) / C(M, n) (Chen et al., arXiv 2107.03374, eq. 1).

    Raises:
        ConfigError: n is not between 1 and M.
    """
    right = _vector(correct, "correct", bool)
    below = subset_shares(len(right), n)
    return 1.0 - float(below[len(right) - int(right.sum())])


def best_of_n(scores: ArrayLike, correct: ArrayLike, n: int) -> float:
    """The accuracy of the highest score among n samples.

    A block of equal scores on ranks a+1..b holds the winner in [C(b, n) - C(a, n)] / C(M, n) of the subsets, whichever
    of its members they drew, and so earns that share times the block's mean accuracy.

    Raises:
        ConfigError: n is not between 1 and M.
        DataError: other lengths than one score and one verdict per sample, or a score that is not a number.
    """
    right = _vector(correct, "correct", bool)
    block, sizes, shares = _tied_blocks(_vector(scores, "scores", float, length=len(right)), n)
    # Block by block: where all that can win are right, the result is 1, and no sum of thirds.
    return float(shares @ (np.bincount(block, weights=right) / sizes))


def choice_shares(scores: ArrayLike, n: int) -> FloatArray:
    """The chance of each sample, (M,), to be what best-of-n takes; they sum to 1. With any number of a sample as
    weights (its score, its length) they give what best-of-n takes on average.

    Raises:
        ConfigError: n is not between 1 and M.
        DataError: a score that is not a number.
    """
    block, sizes, shares = _tied_blocks(_vector(scores, "scores", float), n)
    alone: FloatArray = (shares / sizes)[block]
    return alone


def _tied_blocks(values: FloatArray, n: int) -> tuple[IntArray, FloatArray, FloatArray]:
    """The block of equal scores that each sample is in, (M,), and of each block its size and how often it holds the
    winner among n samples, (B,)."""
    below = subset_shares(len(values), n)
    _, block, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    return block, sizes.astype(np.float64), below[ends] - below[ends - sizes]


def majority_at_n(classes: ArrayLike, correct: ArrayLike, n: int) -> float:
    """The accuracy of the most frequent answer class among n samples; tied classes share the win evenly.

    A subset in which nobody votes earns nothing. With `w` the size of the winning class, it is the sum
    over right classes g and over w of

        P(|g| = w) * sum_t 1/(t+1) * [z^(n-w) y^t] prod_{h != g} (sum_{x < w} P(|h| = x) z^x + y P(|h| = w) z^w)

    Two devices make it fast and safe at any M. Samples are drawn independently with probability n/M, and the result
    is conditioned on a total of n: the coefficients are then binomial probabilities, all in [0, 1], instead of
    binomial coefficients. And 1/(t+1) is the integral of y^t over [0, 1], which Gauss-Legendre nodes give exactly for
    the finite degree in y, so that each (w, y) is one row of a batched polynomial product.

    Raises:
        ConfigError: n is not between 1 and M.
        DataError: a class that is right for some samples and wrong for others, or a correct sample without an answer.
    """
    groups, right = _answer_groups(classes, correct)
    total = len(groups)
    _check_n(n, total)
    if not right.any():
        return 0.0
    counts = np.bincount(groups[groups >= 0], minlength=len(right))
    draws = [_binomial(int(count), n / total, n) for count in counts]
    silent = _binomial(total - int(counts.sum()), n / total, n)
    won = sum(_probability_that_class_wins(int(g), draws, silent, n) for g in np.flatnonzero(right))
    # Rounding may leave a certain win an ulp above 1.
    return min(1.0, won / _binomial(total, n / total, n)[n])


def weighted_best_of_n(
    scores: ArrayLike, classes: ArrayLike, correct: ArrayLike, n: int, *, subsets: int = 2048, seed: int = 0
) -> float:
    """The accuracy of the answer class with the largest summed score among n samples (Li et al., arXiv 2206.02336).

    Exact where C(M, n) is at most `ENUMERATE_UP_TO`, as it is for n = 1 and n = M; elsewhere the mean over `subsets`
    random subsets. These depend on (M, n, subsets, seed) alone, so that methods compared at one seed meet the same
    subsets and the sampling noise cancels from their difference. Samples without an answer do not vote, and a subset
    in which nobody votes earns nothing. Sums within a relative 1e-9 are tied.

    Raises:
        ConfigError: n is not between 1 and M.
        DataError: as in `best_of_n` and `majority_at_n`.
    """
    groups, right = _answer_groups(classes, correct)
    values = _vector(scores, "scores", float, length=len(groups))
    _check_n(n, len(groups))
    if subsets < 1:
        raise ConfigError(f"subsets must be at least 1, not {subsets}")
    if not right.any():
        return 0.0
    chosen = _subsets(len(groups), n, subsets, seed)
    member = (groups == np.arange(len(right))[:, None]).astype(float)  # (G, M)
    sums = (member * values) @ chosen  # (G, S)
    if (values[groups >= 0] <= 0).any():
        # A class nobody drew must not win with its empty sum of 0 over negative scores, nor tie with scores of 0.
        sums[member @ chosen == 0] = -np.inf
    else:
        sums[sums == 0] = -np.inf
    top = sums.max(axis=0)
    return share_of_right((sums >= top - TIE_TOLERANCE * np.abs(top)) & np.isfinite(top), right)


def no_skill(solutions: ArrayLike, correct: ArrayLike, n: int, *, subsets: int = 2048, seed: int = 0) -> float:
    """The accuracy of a pick at random among the *distinct* solutions of n samples: what best-of-n earns with a
    verifier without skill, for equal solutions share one score and a right one that is drawn often counts once.

    Args:
        solutions: equal numbers for equal solutions; `NO_ANSWER` for one that cannot be picked.

    Subsets are those of `weighted_best_of_n`, and so are the errors.
    """
    groups, right = _answer_groups(solutions, correct)
    _check_n(n, len(groups))
    if not right.any():
        return 0.0
    member = (groups == np.arange(len(right))[:, None]).astype(float)  # (G, M)
    return share_of_right(member @ _subsets(len(groups), n, subsets, seed) > 0, right)


def share_of_right(winners: BoolArray, right: BoolArray) -> float:
    """The mean over S draws of the share of right ones (G,) among the classes that win each of them, (G, S); a draw
    that nobody wins earns nothing."""
    return float((winners[right].sum(axis=0) / np.maximum(winners.sum(axis=0), 1)).mean())


def _probability_that_class_wins(g: int, draws: list[FloatArray], silent: FloatArray, n: int) -> float:
    """Sum over the winning count w of the joint probability that class g wins with w votes and n samples are drawn."""
    # By the pigeonhole principle the winner has at least the mean number of votes.
    least = max(1, math.ceil((n - (len(silent) - 1)) / len(draws)))
    most = min(len(draws[g]) - 1, n)
    if least > most:
        return 0.0
    wins, nodes, weights = _winning_rows(least, most, n, len(draws))  # (R,) each
    product = np.zeros((len(wins), n + 1))
    product[:, : len(silent)] = silent
    for h, draw in enumerate(draws):
        if h != g:
            product = _times_losers(product, draw, wins, nodes)
    rest = product[np.arange(len(wins)), n - wins]
    return float(np.sum(weights * draws[g][wins] * rest))


def _times_losers(product: FloatArray, draw: FloatArray, wins: NDArray[np.int64], nodes: FloatArray) -> FloatArray:
    """Multiply (R, n+1) polynomials in z by one class's, cut off above w votes and weighted by y at exactly w."""
    sizes = np.arange(len(draw))
    # (R, X): 1 below the winning count, y at it, 0 above.
    allowed = (sizes < wins[:, None]) + nodes[:, None] * (sizes == wins[:, None])
    factor = draw * allowed
    result = factor[:, :1] * product
    for x in range(1, min(len(draw), int(wins.max()) + 1)):
        result[:, x:] += factor[:, x : x + 1] * product[:, :-x]
    return result


@lru_cache(maxsize=4096)
def _winning_rows(least: int, most: int, n: int, groups: int) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
    """Rows (winning count w, node y, weight), for each w enough nodes on [0, 1] for as many ties as there can be."""
    wins, nodes, weights = [], [], []
    for w in range(least, most + 1):
        winners = min(n // w, groups)  # the degree in y is one less
        x, weight = np.polynomial.legendre.leggauss(math.ceil(winners / 2))
        wins.append(np.full(len(x), w))
        nodes.append((x + 1) / 2)
        weights.append(weight / 2)
    return np.concatenate(wins), np.concatenate(nodes), np.concatenate(weights)


@lru_cache(maxsize=4096)
def _binomial(count: int, p: float, n: int) -> FloatArray:
    """P(Binomial(count, p) = x) for x = 0..min(count, n)."""
    if p == 1.0:
        return np.eye(count + 1)[count][: n + 1]
    x = range(min(count, n) + 1)
    log_odds, log_none = math.log(p) - math.log1p(-p), count * math.log1p(-p)
    whole = math.lgamma(count + 1)
    logs = [whole - math.lgamma(k + 1) - math.lgamma(count - k + 1) + k * log_odds + log_none for k in x]
    return np.exp(logs)


@lru_cache(maxsize=256)
def subset_shares(total: int, n: int) -> FloatArray:
    """C(i, n) / C(total, n) for i = 0..total, (total + 1,): the share of the subsets of size n that lie within i given
    samples. Downwards by C(i-1, n) = C(i, n) (i-n) / i; not to be written to."""
    _check_n(n, total)
    i = np.arange(total, 0, -1)
    ratios = np.maximum(i - n, 0) / i
    return np.concatenate([[1.0], np.cumprod(ratios)])[::-1]


@lru_cache(maxsize=8)  # of up to tens of megabytes each
def _subsets(total: int, n: int, subsets: int, seed: int) -> FloatArray:
    """Membership (total, S) of all subsets of size n, or of a random sample of them."""
    if math.comb(total, n) <= ENUMERATE_UP_TO:
        rows = np.array(list(combinations(range(total), n)))
    else:
        keys = np.random.default_rng((seed, total, n)).random((subsets, total))
        rows = np.argpartition(keys, n - 1, axis=1)[:, :n]
    chosen = np.zeros((len(rows), total))
    np.put_along_axis(chosen, rows, 1.0, axis=1)
    return np.ascontiguousarray(chosen.T)


def _answer_groups(classes: ArrayLike, correct: ArrayLike) -> tuple[NDArray[np.int64], BoolArray]:
    """Renumber classes 0..G-1, keeping `NO_ANSWER`, and return which of the G are right."""
    right = _vector(correct, "correct", bool)
    labels = _vector(classes, "classes", int, length=len(right))
    voters = labels != NO_ANSWER
    if right[~voters].any():
        raise DataError(
            "a sample without an answer is marked correct",
            remedy="Give every graded answer a class of its own, and only the others -1",
        )
    names, groups = np.unique(labels[voters], return_inverse=True)
    numbered = np.full(len(labels), NO_ANSWER, dtype=np.int64)
    numbered[voters] = groups
    n_right = np.bincount(groups, weights=right[voters], minlength=len(names))
    n_all = np.bincount(groups, minlength=len(names))
    mixed = (n_right > 0) & (n_right < n_all)
    if mixed.any():
        raise DataError(
            f"answer class {names[mixed][0]} holds correct and wrong samples",
            remedy="Group answers so that equal answers share a class, and grade each class once",
        )
    return numbered, n_right > 0


def _vector(values: ArrayLike, name: str, kind: type, *, length: int | None = None) -> NDArray[Any]:
    """Check that the values are one finite number per sample."""
    array = np.asarray(values)
    if array.ndim != 1 or not array.size:
        raise DataError(f"{name} has shape {array.shape}, not one value per sample of one problem")
    if length is not None and len(array) != length:
        raise DataError(f"{len(array)} {name} for {length} samples")
    if kind is bool and array.dtype != bool and not ((array == 0) | (array == 1)).all():
        raise DataError(f"{name} holds something else than true and false", remedy="Grade these samples first")
    if kind is float and not np.isfinite(array.astype(float)).all():
        raise DataError(f"{name} holds a value that is not a finite number", remedy="Score these samples again")
    return array.astype(kind)


def _check_n(n: int, total: int) -> None:
    if not 1 <= n <= total:
        raise ConfigError(f"n must be between 1 and the {total} samples there are, not {n}")
