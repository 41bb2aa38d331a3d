"""The page of a training run: what it shows of plain data, which examples it takes, and that it needs nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from prm.training.page import (
    Calibration,
    Example,
    RowFacts,
    SourceFacts,
    TrainReport,
    held_out_examples,
    train_page,
    write_train_page,
)
from prm.training.page.examples import choose

METRICS: dict[str, Any] = {
    "prm_version": "0.1.0",
    "objective": "prm",
    "label_source": "monte_carlo",
    "base_model": "you/base <1B>",
    "hyperparameters": {"learning_rate": 3e-4, "global_batch": 64, "seed": 0, "loss": "cross_entropy", "sep": "\n\n"},
    "parameters": {"total": 1_234_567, "trainable": 1_234_567},
    "training": {"steps": 40, "epochs": 2.0},
    "eval": {
        "auroc": {"value": 0.81, "low": 0.76, "high": 0.86, "n": 50},
        "loss": {"value": 0.52, "low": 0.45, "high": 0.6, "n": 50},
        "judge/auroc": {"value": 0.9, "low": 0.8, "high": 1.0, "n": 20},
        "monte_carlo/auroc": {"value": 0.7, "low": 0.6, "high": 0.8, "n": 30},
    },
}
LOGS = [
    {"step": 10, "loss": 1.025, "grad_norm": 3.5, "learning_rate": 3e-4, "tokens_per_second": 41234.0, "mfu": 0.41},
    {"step": 20, "loss": 0.8, "grad_norm": 2.5, "learning_rate": 2e-4, "tokens_per_second": 42345.0, "mfu": 0.42},
    {"step": 20, "eval_loss": 0.7, "eval_auroc": 0.7, "eval_runtime": 3.0, "eval_samples_per_second": 10.0},
    {"step": 40, "loss": 0.612, "grad_norm": 1.5, "learning_rate": 1e-4, "tokens_per_second": 43456.0, "mfu": 0.43},
    {"step": 40, "eval_loss": 0.52, "eval_auroc": 0.81, "eval_runtime": 3.0, "eval_samples_per_second": 10.0},
    {"step": 40, "train_runtime": 12.0, "train_loss": 0.8},
]
ROWS = RowFacts(
    lengths=[30, 42, 57],
    targets=[[1.0, 1.0, 0.0], [1.0, -1.0], [0.25, 0.0]],
    problems=2,
    sources=[SourceFacts("monte_carlo", 2, 2, 4, 0.75), SourceFacts("judge", 1, 1, 2, 0.125)],
    max_length=60,
    truncated_rows=1,
    dropped_steps=4,
    dropped_right=1,
    dropped_wrong=2,
)


def example(*scored: tuple[float | None, float | None], group: int = 0) -> Example:
    labels, scores = zip(*scored, strict=True)
    return Example(
        f"problem {group}", tuple(f"s{i}" for i in range(len(scored))), labels, scores, group, "monte_carlo"
    )


def report(**changes: Any) -> TrainReport:
    parts: dict[str, Any] = {
        "metrics": METRICS,
        "log_history": LOGS,
        "rows": ROWS,
        "calibration": Calibration(
            [1.0, 0.0, 1.0, 1.0],
            [0.9, 0.4, 0.6, 0.8],
            [0.8, 0.45, 0.55, 0.7],
            {"value": 1.5, "n": 4, "nll_before": 0.3, "nll_after": 0.35, "ece_after": 0.06, "reason": ""},
        ),
        "examples": [example((1.0, 0.9), (0.0, 0.83)), example((1.0, 0.97), group=1)],
        "examined": 120,
        "versions": {"torch": "2.13.0"},
        "hashes": {"training rows": "1a2b3c"},
    }
    return TrainReport(**parts | changes)


def text_of(page: str) -> str:
    """What is read, tags left out."""
    return " ".join(re.sub(r"<[^>]+>", " ", page[page.index("<body") :]).split())


def test_the_page_tells_what_was_trained_and_what_came_of_it() -> None:
    page = train_page(report())
    text = text_of(page)
    assert "A process reward model from you/base &lt;1B&gt;" in text
    assert "6 labels on 3 solutions of 2 problems, 40 steps. The training loss went from 1.025 to 0.612." in text
    assert "On held-out problems: AUROC 0.810 [0.760, 0.860]." in text
    for fact in ("1,234,567", "0.0003", "cross_entropy", "2.13.0", "1a2b3c", "&#39;\\n\\n&#39;"):
        assert fact in text, fact


def test_curves_of_all_that_was_logged_are_there() -> None:
    page = train_page(report())
    for title in ("Loss", "Learning rate", "Gradient norm", "Tokens per second", "Model FLOPs utilisation", "AUROC"):
        assert f'aria-label="{title}: ' in page, title
    assert 'aria-label="Loss: training 0.612, held out 0.52"' in page
    assert "Labels per second" not in page and "runtime" not in page  # not logged, and nobody's concern


def test_one_evaluation_is_a_table_and_no_curve() -> None:
    page = train_page(report(log_history=LOGS[:4]))
    assert "Held-out metrics over the steps" not in page and "On held-out problems" in page
    assert "On held-out problems" not in train_page(report(metrics={**METRICS, "eval": {}}))


def test_labels_lost_to_the_length_are_counted_by_class() -> None:
    text = text_of(train_page(report()))
    assert "labels that say right 3 1 25.0% labels that say wrong 3 2 40.0%" in text
    assert "1 solutions were longer than max_length 60 and lost 4 steps from their end, with 3 labels." in text
    assert "1 steps have no label" in text


def test_sources_have_their_counts_and_their_metrics() -> None:
    text = text_of(train_page(report()))
    assert "monte_carlo 2 2 4 0.750 judge 1 1 2 0.125" in text
    assert "label source AUROC judge 0.900 monte_carlo 0.700" in text


def test_what_is_no_merit_is_not_said_to_be_better() -> None:
    rate = {"base_rate_of_wrong": {"value": 0.4, "low": 0.3, "high": 0.5, "n": 50}}
    text = text_of(train_page(report(metrics={**METRICS, "eval": METRICS["eval"] | rate}, threshold=0.395616)))
    no_break = "\N{NO-BREAK SPACE}"
    assert "Base rate of wrong 0.400 [0.300, 0.500] – 50" in text.replace(no_break, " ")
    assert (
        "AUROC 0.810 [0.760, 0.860] more 50" in text.replace(no_break, " ") and "score below 0.396 whose label" in text
    )


def test_calibration_stands_before_and_after() -> None:
    page = train_page(report())
    assert 'aria-label="Before calibration: ' in page and 'aria-label="After calibration: ' in page
    loss = -np.mean(np.log([0.9, 0.6, 0.6, 0.8]))
    assert f"before calibration {loss:.3f}" in text_of(page)
    assert "after calibration, cross-fitted 0.350 0.060 – 4" in text_of(page) and "the temperature, 1.5;" in page
    plain = train_page(report(calibration=Calibration([1.0, 0.0], [0.9, 0.4])))
    assert 'aria-label="Reliability: ' in plain and "temperature" not in plain


def test_examples_say_what_is_to_be_seen_in_them() -> None:
    text = text_of(train_page(report()))
    assert "2 of 120 held-out solutions" in text
    assert "An error missed: step 2 is labelled wrong and scores 0.83 problem 0" in text
    assert "1 s0 right 0.90 2 s1 wrong 0.83 ✗ Labels: monte_carlo" in text
    assert "Agrees with its label problem 1" in text


def test_a_run_with_nothing_but_rows_has_a_page(tmp_path: Path) -> None:
    bare = TrainReport({}, [], RowFacts([12], [[1.0]], 1))
    page = write_train_page(tmp_path, bare).read_text(encoding="utf-8")
    assert page == train_page(bare) and (tmp_path / "train_report.html").is_file()
    assert "1 labels on 1 solutions" in page and "Calibration" not in page


def test_mistakes_come_first_and_problems_once() -> None:
    missed = [example((0.0, (60 + index) / 100), group=index) for index in range(8)]
    alarms = [example((1.0, 0.4), group=20), example((1.0, 0.1), group=20), example((1.0, 0.3), group=21)]
    fine = [example((1.0, 0.8), group=30), example((1.0, 0.9), (0.0, 0.1), group=31), example((1.0, 0.95), group=32)]
    chosen = choose([*fine, *alarms, *missed, example((None, 0.5), group=40)])
    assert [found.scores[0] for found in chosen[:4]] == [0.67, 0.66, 0.65, 0.64]
    assert [found.scores[0] for found in chosen[4:7]] == [0.1, 0.3, 0.4]  # the second of a problem last
    assert [found.group for found in chosen[7:]] == [31, 32, 30]  # right and wrong steps told apart say most


def test_places_that_one_kind_leaves_go_to_the_others() -> None:
    missed = [example((0.0, 0.9 - index / 100), group=index) for index in range(8)]
    assert len(choose(missed, count=5)) == 5
    assert [found.group for found in choose([*missed, example((1.0, 0.9), group=9)], count=4)] == [0, 1, 2, 9]


@dataclass
class Rows:
    """As much of an encoded dataset as the page reads: two solutions of one problem, and one of another."""

    tokenizer: Any
    token_ends: list[int] = field(default_factory=list)
    step_ends: Any = field(default_factory=lambda: np.array([2, 4, 5]))
    targets: Any = field(default_factory=lambda: np.array([1.0, 0.0, 1.0, -1.0, 1.0]))
    groups: Any = field(default_factory=lambda: np.array([0, 0, 1]))
    sources: Any = field(default_factory=lambda: np.array([0, 1, 1]))
    source_names: tuple[str, ...] = ("judge", "monte_carlo")
    texts: tuple[tuple[str, ...], ...] = (
        ("7+5-3\n", "7+5=12\n", "12-3=8\n"),
        ("7+5-3\n", "7+5=12\n", "A: 9\n"),
        ("1+1\n", "2\n"),
    )

    def __post_init__(self) -> None:
        self.rows = []
        for index, texts in enumerate(self.texts):
            parts = [list(self.tokenizer.encode(text, add_special_tokens=False)) for text in texts]
            ends = np.cumsum([len(part) for part in parts])
            steps = slice(self.step_ends[index - 1] if index else 0, self.step_ends[index])
            self.rows.append(
                SimpleNamespace(
                    input_ids=np.array([token for part in parts for token in part]),
                    positions=ends[1:] - 1,
                    targets=self.targets[steps],
                    prompt_length=len(parts[0]),
                    group=self.groups[index],
                    source=self.sources[index],
                )
            )
        self.token_ends = np.cumsum([len(row.input_ids) for row in self.rows]).tolist()
        self.counts = SimpleNamespace(
            groups=2, truncated_rows=1, dropped_steps=3, dropped_labels=2, dropped_wrong_labels=2
        )

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


def test_rows_are_counted_as_they_were_encoded(tokenizer: Any) -> None:
    facts = RowFacts.of(Rows(tokenizer), max_length=21)
    assert list(facts.lengths) == [20, 18, 6] and facts.targets == [[1.0, 0.0], [1.0, -1.0], [1.0]]
    assert (facts.labels, facts.problems, facts.dropped_right, facts.dropped_wrong) == (4, 2, 0, 2)
    assert list(facts.sources) == [SourceFacts("judge", 1, 1, 2, 0.5), SourceFacts("monte_carlo", 2, 2, 2, 1.0)]


def test_examples_are_read_from_the_tokens_that_were_scored(tokenizer: Any) -> None:
    scores = np.array([[0.9, 0.8], [0.95, 0.2], [0.3, 0.0]])
    missed, alarm, agrees = held_out_examples(Rows(tokenizer), scores, tokenizer, separator="\n")
    assert (missed.problem, missed.steps) == ("7+5-3", ("7+5=12", "12-3=8"))
    assert missed.labels == (1.0, 0.0) and missed.scores == (0.9, 0.8) and missed.source == "judge"
    assert (alarm.steps, alarm.scores, alarm.source) == (("2",), (0.3,), "monte_carlo")
    assert agrees.labels == (1.0, None)
    assert [one.problem for one in held_out_examples(Rows(tokenizer), scores, tokenizer, separator="\n", count=1)] == [
        "7+5-3"
    ]


def test_an_outcome_is_the_score_of_the_last_of_several_steps(tokenizer: Any) -> None:
    rows = Rows(tokenizer)
    for row in rows.rows:
        row.positions, row.targets = row.positions[-1:], np.array([0.0])
    found = held_out_examples(rows, [[0.9], [0.8], [0.7]], tokenizer, separator="\n")[0]
    assert found.steps == ("7+5=12", "12-3=8") and found.labels == (None, 0.0) and found.scores == (None, 0.9)
    page = train_page(report(examples=[found]))
    assert "An error missed: the solution is labelled wrong and scores 0.90" in page


@pytest.mark.parametrize(
    ("objective", "name"), [("orm", "An outcome reward model from"), ("something new", "A verifier from")]
)
def test_every_objective_has_a_name(objective: str, name: str) -> None:
    assert name in train_page(report(metrics={**METRICS, "objective": objective}))
