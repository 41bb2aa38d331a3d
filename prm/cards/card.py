"""The model card: front matter that the Hub reads, and the facts of one verifier in `model_card.md.j2`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prm.cards.benchmarks import BenchResults, bench_tables, describe_bench
from prm.cards.dataset_card import LABELERS
from prm.cards.facts import VerifierFacts, without_local_paths
from prm.cards.model_index import PIPELINE_TAGS, model_index
from prm.cards.results import Results, describe_run, result_tables, verdict
from prm.cards.snippet import Snippet, is_served
from prm.cards.tables import cell, number
from prm.cards.templates import render
from prm.cards.training import training_tables

PACKAGES = ("prm-toolkit", "transformers", "torch", "peft", "huggingface_hub")


def card_for(
    facts: VerifierFacts,
    repo_id: str,
    snippets: Sequence[Snippet],
    *,
    base_model: str = "",
    license: str | None = None,
    results: Results | None = None,
    bench: Sequence[BenchResults] = (),
    datasets: Sequence[str] = (),
) -> str:
    """The card of one verifier, as the text of its README.md.

    Args:
        facts: what its directory says.
        repo_id: where it is published.
        snippets: usage snippets that were run.
        base_model: the base's name on the Hub; empty if it has none that is known.
        license: identifier of the weights' licence.
        results: what `prm eval` measured, if it did.
        bench: what runs of `prm bench` measured, if any did.
        datasets: names on the Hub of what it was trained on.
    """
    name = repo_id.split("/")[-1]
    return render(
        "model_card.md.j2",
        {
            "front_matter": front_matter(
                facts, name, base_model=base_model, license=license, results=results, bench=bench, datasets=datasets
            ),
            "name": name,
            "repo_id": repo_id,
            "kind": facts.spec.kind,
            "is_adapter": facts.is_adapter,
            "identity": [
                *_identity(facts, base_model, datasets),
                ("Licence", f"`{license}`" if license else "not stated by who published it"),
            ],
            "snippets": snippets,
            "unserved": _unserved(facts),
            "uses": _uses(facts),
            "scoring": [(label, cell(value)) for label, value in _scoring(facts)],
            "training": training_tables(without_local_paths(facts.metrics), facts.record),
            "has_report": facts.report is not None,
            "has_eval_report": results is not None and results.page is not None,
            "benchmarks": bench_tables(bench),
            "benchmarked": describe_bench(bench),
            "bench_files": [run.name for run in bench],
            "run": describe_run(results) if results else "",
            "verdict": verdict(results) if results else "",
            "results": result_tables(results) if results else [],
            "notes": results.content.get("notes") or [] if results else [],
            "limits": _limits(facts, measured=results is not None),
            "versions": _versions(),
        },
    )


def front_matter(
    facts: VerifierFacts,
    name: str,
    *,
    base_model: str = "",
    license: str | None = None,
    results: Results | None = None,
    bench: Sequence[BenchResults] = (),
    datasets: Sequence[str] = (),
) -> str:
    """The YAML that the Hub reads, without its fences; what was measured is its `model-index`."""
    from huggingface_hub import ModelCardData

    kind = "process-reward-model" if facts.spec.kind == "prm" else "outcome-reward-model"
    relation = ("adapter" if facts.is_adapter else "finetune") if base_model else None
    measured = model_index(facts, results, bench)
    index: dict[str, Any] = {"model_name": name, "eval_results": measured} if measured else {}
    data = ModelCardData(
        library_name="peft" if facts.is_adapter else "transformers",
        pipeline_tag=PIPELINE_TAGS[facts.spec.head],
        base_model=base_model or None,
        license=license,
        datasets=list(datasets) or None,
        tags=["reward-model", kind, "prm-toolkit"],
        base_model_relation=relation,
        **index,
    )
    return str(data.to_yaml()).rstrip()


def _uses(facts: VerifierFacts) -> list[str]:
    data = without_local_paths(facts.metrics.get("data") or {})
    problems = data.get("problem_set") or data.get("dataset_name")
    of = f" of the kind it was trained on ({problems})" if problems else " of the kind it was trained on"
    first = (
        "Choosing and weighting sampled solutions (best-of-n, weighted votes), guiding a search step by step, and "
        "finding the first wrong step, on problems"
        if facts.spec.kind == "prm"
        else "Choosing and weighting finished solutions (best-of-n, weighted votes), on problems"
    )
    return [
        f"{first}{of}.",
        "Not meant for grading people, nor as the only reward of a policy that is trained against it: a policy finds "
        "what the scores overlook.",
    ]


def _unserved(facts: VerifierFacts) -> str:
    """Why there is no snippet for vLLM, where there is none."""
    if is_served(facts):
        return ""
    if facts.is_adapter:
        return "vLLM's pooling runner takes full weights: merge the adapter for it (`prm push --merge_adapter true`)."
    return "vLLM's pooling runner has no task that gives these scores."


def _identity(facts: VerifierFacts, base_model: str, datasets: Sequence[str]) -> list[tuple[str, str]]:
    rows = [("Parameters", f"{facts.num_parameters:,}" + (" in the adapter" if facts.is_adapter else ""))]
    if facts.architecture:
        rows.append(("Architecture", f"`{facts.architecture}`"))
    if base_model or facts.spec.base_model:
        rows.append(("Trained from", f"`{base_model or Path(facts.spec.base_model).name}`"))
    if facts.spec.label_source:
        view = f", {facts.spec.label_view} labels" if facts.spec.label_view else ""
        sources = [LABELERS.get(name, name) for name in facts.spec.label_source.split("+")]
        rows.append(("Labels", f"{' and '.join(sources)}{view}"))
    if datasets:
        rows.append(("Data", ", ".join(f"`{name}`" for name in datasets)))
    return rows


def _scoring(facts: VerifierFacts) -> list[tuple[str, str]]:
    spec = facts.spec
    prompt = spec.step_format.prompt
    reading = {
        "token_classification": "softmax over the two labels (0 wrong, 1 correct), probability of label 1",
        "sequence_classification": "sigmoid of the one logit",
        "reward_tokens": f"softmax over the next-token logits of {spec.reward_tokens}, the second one's share",
        "implicit": f"sigmoid of {spec.beta} times the log-ratio to `{spec.reference_model}` up to the step",
    }[spec.head]
    if spec.temperature != 1:
        reading += f", at a temperature of {spec.temperature:.4g}"
    rows = [
        ("Kind", f"{spec.kind.upper()}, {spec.head.replace('_', ' ')} head"),
        ("Prompt", f"`{prompt.template!r}`" + (" as the user's turn of the chat template" if prompt.chat else "")),
        ("System prompt", f"`{prompt.system!r}`" if prompt.system else "none"),
        ("Step separator", f"`{spec.step_format.step_separator!r}`, after every step"),
        ("Encoding", "prompt, each step and each separator are tokenised by themselves and their ids joined"),
        ("Score position", "last token of " + ("each separator" if spec.kind == "prm" else "the last separator")),
        ("Score", reading),
    ]
    if spec.kind == "prm":
        rows.append(("Score of a solution", f"`{spec.aggregation}` of its step scores"))
    rows.append(
        (
            "A step counts as correct" if spec.kind == "prm" else "Counts as correct",
            f"from {number(spec.threshold)} up",
        )
    )
    rows.append(("Longest input", f"{spec.max_length:,} tokens"))
    return rows


def _limits(facts: VerifierFacts, *, measured: bool) -> list[str]:
    spec = facts.spec
    limits = [
        f"It was set up for inputs of at most {spec.max_length:,} tokens; `prm.Verifier` refuses longer ones.",
        "Scores hold for text encoded as above. Another prompt, separator or way of tokenising gives numbers that "
        "look alike and mean something else.",
        "Nothing in this card was measured on other kinds of problems than the ones it names.",
    ]
    if spec.label_source == "monte_carlo":
        limits.append(
            "Its labels are Monte Carlo estimates: they say whether the sampling model could still finish from a "
            "step, not whether a person would call the step right."
        )
    if (facts.metrics.get("data") or {}).get("shuffled_labels"):
        limits.append("Its labels were shuffled before training: it is a control, there to be beaten.")
    if not measured:
        limits.append("Nothing is known of its worth under search.")
    return limits


def _versions() -> list[tuple[str, str]]:
    found = []
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return found
