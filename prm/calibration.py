"""Temperature calibration (Guo et al., arXiv 1706.04599): one number by which all margins are divided.

The order of the scores stays as it is, and with it every AUROC; what changes is whether a score of .8 is right eight
times in ten. Fitting needs margins and targets alone. Folding divides the head's weights by the temperature, so that
every plain loader of the checkpoint gets calibrated probabilities (DESIGN.md, decision 1).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prm.errors import ConfigError, DataError, ModelError
from prm.stats.calibration import expected_calibration_error
from prm.stats.thresholds import problem_folds

FloatArray = NDArray[np.float64]

LOWEST, HIGHEST = 0.1, 100.0  # held-out rows that are few or separable would ask for certainty
_HALVINGS = 60  # of the range's logarithm, down to the last bits of a double


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature and what it does to rows it was not fitted on.

    Attributes:
        value: margins are divided by it; above 1 the scores move towards 0.5. 1 where nothing could be fitted.
        reason: why it could not be fitted, or that it stopped at the end of its range; else empty.
        n: labels it was fitted on.
        nll_before, nll_after: mean cross-entropy in nats, without and with calibration.
        ece_before, ece_after: expected calibration error, without and with calibration.
        of_folds: for each fold of the problems (`prm.stats.thresholds.problem_folds`) the temperature that the other
            folds give; empty where there are fewer than two.

    The numbers "after" are cross-fitted: each label is scored with the temperature of the folds that it is not in.
    They are nan where there are fewer than two.
    """

    value: float
    reason: str
    n: int
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float
    of_folds: tuple[float, ...] = ()

    @property
    def helps(self) -> bool:
        """Whether it lowers the loss on rows it was not fitted on: what to ask before it is folded."""
        return self.nll_after < self.nll_before

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: numbers that are not defined are `None`."""
        plain = {**asdict(self), "of_folds": list(self.of_folds)}
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value for name, value in plain.items()
        }


def fit_temperature(
    margins: ArrayLike, targets: ArrayLike, groups_N: ArrayLike | None = None, *, bins: int = 10, seed: int = 0
) -> Temperature:
    """The temperature of the lowest cross-entropy, exactly: it is convex in 1/T, and its slope is bisected.

    Args:
        margins: (N,) or (N, S) logit of correct minus logit of wrong.
        targets: of the same shape, in [0, 1], soft or hard; negative where unknown.
        groups_N: (N,) the problem of each row; rows of one problem share a fold. Each row by itself if not given.
        bins: of equal mass, for the calibration error.
        seed: of the folds.

    Raises:
        DataError: other shapes, or a margin that is not a number.
    """
    m, y, fold = _labelled(margins, targets, groups_N, seed)
    if not len(y):
        return Temperature(1.0, "no labels", 0, *(math.nan,) * 4)
    nll, ece = _nll(m, y), expected_calibration_error(_sigmoid(m), y, bins=bins)
    if _one_class(y):
        return Temperature(1.0, "all labels are of one class", len(y), nll, math.nan, ece, math.nan)
    value = _best(m, y)
    others = _without_each_fold(m, y, fold)
    after = (math.nan, math.nan)
    if others:
        crossed = m / np.array(others)[fold]
        after = _nll(crossed, y), expected_calibration_error(_sigmoid(crossed), y, bins=bins)
    return Temperature(value, _at_end(value), len(y), nll, after[0], ece, after[1], others)


def fold_temperature(model: Any, temperature: float) -> None:
    """Divide a classification head's weights and bias by a temperature, in place.

    The model is one of transformers' `...ForTokenClassification` or `...ForSequenceClassification`, alone or in PEFT
    with the head among `modules_to_save`; call it on every process, after training.

    Raises:
        ConfigError: not a positive number.
        ModelError: no head, or one that is more than a linear layer.
    """
    import torch

    from prm.heads.base import head_module, unwrapped
    from prm.heads.partitioned import whole

    if not 0 < temperature < math.inf:
        raise ConfigError(f"a temperature is a positive number, not {temperature}")
    head = head_module(unwrapped(model))
    if hasattr(head, "modules_to_save"):
        head = head.modules_to_save[head.active_adapters[0]]
    if not isinstance(head, torch.nn.Linear):
        raise ModelError(
            f"the head of {type(unwrapped(model)).__name__} is a {type(head).__name__}, and a temperature can be "
            "folded into a linear layer only; train without calibration"
        )
    parameters = list(head.parameters())
    with torch.no_grad(), whole(parameters, write=True):
        for parameter in parameters:
            parameter.copy_(parameter.double() / temperature)


def _labelled(
    margins: ArrayLike, targets: ArrayLike, groups_N: ArrayLike | None, seed: int
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """Margins and targets of what has a target, flat and in float64, and the folds that they are in."""
    m, y = np.asarray(margins, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if m.shape != y.shape or m.ndim not in (1, 2):
        raise DataError(f"targets of shape {y.shape} for margins of shape {m.shape}", remedy="Give each margin one")
    groups: NDArray[Any] = np.arange(len(y)) if groups_N is None else np.asarray(groups_N)
    if groups.shape != y.shape[:1]:
        raise DataError(f"{groups.size} groups for {len(y)} rows", remedy="Name the problem of every row")
    known = y >= 0
    folds = problem_folds(groups, seed=seed)
    fold = np.broadcast_to(folds.reshape(-1, *(1,) * (y.ndim - 1)), y.shape)[known]
    if not np.isfinite(m[known]).all() or (y > 1).any():
        raise DataError("a margin is not a finite number, or a target is above 1", remedy="Score these rows again")
    return m[known], y[known], fold


def _one_class(y: FloatArray) -> bool:
    return bool((y == 0).all() or (y == 1).all())


def _at_end(value: float) -> str:
    if value == LOWEST:
        return "at the lowest temperature allowed: the scores separate the classes, or nearly"
    if value == HIGHEST:
        return "at the highest temperature allowed: the scores say nothing of the labels, or their reverse"
    return ""


def _best(m: FloatArray, y: FloatArray) -> float:
    """Bisect the slope of the loss in a = 1/T, which rises with a; an end of the range where it is not 0 within."""

    def slope(temperature: float) -> float:
        return float(m @ (_sigmoid(m / temperature) - y))

    low, high = LOWEST, HIGHEST
    if slope(low) <= 0:
        return low
    if slope(high) >= 0:
        return high
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return math.sqrt(low * high)


def _without_each_fold(m: FloatArray, y: FloatArray, fold: NDArray[np.int64]) -> tuple[float, ...]:
    """For each fold the temperature of the others, 1 where these have labels of one class; none for one fold."""
    if len(np.unique(fold)) < 2:
        return ()
    rests = [fold != number for number in range(int(fold.max()) + 1)]
    return tuple(1.0 if _one_class(y[rest]) else _best(m[rest], y[rest]) for rest in rests)


def _nll(m: FloatArray, y: FloatArray) -> float:
    return float(np.mean(np.logaddexp(0, m) - y * m))


def _sigmoid(m: FloatArray) -> FloatArray:
    scores: FloatArray = 1 / (1 + np.exp(-np.clip(m, -700, 700)))
    return scores
