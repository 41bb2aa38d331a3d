"""The loss is the cross-entropy summed over labelled units, in the form of each head."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from prm.objectives import count_units, solution_margins, step_margins, summed_loss


def test_two_logits_with_soft_targets_equal_torch_cross_entropy() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 7, 2, dtype=torch.float64)
    positions = torch.tensor([[1, 4], [0, 6], [2, 2]])
    targets = torch.tensor([[0.9, 0.0], [1.0, -1.0], [0.25, -100.0]], dtype=torch.float64)
    at_steps = logits[torch.arange(3)[:, None], positions]
    expected = sum(
        cross_entropy(at_steps[b, s], torch.tensor([1 - y, y], dtype=torch.float64))
        for b, row in enumerate(targets.tolist())
        for s, y in enumerate(row)
        if y >= 0
    )
    assert summed_loss(step_margins(logits, positions).double(), targets).item() == pytest.approx(
        float(expected), rel=1e-6
    )
    assert count_units(targets).item() == 4


def test_hard_targets_equal_the_cross_entropy_of_class_indices() -> None:
    logits = torch.randn(1, 5, 2)
    positions, classes = torch.tensor([[0, 2, 4]]), torch.tensor([1, 0, 1])
    expected = cross_entropy(logits[0, positions[0]], classes, reduction="sum")
    torch.testing.assert_close(summed_loss(step_margins(logits, positions), classes[None].float()), expected)


def test_one_logit_equals_binary_cross_entropy() -> None:
    logits, targets = torch.randn(6, 1), torch.rand(6, 1)
    expected = binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    torch.testing.assert_close(summed_loss(solution_margins(logits), targets), expected)


def test_large_margins_and_half_precision_stay_finite() -> None:
    logits = torch.tensor([[[-2e4, 2e4], [3e4, -3e4]]], dtype=torch.float16)
    margins = step_margins(logits, torch.tensor([[0, 1]]))
    assert margins.dtype == torch.float32
    assert summed_loss(margins, torch.tensor([[1.0, 1.0]])).item() == pytest.approx(6e4, rel=1e-2)


def test_a_batch_without_a_known_label_gives_zero_and_a_gradient_path() -> None:
    margins = torch.randn(2, 3, requires_grad=True)
    loss = summed_loss(margins, torch.full((2, 3), -1.0))
    loss.backward()
    assert loss.item() == 0
    assert margins.grad is not None and not margins.grad.any()
