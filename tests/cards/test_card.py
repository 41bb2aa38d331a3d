"""The card says what was measured, and says so where nothing was."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prm.eval.cost import Bill
from prm.eval.results import against_controls, best_prm_method, method_result
from prm.eval.search.base import ProblemResult

from prm.cards.card import card_for, front_matter
from prm.cards.facts import count_parameters, read_facts, without_local_paths
from prm.cards.results import estimate, read_results, result_tables, verdict
from prm.cards.snippet import Snippet
from prm.cards.tables import markdown_table, show
from prm.errors import DataError, HubError, MissingFileError

SNIPPETS = [Snippet("With plain transformers", "print(1)", "1")]


def write_run(directory: Path, fingerprints: dict[str, str]) -> Path:
    """A `results.json` of 40 problems: majority solves 20, `prm` 32 by beam search, the control `shuffled` 20."""

    def line(
        method: str, right: int, verifier: str = "", *, gain: bool = True, tokens: int = 100, flops: float = 2e6
    ) -> Any:
        bill = Bill(generated_tokens=tokens, generator_flops=flops)
        results = [ProblemResult(float(i < right), bill) for i in range(40)]
        names = {"verifier": verifier, "kind": "prm" if verifier else "", "control": verifier == "shuffled"}
        baseline = [float(i < 20) for i in range(40)]
        return method_result(results, method=method, n=16, baseline=baseline if gain else None, **names)

    lines = [
        line("majority", 20, gain=False),
        line("beam_search", 32, "prm", tokens=12_345),
        line("best_of_n", 24, "prm", flops=math.nan),
        line("beam_search", 20, "shuffled"),
        line("best_of_n", 40, "other"),
    ]
    best: Any = best_prm_method([item for item in lines if item.verifier != "other"], lines[0].per_problem, 16)
    content = {
        "version": 1,
        "dataset": "arithmetic/test",
        "num_problems": 40,
        "n": 16,
        "baseline": "majority",
        "generator": {"name": "tiny", "num_parameters": 10},
        "verifiers": {
            name: {"kind": "prm", "control": name == "shuffled", "fingerprint": found, "quality": {}}
            for name, found in fingerprints.items()
        },
        "methods": [item.to_dict() for item in lines],
        "best": {"key": best.key, "gain": vars(best.gain), "held_out_gain": vars(best.held_out_gain)},
        "controls": against_controls(lines, 16),
        "notes": ["prm could not read 3 samples"],
    }
    directory.mkdir()
    (directory / "results.json").write_text(json.dumps(content))
    return directory


def test_the_card_shows_gains_with_intervals_costs_and_controls(
    tiny_verifier_dir: Callable[..., Path], tmp_path: Path
) -> None:
    facts = read_facts(tiny_verifier_dir(label_source="monte_carlo", label_view="hard"))
    run = write_run(tmp_path / "eval", {"prm": "aa", "shuffled": "bb"})
    card = card_for(facts, "user/my-prm", SNIPPETS, results=read_results(run, "aa"))
    majority, beam = (next(line for line in card.splitlines() if line.startswith(f"| {m} |")) for m in METHODS)
    assert "| none | 16 | 0.500 [" in majority
    assert "| this one | 16 | 0.800 [" in beam and "| +0.300 [" in beam and "| 12,345 |" in beam
    assert beam.endswith("| 2.00e+06 |")
    best_of_n = next(line for line in card.splitlines() if line.startswith("| best of n | this one |"))
    assert best_of_n.endswith("| unknown |")
    assert "| beam search | control: shuffled | 16 | 0.500 [" in card
    assert "1.000" not in card  # the accuracy of another verifier
    assert "Best of its methods: beam search, +0.300 [" in card and "(clear of zero)" in card
    assert "chosen on other problems: +0.300" in card
    assert "| beam search | shuffled | +0.300 [" in card and "Over the control shuffled: +0.300 [" in card
    assert "- prm could not read 3 samples" in card and "40 problems of `arithmetic/test`" in card


METHODS = ("majority", "beam search")


def test_the_model_index_has_each_number_with_its_interval(
    tiny_verifier_dir: Callable[..., Path], tmp_path: Path
) -> None:
    directory = tiny_verifier_dir()
    measured = {"auroc": {"value": 0.8, "low": 0.7, "high": 0.9}, "judge/ece": {"value": 0.1}, "secret_sauce": 3.0}
    metrics = {"data": {"dataset_name": "labels.jsonl"}, "eval": measured | {"brier": {"value": 0.2}}}
    (directory / "train_metrics.json").write_text(json.dumps(metrics))
    run = write_run(tmp_path / "eval", {"prm": "aa", "shuffled": "bb"})
    results = read_results(run, "aa")
    front = front_matter(read_facts(directory), "my-prm", results=results, datasets=["user/labels"])
    metadata = yaml.safe_load(front)
    assert metadata["datasets"] == ["user/labels"]
    (index,) = metadata["model-index"]
    assert index["name"] == "my-prm"
    search, held_out = index["results"]
    assert (search["task"]["name"], search["dataset"]["name"]) == ("Test-time search", "arithmetic/test")
    by_name = {entry["name"].split(" (95%")[0]: entry for entry in search["metrics"]}
    assert set(by_name) == {  # neither controls nor other verifiers
        "Accuracy of majority, n = 16, without a verifier",
        "Accuracy of beam search, n = 16",
        "Gain of beam search, n = 16, over majority",
        "Accuracy of best of n, n = 16",
        "Gain of best of n, n = 16, over majority",
    }
    beam = next(line for line in results.content["methods"] if line["method"] == "beam_search")
    gain = by_name["Gain of beam search, n = 16, over majority"]
    assert (gain["type"], gain["value"]) == ("accuracy_gain", pytest.approx(0.3))
    assert gain["args"]["low"] == pytest.approx(beam["gain"]["low"], abs=1e-4)
    assert f"{beam['gain']['low']:.3f} to {beam['gain']['high']:.3f}" in gain["name"]
    assert {entry["type"]: entry["value"] for entry in held_out["metrics"]} == {"auroc": 0.8, "brier": 0.2}
    assert "args" not in next(entry for entry in held_out["metrics"] if entry["type"] == "brier")


def test_compute_versions_seed_and_commit_are_those_of_the_training(tiny_verifier_dir: Callable[..., Path]) -> None:
    directory = tiny_verifier_dir()
    (directory / "train_metrics.json").write_text(json.dumps({"hyperparameters": {"seed": 7}}))
    record = {
        "seconds": 4321.5,
        "started": "2026-01-02T03:04:05+00:00",
        "versions": {"torch": "2.13.0", "trl": "1.16.0"},
        "git_commit": "abc123+",
        "machine": {"cores": 16, "memory_gib": 128.0, "accelerators": ["NVIDIA H100"]},
        "processes": 8,
        "resumed_from": "checkpoint-5",
    }
    (directory / "train_run.json").write_text(json.dumps(record))
    card = card_for(read_facts(directory), "user/my-prm", SNIPPETS)
    for row in (
        "Seed | 7",
        "Machine | NVIDIA H100, 16 processor cores, 128 GiB of memory",
        "Processes | 8",
        "Duration | 4,322 s (since it was resumed)",
        "Commit of prm-toolkit | abc123, with changes that were not committed",
        "Versions | torch 2.13.0, trl 1.16.0",
    ):
        assert f"| {row} |" in card
    assert "train_run.json" not in read_facts(directory).files  # its command line is nobody else's business


def test_the_card_says_what_it_is_for_and_why_vllm_is_missing(tiny_verifier_dir: Callable[..., Path]) -> None:
    served, unserved = (
        card_for(read_facts(tiny_verifier_dir(head=head)), "user/my-prm", SNIPPETS)
        for head in ("token_classification", "reward_tokens")
    )
    assert "## Intended use" in served and "finding the first wrong step" in served and "Not meant for" in served
    assert "vLLM" not in served and "vLLM's pooling runner has no task that gives these scores." in unserved


def test_an_implicit_prm_has_a_card(tiny_verifier_dir: Callable[..., Path]) -> None:
    card = card_for(read_facts(tiny_verifier_dir(head="implicit")), "user/my-prm", SNIPPETS)
    assert yaml.safe_load(card.split("---\n")[1])["pipeline_tag"] == "text-generation"
    assert "sigmoid of 0.1 times the log-ratio" in card


def test_a_snippet_without_output_shows_its_note(tiny_verifier_dir: Callable[..., Path]) -> None:
    snippets = [*SNIPPETS, Snippet("With vLLM", "import vllm", note="Not run when this was published.")]
    card = card_for(read_facts(tiny_verifier_dir()), "user/my-prm", snippets)
    assert "import vllm\n```\n\nNot run when this was published.\n" in card and card.count("```text") == 1


def test_a_gain_that_is_not_clear_is_called_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "eval", {"prm": "aa"})
    content = json.loads((run / "results.json").read_text())
    for line in content["methods"]:
        if line["gain"]:
            line["gain"] = {"mean": 0.01, "low": -0.02, "high": 0.04, "n": 40}
    (control,) = content["controls"]
    control["difference"] = {"mean": -0.1, "low": -0.2, "high": -0.04, "n": 40}
    (run / "results.json").write_text(json.dumps({**content, "best": None}))
    assert verdict(read_results(run, "aa")) == (
        "Best of its methods: beam search, +0.010 [-0.020, +0.040] (not clear of zero) over majority. "
        "Over the control shuffled: -0.100 [-0.200, -0.040] (below zero)."
    )


def test_what_rounds_to_zero_has_no_sign() -> None:
    found = {"mean": -0.0003, "low": -0.0006, "high": 0.00049}
    assert estimate(found, signed=True) == estimate(found) == "0.000 [-0.001, 0.000]"
    assert estimate({"mean": 0.1, "low": -0.0, "high": 0.2}, signed=True) == "+0.100 [0.000, +0.200]"


def test_a_run_of_other_weights_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", {"prm": "aa"})
    with pytest.raises(
        HubError, match=r"its verifiers \(prm\) are not .* measured other weights; run `prm eval` again"
    ):
        read_results(run, "bb")
    with pytest.raises(HubError, match=r"its verifier 'prm' is not .* measured other weights"):
        read_results(run, "bb", "prm")
    with pytest.raises(HubError, match="no verifier is called 'x' in it; it has prm"):
        read_results(run, "aa", "x")
    twins = write_run(tmp_path / "two", {"prm": "aa", "twin": "aa", "other": "bb"})
    with pytest.raises(HubError, match="measured this verifier as prm and as twin; say which with verifier_name"):
        read_results(twins, "aa")
    assert read_results(twins, "aa", "twin").verifier == "twin"
    assert read_results(twins, "bb").verifier == "other"


def test_broken_eval_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"results\.json: no such file\. Give the output_dir"):
        read_results(tmp_path, "aa")
    for text in ("[]", "{", "{}", '{"version": 99, "methods": [], "verifiers": {}, "n": 1}'):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(DataError, match=r"results\.json"):
            read_results(tmp_path, "aa")


def test_what_was_not_measured_is_said_to_be_unknown(tiny_verifier_dir: Callable[..., Path]) -> None:
    card = card_for(read_facts(tiny_verifier_dir("orm", "sequence_classification")), "user/my-orm", SNIPPETS)
    assert "nothing is known here of how it was trained" in card
    assert "its gain over majority voting is not known" in card
    assert "**outcome reward model**" in card and "sigmoid of the one logit" in card
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["pipeline_tag"] == "text-classification"
    assert not {"license", "base_model", "datasets"} & set(metadata)


def test_the_front_matter_names_base_and_licence_when_they_are_known(tiny_verifier_dir: Callable[..., Path]) -> None:
    facts = read_facts(tiny_verifier_dir())
    card = card_for(facts, "user/my-prm", SNIPPETS, base_model="Qwen/Qwen2.5-Math-1.5B", license="apache-2.0")
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["base_model"] == "Qwen/Qwen2.5-Math-1.5B" and metadata["base_model_relation"] == "finetune"
    assert metadata["license"] == "apache-2.0" and "- **Licence:** `apache-2.0`\n" in card
    assert "- **Licence:** not stated by who published it\n" in card_for(facts, "user/my-prm", SNIPPETS)
    assert "process-reward-model" in metadata["tags"]


def test_the_training_is_told_in_a_readers_words(tiny_verifier_dir: Callable[..., Path], tmp_path: Path) -> None:
    directory = tiny_verifier_dir()
    labels = tmp_path / "labels.jsonl"
    labels.touch()
    counts = {"rows": 12_000, "groups": 300, "tokens": 99_000, "labels": 40_000, "mean_target": 0.625}
    metrics = {
        "data": {
            "dataset_name": str(labels),
            "problem_set": "arithmetic, train",
            "generator": "gen13",
            "completions_per_step": 8,
            "label_accuracy": {"mean": 0.91, "low": 0.9, "high": 0.92, "n": 50},
            "digest": "90432eb1c5b342ee",
            "datasets": [
                {"labels": {"wrong": 8_000, "correct": 30_000, "unknown": 10}},
                {"labels": {"wrong": 1_000, "correct": 3_000, "unknown": 0}},
            ],
            "shuffled_labels": True,
            "dropped_rows": {"truncated": 3},
            "train": counts,
            "eval": {},
        },
        "hyperparameters": {
            "learning_rate": 1e-05,
            "warmup_steps": 0.03,
            "max_length": 4096,
            "head_init_tokens": ["-", "+"],
            "adam_beta1": 0.9,
            "dtype": "float32",
            "bf16": True,
        },
        "parameters": {"total": 1000, "trainable": 10, "dtype": "float32"},
        "training": {"steps": 7, "epochs": 2.0, "loss_history": [{"step": 1, "loss": 0.7}], "final_loss": None},
        "eval": {
            "auroc": {"value": 0.81234, "low": 0.78, "high": 0.84, "n": 50},
            "loss": {"value": 0.5},
            "judge/ece": {"value": 0.125},
        },
    }
    (directory / "train_metrics.json").write_text(json.dumps(metrics))
    card = card_for(read_facts(directory), "user/my-prm", SNIPPETS)
    for row in (
        "Rows | labels.jsonl",
        "Problems from | arithmetic, train",
        "Sampled with | gen13",
        "Completions for each step | 8",
        "Steps labelled as the truth has it | 0.91 [0.9, 0.92]",
        "Labels, taken as right or wrong | 33,000 right, 9,000 wrong (78.6% right); 10 steps without one",
        "Trained on | 12,000 solutions of 300 problems, 40,000 labels (mean label 0.625), 99,000 tokens",
        "Left out | 3 truncated",
        "Learning rate | 1e-05",
        "Warm-up | 3.0% of the steps",
        "Longest row, in tokens | 4,096",
        "Head started from the language model's rows of | -, +",
        "Precision | float32 weights, bf16 mixed precision",
        "Parameters trained | 10 of 1,000",
        "Optimiser steps | 7 (epochs: 2)",
        "AUROC | 0.812 [0.780, 0.840]",
        "Loss, in nats per label | 0.500",
        "Expected calibration error (lower is better), labels of judge | 0.125",
    ):
        assert f"| {row} |" in card
    assert str(tmp_path) not in card and "labels were shuffled" in card
    assert not [
        word for word in ("digest", "adam beta1", "loss history", "Last training loss", "Held out |") if word in card
    ]


@pytest.mark.parametrize("metrics", [{"eval": {}}, {"data": {"train": {"rows": 3}}}, {"training": {"steps": 1}}])
def test_what_the_metrics_lack_is_left_out(tiny_verifier_dir: Callable[..., Path], metrics: dict[str, Any]) -> None:
    directory = tiny_verifier_dir()
    (directory / "train_metrics.json").write_text(json.dumps(metrics))
    card = card_for(read_facts(directory), "user/my-prm", SNIPPETS)
    assert "None" not in card.split("## Training")[1].split("## What it is worth")[0]


def test_first_wrong_steps_are_told_as_shares_of_something(tmp_path: Path) -> None:
    run = write_run(tmp_path / "eval", {"prm": "aa"})
    content = json.loads((run / "results.json").read_text())
    found = {"f1": 0.75, "accuracy_wrong": 0.625, "accuracy_correct": None, "n_wrong": 32, "n_correct": 0}
    bars = {"f1": {"mean": 0.75, "low": 0.7, "high": 0.8, "n": 40}}
    content["verifiers"]["prm"]["quality"] = {"first_error": found, "first_error_intervals": bars}
    (run / "results.json").write_text(json.dumps(content))
    (table,) = [t.markdown for t in result_tables(read_results(run, "aa")) if t.title == "Telling right from wrong"]
    assert table.splitlines()[2:] == [
        "| F1 of finding the first wrong step, in this run's samples | 0.750 [0.700, 0.800] |",
        "| First wrong step found, in 32 solutions that have one | 0.625 (its interval was not measured) |",
    ]


def test_local_paths_are_cut_only_where_they_are_paths(tmp_path: Path) -> None:
    value = {"a": [f"prm={tmp_path}", str(tmp_path)], "b": "/nowhere/at/all", "c": 3}
    name = tmp_path.name
    assert without_local_paths(value) == {"a": [f"prm={name}", name], "b": "/nowhere/at/all", "c": 3}


def test_a_cell_cannot_break_its_table() -> None:
    table = markdown_table(["", ""], [["template", show("a|b")], ["separator", show(" \n")]])
    assert table.splitlines()[-2:] == ["| template | a\\|b |", "| separator | `' \\n'` |"]


def test_parameters_are_counted_from_the_file(tiny_verifier_dir: Callable[..., Path]) -> None:
    from safetensors.torch import load_file

    path = tiny_verifier_dir() / "model.safetensors"
    assert count_parameters(path) == sum(tensor.numel() for tensor in load_file(path).values())
