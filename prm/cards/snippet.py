"""Usage snippets of one verifier: written for its scoring spec, run against its directory, shown with their output.

Three are written: one through `prm.Verifier`, one with plain `transformers` (and `peft` for an adapter), one with
vLLM's pooling runner. All that are run must agree, which proves that the published spec describes what plain loaders
compute. Where vLLM is not installed its snippet is shown, and said not to have been run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prm.cards.facts import VerifierFacts
from prm.cards.templates import render
from prm.errors import HubError
from prm.generation.checkpoint import LOAD_ERRORS, first_line
from prm.scoring_spec import ScoringSpec

# All snippets compute in float32; their outputs are rounded to 4 digits.
TOLERANCE = 1e-3
# What vLLM's pooling runner reads: `token_classify` and `classify` are the tasks of these heads. Since 0.21 a model
# has one task, by default that which its architecture's name asks for (`ModelConfig.get_pooling_task`), and the
# snippet names it; `LLM.encode(pooling_task=...)` is the call since `LLM.reward` was deprecated
# (vllm-project/vllm #37861 and #40688; the documentation of 0.26 says the same).
SERVED_HEADS = ("token_classification", "sequence_classification")
NOT_RUN = "Not run when this was published: vLLM was not installed there."

# Runs every script in one process, which imports torch once, and writes down what each printed.
_RUNNER = """
import contextlib, io, json, runpy, sys
outputs = []
for script in sys.argv[2:]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        runpy.run_path(script, run_name="__main__")
    outputs.append(printed.getvalue())
with open(sys.argv[1], "w", encoding="utf-8") as stream:
    json.dump(outputs, stream)
"""

_ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}  # an engine in a process of its own would outlive a failure

_AUTO_CLASS = {
    "token_classification": "AutoModelForTokenClassification",
    "sequence_classification": "AutoModelForSequenceClassification",
    "reward_tokens": "AutoModelForCausalLM",
    "implicit": "AutoModelForCausalLM",
}


@dataclass(frozen=True)
class Snippet:
    """A usage snippet as the card shows it, and what it printed when it was run; of one that was not run `note` says
    why, and there is no output."""

    title: str
    code: str
    output: str = ""
    note: str = ""


def run_snippets(
    facts: VerifierFacts, repo_id: str, problem: str, steps: Sequence[str], *, timeout: float
) -> list[Snippet]:
    """Write the snippets, run them against the local directory, and return them as they read on the Hub.

    Raises:
        HubError: a snippet failed or took longer than `timeout` seconds, or two of them disagree.
    """
    found = _prompt_facts(facts, problem)
    local = _write(facts, str(facts.directory.resolve()), problem, steps, found)
    published = _write(facts, repo_id, problem, steps, found)
    names = [name for name in local if name != "vllm"]
    outputs = dict(zip(names, execute([local[name] for name in names], timeout=timeout), strict=True))
    if "vllm" in local and find_spec("vllm") is not None:
        # In a process of its own, for it may start others; it logs before it prints.
        outputs["vllm"] = execute([local["vllm"]], timeout=timeout)[0].splitlines()[-1]
    _check_agreement(outputs, facts)
    return [
        Snippet(_title(name, facts), code, outputs.get(name, ""), "" if name in outputs else NOT_RUN)
        for name, code in published.items()
    ]


def _title(name: str, facts: VerifierFacts) -> str:
    plain = "transformers and peft" if facts.is_adapter else "transformers"
    return {"prm": "With prm-toolkit", "transformers": f"With plain {plain}", "vllm": "With vLLM"}[name]


def execute(scripts: Sequence[str], *, timeout: float) -> list[str]:
    """Run Python scripts, one after the other in one fresh process and an empty folder; returns what each printed.

    Raises:
        HubError: one of them failed, or they took longer than `timeout` seconds.
    """
    with tempfile.TemporaryDirectory(prefix="prm-push-") as folder:
        paths = [Path(folder, f"usage_{index}.py") for index in range(len(scripts))]
        for path, script in zip(paths, scripts, strict=True):
            path.write_text(script, encoding="utf-8")
        printed = Path(folder, "printed.json")
        command = [sys.executable, "-c", _RUNNER, str(printed), *map(str, paths)]
        try:
            done = subprocess.run(
                command, cwd=folder, env=_ENVIRONMENT | os.environ, capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise HubError(
                f"nothing was pushed: the usage snippet did not finish within {timeout:g} s; raise snippet_timeout"
            ) from None
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            raise HubError(
                f"nothing was pushed: the usage snippet failed on this verifier: {reason}. Mend the directory, "
                "or give example_problem and example_steps that suit it"
            )
        return [str(output).rstrip("\n") for output in json.loads(printed.read_text(encoding="utf-8"))]


def _check_agreement(outputs: Mapping[str, str], facts: VerifierFacts) -> None:
    ours, *others = ((name, json.loads(output)) for name, output in outputs.items())
    for name, scores in others:
        if len(ours[1]) != len(scores) or not all(
            abs(a - b) <= TOLERANCE for a, b in zip(ours[1], scores, strict=False)
        ):
            raise HubError(
                f"nothing was pushed: {facts.directory} scores {ours[1]} through its scoring spec and {scores} with "
                f"plain {name}. The spec does not describe these weights; save both again with `prm train`"
            )


def _write(
    facts: VerifierFacts, location: str, problem: str, steps: Sequence[str], prompt_facts: dict[str, Any]
) -> dict[str, str]:
    """The snippets as Python source by name, ours first; `location` is a directory or a repository's name."""
    spec = facts.spec
    common = {"location": literal(location), "problem": literal(problem), "steps": literal(list(steps))}
    common["install"] = install_hint()
    auto_class = _AUTO_CLASS[spec.head]
    plain: dict[str, Any] = {
        **common,
        "is_adapter": facts.is_adapter,
        "auto_class": auto_class.replace("AutoModel", "AutoPeftModel") if facts.is_adapter else auto_class,
        "arguments": _label_argument(spec) if facts.is_adapter else "",
        "head": spec.head,
        "prompt": spec.step_format.prompt,
        "system": literal(spec.step_format.prompt.system),
        "template": literal(spec.step_format.prompt.template),
        "separator": literal(spec.step_format.step_separator),
        "reward_tokens": literal(list(spec.reward_tokens or ())),
        "temperature": spec.temperature,
        "reference": literal(spec.reference_model or ""),
        "beta": spec.beta,
        "max_length": spec.max_length,
        **prompt_facts,
    }
    snippets = {"prm": render("usage_prm.py.j2", common)}
    if is_plain(spec):
        snippets["transformers"] = render("usage_transformers.py.j2", plain)
        if is_served(facts):
            snippets["vllm"] = render("usage_vllm.py.j2", plain)
    return snippets


