"""The fitted temperature against a fine grid, and a folded one against plain transformers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prm.calibration import HIGHEST, LOWEST, fit_temperature, fold_temperature
from prm.errors import ConfigError, DataError, ModelError
from prm.stats.calibration import expected_calibration_error


def sigmoid(margins: Any) -> Any:
    return 1 / (1 + np.exp(-margins))


def drawn(true_temperature: float, rows: int = 2000, seed: int = 0) -> tuple[Any, Any]:
    """Margins that are too sharp (above 1) or too flat (below 1) by that factor for the labels."""
    rng = np.random.default_rng(seed)
    margins = 3 * rng.normal(size=rows) * true_temperature
    return margins, (rng.random(rows) < sigmoid(margins / true_temperature)).astype(float)


def loss(margins: Any, targets: Any, temperature: float) -> float:
    m = margins / temperature
    return float(np.mean(np.logaddexp(0, m) - targets * m))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_no_temperature_has_a_lower_loss(true: float, soft: bool) -> None:
    margins, targets = drawn(true, rows=300)
    if soft:
        targets = np.clip(0.6 * targets + 0.4 * np.random.default_rng(1).random(300), 0, 1)
    found = fit_temperature(margins, targets).value
    here = loss(margins, targets, found)
    assert all(here <= loss(margins, targets, t) for t in found * np.geomspace(0.2, 5, 2001))
    scaled = margins / found
    assert abs(np.mean(scaled * (sigmoid(scaled) - targets))) < 1e-12  # its slope is 0


def test_the_temperature_of_the_labels_is_found() -> None:
    for true in (0.5, 1.0, 3.0):
        found = fit_temperature(*drawn(true, rows=20_000))
        assert found.value == pytest.approx(true, rel=0.05)
        assert (found.reason, found.n) == ("", 20_000)


def test_overconfident_scores_are_mended_on_rows_it_was_not_fitted_on() -> None:
    margins, targets = drawn(3.0)
    found = fit_temperature(margins, targets)
    assert found.helps and found.nll_after < 0.8 * found.nll_before
    assert found.ece_before == pytest.approx(expected_calibration_error(sigmoid(margins), targets))
    assert found.ece_after < 0.3 * found.ece_before
    assert found.to_dict()["value"] == found.value


def test_what_is_reported_is_not_what_was_fitted_on() -> None:
    """On a handful of problems the temperature fits their noise, and only cross-fitting shows it."""
    worse = 0
    for seed in range(20):
        margins, targets = drawn(1.0, rows=12, seed=seed)
        found = fit_temperature(margins, targets)
        if found.n and not math.isnan(found.nll_after):
            assert found.nll_after >= loss(margins, targets, found.value)
            worse += found.nll_after > found.nll_before
    assert worse > 5


def test_rows_of_one_problem_share_a_fold() -> None:
    margins, targets = drawn(2.0, rows=40)
    apart = fit_temperature(margins, targets)
    together = fit_temperature(margins, targets, np.arange(40) // 20)
    assert together.value == apart.value and together.nll_after != apart.nll_after
    halves = [fit_temperature(margins[rows], targets[rows]).value for rows in (slice(20, 40), slice(20))]
    by_hand = np.concatenate([margins[:20] / halves[0], margins[20:] / halves[1]])
    assert together.nll_after == pytest.approx(loss(by_hand, targets, 1.0))
    assert math.isnan(fit_temperature(margins, targets, np.zeros(40)).nll_after)


def test_unknown_targets_and_padding_do_not_count() -> None:
    margins, targets = drawn(2.0, rows=60)
    padded = np.full((20, 4), np.nan)
    padded[:, :3] = margins.reshape(20, 3)
    known = np.full((20, 4), -100.0)
    known[:, :3] = targets.reshape(20, 3)
    known[0, 0] = -1.0
    found = fit_temperature(padded, known, np.arange(20))
    assert found.n == 59
    assert found.value == fit_temperature(margins[1:], targets[1:]).value


def test_what_cannot_be_fitted_is_left_alone_or_bounded() -> None:
    nothing = fit_temperature([], [])
    assert (nothing.value, nothing.reason, nothing.n, nothing.helps) == (1.0, "no labels", 0, False)
    assert nothing.to_dict()["nll_before"] is None
    one_class = fit_temperature([1.0, 2.0], [1.0, 1.0])
    assert (one_class.value, one_class.reason) == (1.0, "all labels are of one class") and not one_class.helps
    separable = fit_temperature([-1.0, -2.0, 1.0, 2.0], [0.0, 0.0, 1.0, 1.0])
    assert separable.value == LOWEST and "separate the classes" in separable.reason
    reverse = fit_temperature([-1.0, -2.0, 1.0, 2.0], [1.0, 1.0, 0.0, 0.0])
    assert reverse.value == HIGHEST and "their reverse" in reverse.reason
    with pytest.raises(DataError, match=r"targets of shape \(3,\) for margins of shape \(2,\)"):
        fit_temperature([1.0, 2.0], [1.0, 0.0, 1.0])
    with pytest.raises(DataError, match="3 groups for 2 rows"):
        fit_temperature([1.0, 2.0], [1.0, 0.0], [1, 2, 3])
    with pytest.raises(DataError, match="not a finite number"):
        fit_temperature([math.nan, 2.0], [1.0, 0.0])


PLAIN = {"prm": "AutoModelForTokenClassification", "orm": "AutoModelForSequenceClassification"}


def plain_model(kind: str, base: Path, tokenizer: Any) -> Any:
    """A fresh model with a head that says something, and a bias where the class has one."""
    import torch
    import transformers

    torch.manual_seed(0)
    auto: Any = getattr(transformers, PLAIN[kind])
    model = auto.from_pretrained(base, num_labels=2 if kind == "prm" else 1, pad_token_id=tokenizer.pad_token_id)
    for parameter in model.score.parameters():
        torch.nn.init.normal_(parameter)
    return model.eval()


def margins_of(kind: str, model: Any, ids: Any) -> Any:
    import torch

    with torch.no_grad():
        logits = model(ids).logits
    return logits[..., 1] - logits[..., 0] if kind == "prm" else logits[..., 0]


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("kind", ["prm", "orm"])
def test_plain_transformers_reads_calibrated_probabilities_from_a_folded_checkpoint(
    base_dir: Callable[..., Path], tokenizer: Any, tmp_path: Path, kind: str, lora: bool
) -> None:
    import torch
    import transformers
    from peft import LoraConfig, PeftModel, get_peft_model

    plain = plain_model(kind, base_dir(), tokenizer)
    ids = torch.tensor([tokenizer.encode("12\n12+3=15\n15+1=16\n")])
    expected = torch.sigmoid(margins_of(kind, plain, ids) / 2.5)
    model = plain
    if lora:
        task = "TOKEN_CLS" if kind == "prm" else "SEQ_CLS"
        config = LoraConfig(r=2, target_modules=["q_proj"], task_type=task, modules_to_save=["score"])
        model = get_peft_model(plain, config)
    fold_temperature(model, 2.5)
    model.save_pretrained(tmp_path)
    if lora:
        loaded: Any = PeftModel.from_pretrained(plain_model(kind, base_dir(), tokenizer), tmp_path)
        models = [loaded.eval(), loaded.merge_and_unload()]
    else:
        models = [getattr(transformers, PLAIN[kind]).from_pretrained(tmp_path)]
    for read in models:
        logits = read(ids).logits
        scores = logits.softmax(-1)[..., 1] if kind == "prm" else logits.sigmoid()[..., 0]
        torch.testing.assert_close(scores, expected, rtol=1e-6, atol=1e-6)


def test_only_a_linear_head_can_take_a_temperature(base_dir: Callable[..., Path], tokenizer: Any) -> None:
    import torch

    model = plain_model("prm", base_dir(), tokenizer)
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="a positive number"):
            fold_temperature(model, wrong)
    model.score = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
    with pytest.raises(ModelError, match="a temperature can be folded into a linear layer only"):
        fold_temperature(model, 2.0)
