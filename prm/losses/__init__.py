"""The losses, one file a family, and which objective each of them fits.

| objective | losses |
|---|---|
| `prm` | `cross_entropy`, `mse`, `focal`, `beta_binomial`, `pqm` |
| `reward_tokens` | `cross_entropy` |
| `orm` | `cross_entropy`, `bradley_terry` |
| `implicit_prm` | `cross_entropy` |

Hard and soft targets are the label view's business (`label_view`), class weights go with the pointwise losses.
"""

from __future__ import annotations

from collections.abc import Sequence

from prm.errors import ConfigError
from prm.losses.base import IGNORED, PADDED, Batch, Loss, known
from prm.losses.beta_binomial import BetaBinomial
from prm.losses.bradley_terry import BradleyTerry
from prm.losses.pointwise import CrossEntropy, Focal, SquaredError
from prm.losses.pqm import ProcessQValue

LOSSES_OF: dict[str, tuple[str, ...]] = {
    "prm": ("cross_entropy", "mse", "focal", "beta_binomial", "pqm"),
    "reward_tokens": ("cross_entropy",),
    "orm": ("cross_entropy", "bradley_terry"),
    "implicit_prm": ("cross_entropy",),
}
LOSSES = tuple(dict.fromkeys(name for names in LOSSES_OF.values() for name in names))
WEIGHTED = ("cross_entropy", "mse", "focal")
BALANCED = "balanced"
_WHY_NOT = {
    "bradley_terry": "it ranks pairs of finished solutions",
    "beta_binomial": "it reads two logits per step, which together say a chance and how sure of it the model is",
    "pqm": "it ranks the steps of a solution",
    "mse": "its score is that of a head of its own",
    "focal": "its score is that of a head of its own",
}


def check_loss(
    objective: str, loss: str, *, label_view: str, class_weights: Sequence[str] | None, head_logits: int
) -> None:
    """Refuse what does not go together.

    Raises:
        ConfigError: the reason, and what does.
    """
    if objective not in LOSSES_OF or loss not in LOSSES:
        raise ConfigError(
            f"objective is one of {', '.join(LOSSES_OF)} and loss one of {', '.join(LOSSES)}, "
            f"not {objective!r} and {loss!r}"
        )
    if loss not in LOSSES_OF[objective]:
        raise ConfigError(
            f"loss {loss!r} does not fit objective {objective!r}: {_WHY_NOT[loss]}; "
            f"choose {' or '.join(LOSSES_OF[objective])}, or another objective"
        )
    if head_logits not in (1, 2) or (head_logits == 1 and objective != "prm"):
        raise ConfigError(f"head_logits is 2, or 1 with objective prm, not {head_logits} with {objective!r}")
    if loss == "beta_binomial" and head_logits == 1:
        raise ConfigError(f"loss 'beta_binomial' needs head_logits 2: {_WHY_NOT[loss]}")
    if loss == "pqm" and label_view != "hard":
        raise ConfigError("loss 'pqm' ranks right steps above wrong ones: set label_view to hard")
    if class_weights and loss not in WEIGHTED:
        raise ConfigError(f"class_weights go with {', '.join(WEIGHTED)}, not with {loss!r}; drop them")
    if class_weights:
        read_class_weights(class_weights, 0.5)


def read_class_weights(given: Sequence[str] | None, mean_target: float) -> tuple[float, float]:
    """Weights of wrong and correct: two numbers, or `balanced`, which gives both classes the same sum.

    Args:
        mean_target: of the training units, for `balanced`: 1 / (2 share of the class), as in scikit-learn.

    Raises:
        ConfigError: anything else.
    """
    if not given:
        return 1.0, 1.0
    if list(given) == [BALANCED]:
        share = min(max(mean_target, 1e-6), 1 - 1e-6)
        return 0.5 / (1 - share), 0.5 / share
    try:
        wrong, correct = (float(number) for number in given)
    except (ValueError, TypeError):
        raise ConfigError(
            f"class_weights is 'balanced' or two numbers, wrong and correct, not {list(given)}"
        ) from None
    if not (0 < wrong < float("inf") and 0 < correct < float("inf")):
        raise ConfigError(f"class_weights are two positive numbers, wrong and correct, not {list(given)}")
    return wrong, correct


def make_loss(
    name: str, *, class_weights: tuple[float, float] = (1.0, 1.0), focal_gamma: float = 2.0, pqm_margin: float = 4.0
) -> Loss:
    """The loss of that name; `check_loss` says what fits what."""
    losses: dict[str, Loss] = {
        "cross_entropy": CrossEntropy(class_weights),
        "mse": SquaredError(class_weights),
        "focal": Focal(class_weights, focal_gamma),
        "beta_binomial": BetaBinomial(),
        "pqm": ProcessQValue(pqm_margin),
        "bradley_terry": BradleyTerry(),
    }
    return losses[name]


__all__ = [
    "IGNORED",
    "LOSSES",
    "LOSSES_OF",
    "PADDED",
    "Batch",
    "BetaBinomial",
    "BradleyTerry",
    "CrossEntropy",
    "Focal",
    "Loss",
    "ProcessQValue",
    "SquaredError",
    "check_loss",
    "known",
    "make_loss",
    "read_class_weights",
]