def install_hint() -> str:
    """How a reader gets this package: from the repository that its metadata name, else from a clone. Never by a name
    from an index, where anyone could register it."""
    try:
        links = metadata("prm-toolkit").get_all("Project-URL") or []
    except PackageNotFoundError:  # run from a checkout that is not installed
        links = []
    for link in links:
        name, _, url = link.partition(", ")
        if name.lower() in ("repository", "source", "source code", "code") and url.startswith("https://"):
            return f"pip install git+{url}"
    return "prm-toolkit: `pip install -e .` in a clone of its repository"


def is_plain(spec: ScoringSpec) -> bool:
    """Whether a few lines of plain code can write this encoding: prompt, steps and separators, nothing around them.
    What goes on from another project's verifier may have its chat turns or whole texts."""
    around = spec.step_format
    return not any((around.before_first, around.between, around.closing, around.turn_answer, around.whole_text))


def is_served(facts: VerifierFacts) -> bool:
    """Whether vLLM's pooling runner gives this verifier's scores: full weights, and a classification head whose
    temperature is in its weights."""
    return not facts.is_adapter and facts.spec.head in SERVED_HEADS and facts.spec.temperature == 1


def _label_argument(spec: ScoringSpec) -> str:
    """An adapter's base has no head of its own, so the number of labels must be said where it is loaded."""
    if spec.head in ("reward_tokens", "implicit"):
        return ""
    return f", num_labels={2 if spec.kind == 'prm' else 1}"


def _tokenizer(facts: VerifierFacts) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(facts.directory)
    except LOAD_ERRORS as error:
        raise HubError(
            f"{facts.directory}: its tokenizer cannot be loaded ({first_line(error)}). "
            "Save the tokenizer beside the weights with `save_pretrained`"
        ) from error


def _prompt_facts(facts: VerifierFacts, problem: str) -> dict[str, Any]:
    """Whether the step format puts a BOS token before this tokenizer's prompts, and what stops the clock that its
    chat template reads (empty for one that reads none)."""
    from prm.step_format import encode_plain, stopped_clock

    tokenizer, prompt = _tokenizer(facts), facts.spec.step_format.prompt
    adds_bos = prompt.ids(problem, tokenizer) != encode_plain(tokenizer, prompt.text(problem, tokenizer))
    clock = stopped_clock(tokenizer.get_chat_template()) if prompt.chat else ""
    return {"adds_bos": adds_bos, "clock": clock and literal(clock)}


def literal(value: str | list[str]) -> str:
    """A Python literal with double quotes, a list one item a line where it is long."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    items = [json.dumps(item, ensure_ascii=False) for item in value]
    line = f"[{', '.join(items)}]"
    return line if len(line) <= 90 else "[\n" + "".join(f"    {item},\n" for item in items) + "]"
