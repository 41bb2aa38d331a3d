"""Every loss is what its paper says, summed over its units, and refuses what it does not fit."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from prm.errors import ConfigError
from prm.losses import (
    LOSSES,
    LOSSES_OF,
    BetaBinomial,
    BradleyTerry,
    CrossEntropy,
    Focal,
    ProcessQValue,
    SquaredError,
    check_loss,
    make_loss,
    read_class_weights,
)

TARGETS = torch.tensor([[0.9, 0.0, 1.0], [1.0, -1.0, 0.0], [0.25, -100.0, -100.0]])


def batch(targets: torch.Tensor = TARGETS, **others: torch.Tensor) -> dict[str, torch.Tensor]:
    zero = torch.zeros_like(targets, dtype=torch.long)
    return {"targets": targets, "n_correct": zero, "n_total": zero, **others}


def logits(shape: tuple[int, ...] = (3, 3, 2), scale: float = 2.0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * scale


def known() -> list[tuple[int, int, float]]:
    return [(b, s, y) for b, row in enumerate(TARGETS.tolist()) for s, y in enumerate(row) if y >= 0]


def test_two_logits_with_soft_targets_equal_torchs_cross_entropy() -> None:
    x = logits()
    expected = sum(float(cross_entropy(x[b, s], torch.tensor([1 - y, y]))) for b, s, y in known())
    assert CrossEntropy().summed(x, batch()).item() == pytest.approx(expected, rel=1e-5)
    assert CrossEntropy().units(batch()).item() == 6


def test_one_logit_equals_binary_cross_entropy() -> None:
    x, targets = logits((6, 1, 1)), torch.rand(6, 1)
    expected = binary_cross_entropy_with_logits(x[..., 0], targets, reduction="sum")
    torch.testing.assert_close(CrossEntropy().summed(x, batch(targets)), expected)


def test_class_weights_are_those_of_torch() -> None:
    x, classes = logits((4, 3, 2)), torch.randint(0, 2, (4, 3), generator=torch.Generator().manual_seed(1))
    loss, given = CrossEntropy((3.0, 0.5)), batch(classes.float())
    expected = cross_entropy(x.flatten(0, 1), classes.flatten(), weight=torch.tensor([3.0, 0.5]))  # a weighted mean
    assert (loss.summed(x, given) / loss.units(given)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_balanced_classes_weigh_the_same_and_a_unit_weighs_one_on_average() -> None:
    wrong, correct = read_class_weights(["balanced"], 0.8)
    assert 0.2 * wrong == pytest.approx(0.8 * correct) == pytest.approx(0.5)
    assert read_class_weights(["2", "1"], 0.8) == (2.0, 1.0) and read_class_weights(None, 0.8) == (1.0, 1.0)


def test_the_squared_error_is_that_of_the_score() -> None:
    x = logits()
    expected = sum((float(x[b, s].softmax(-1)[1]) - y) ** 2 for b, s, y in known())
    assert SquaredError().summed(x, batch()).item() == pytest.approx(expected, rel=1e-5)


def test_the_focal_loss_is_the_papers_and_without_gamma_the_cross_entropy() -> None:
    x = logits()
    expected = 0.0
    for b, s, y in known():
        p = float(x[b, s].softmax(-1)[1])
        expected += -y * (1 - p) ** 2 * math.log(p) - (1 - y) * p**2 * math.log(1 - p)
    assert Focal(gamma=2).summed(x, batch()).item() == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(Focal(gamma=0).summed(x, batch()), CrossEntropy().summed(x, batch()))


def test_the_beta_binomial_is_the_integral_over_the_chance() -> None:
    x = logits((1, 2, 2), scale=0.5)
    right, total = torch.tensor([[2, 0]]), torch.tensor([[5, 8]])
    p = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    expected = 0.0
    for s in range(2):
        b, a = x[0, s].double().exp()
        k, n = int(right[0, s]), int(total[0, s])
        prior = torch.distributions.Beta(a, b).log_prob(p)
        expected -= math.log(float((prior + k * p.log() + (n - k) * (-p).log1p()).exp().mean()))
    given = batch(torch.tensor([[0.4, 0.0]]), n_correct=right, n_total=total)
    assert BetaBinomial().summed(x, given).item() == pytest.approx(expected, rel=1e-3)
    assert BetaBinomial().units(given).item() == 2
    assert BetaBinomial().units(batch(torch.tensor([[0.4, 0.0]]))).item() == 0  # nobody counted


def test_the_beta_binomial_finds_the_share_of_right_completions_whatever_stopped_the_sampling() -> None:
    """Sampled until the first success, at most 8 times, p = 0.4: the mean of c/n is .6, the likelihood says .4."""
    generator = torch.Generator().manual_seed(3)
    draws = torch.rand((4000, 8), generator=generator) < 0.4
    stop = torch.where(draws.any(1), draws.float().argmax(1) + 1, 8)
    given = batch(draws.any(1).float()[:, None], n_correct=draws.any(1).long()[:, None], n_total=stop[:, None])
    assert (given["n_correct"] / given["n_total"]).mean() > 0.55
    parameters = torch.zeros(1, 1, 2, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=100)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = BetaBinomial().summed(parameters.expand(4000, 1, 2), given) / 4000
        loss.backward()
        return loss

    optimizer.step(closure)
    assert parameters.detach().softmax(-1)[0, 0, 1].item() == pytest.approx(0.4, abs=0.02)


def test_the_ranking_loss_is_equation_10_of_its_paper() -> None:
    values = torch.tensor([[0.3, -0.2, 1.1, -0.7], [0.5, 0.1, 0.2, 0.0]])
    targets = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, -100.0]])  # the second has no wrong step
    zeta, rights, wrongs = 4.0, [0.0, 0.3, -0.2], [1.1, -0.7]
    expected = 0.0
    for t, chosen in enumerate(rights):
        below = sum(math.exp(q) for q in rights[: t + 1]) + sum(math.exp(q + zeta) for q in wrongs)
        expected -= math.log(math.exp(chosen) / below) / len(rights)
    given = batch(targets)
    assert ProcessQValue(zeta).summed(values[..., None], given).item() == pytest.approx(expected, rel=1e-5)
    assert ProcessQValue(zeta).units(given).item() == 1


def test_pairs_are_neighbours_and_the_blank_ones_do_not_count() -> None:
    x = logits((6, 1, 1))
    given = batch(torch.tensor([[1.0], [0.0], [1.0], [0.0], [-100.0], [-100.0]]))
    s = x[:, 0, 0].double()
    expected = -(torch.sigmoid(s[0] - s[1]).log() + torch.sigmoid(s[2] - s[3]).log())
    assert BradleyTerry().summed(x, given).item() == pytest.approx(expected.item(), rel=1e-5)
    assert BradleyTerry().units(given).item() == 2


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_logits_stay_finite_in_value_and_gradient(name: str) -> None:
    for size in (1e-6, 1.0, 1e2, 3e4):
        x = (logits((4, 3, 2)) * size).requires_grad_()
        targets = torch.tensor([[1.0, 0.0, 1.0]] * 4)
        counts = {"n_correct": torch.tensor([[3, 0, 8]] * 4), "n_total": torch.tensor([[8, 4, 8]] * 4)}
        loss = make_loss(name).summed(x, batch(targets, **counts))
        loss.backward()
        assert torch.isfinite(loss) and x.grad is not None and torch.isfinite(x.grad).all(), (name, size)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_a_known_label_gives_zero_and_a_gradient_path(name: str) -> None:
    x = logits((4, 3, 2)).requires_grad_()
    given, loss = batch(torch.full((4, 3), -100.0)), make_loss(name)
    found = loss.summed(x, given)
    found.backward()
    assert found.item() == 0 == loss.units(given).item()
    assert x.grad is not None and not x.grad.any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_a_sum_so_that_parts_of_a_batch_add_up(name: str) -> None:
    x = logits((6, 3, 2))
    targets = torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, 1.0]] * 3)
    given = batch(targets, n_correct=torch.ones(6, 3).long(), n_total=torch.full((6, 3), 3))
    loss = make_loss(name, class_weights=(2.0, 0.5) if name in ("cross_entropy", "mse", "focal") else (1.0, 1.0))
    parts = [slice(0, 2), slice(2, 6)]
    pieces = [(x[part], {key: value[part] for key, value in given.items()}) for part in parts]
    torch.testing.assert_close(sum(loss.summed(*piece) for piece in pieces), loss.summed(x, given))
    torch.testing.assert_close(sum(loss.units(piece) for _, piece in pieces), loss.units(given))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"objective": "orm", "loss": "pqm"},
            "ranks the steps of a solution; choose cross_entropy or bradley_terry",
        ),
        ({"loss": "bradley_terry"}, "it ranks pairs of finished solutions"),
        ({"objective": "implicit_prm", "loss": "focal"}, "does not fit objective 'implicit_prm'"),
        ({"loss": "beta_binomial", "head_logits": 1}, "needs head_logits 2"),
        ({"objective": "orm", "head_logits": 1}, "head_logits is 2, or 1 with objective prm"),
        ({"loss": "pqm", "label_view": "soft"}, "set label_view to hard"),
        ({"loss": "beta_binomial", "class_weights": ["1", "2"]}, "class_weights go with"),
        ({"class_weights": ["1"]}, "two numbers"),
        ({"class_weights": ["1", "-2"]}, "two positive numbers"),
        ({"loss": "hinge"}, "loss one of"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(keys: dict[str, Any], message: str) -> None:
    plain = {
        "objective": "prm",
        "loss": "cross_entropy",
        "label_view": "hard",
        "class_weights": None,
        "head_logits": 2,
    }
    check_loss(**plain)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        check_loss(**(plain | keys))  # type: ignore[arg-type]


def test_every_loss_belongs_to_an_objective() -> None:
    assert {name for names in LOSSES_OF.values() for name in names} == set(LOSSES)
