"""Usage snippets do what `prm.Verifier` does, for every kind of verifier, and a failing one stops the push."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prm import Verifier
from prm.cards.facts import read_facts
from prm.cards.snippet import NOT_RUN, execute, literal, run_snippets
from prm.errors import HubError
from prm.step_format import PromptFormat, StepFormat

TITLES = ("With prm-toolkit", "With plain transformers")
PROBLEM, STEPS = 'say "7+5"', ["7+5=12\\", "A: 12"]
CHAT = (
    "{{ strftime_now('%d %B') }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<go>{% endif %}"
)


def run_here(scripts: list[str], timeout: float, vllm: Any = None) -> list[str]:
    """Like `execute`, in this process, where torch is loaded already; with a module in the place of vLLM."""
    outputs = []
    for script in scripts:
        with contextlib.redirect_stdout(io.StringIO()) as printed, pytest.MonkeyPatch.context() as patch:
            if vllm is not None:
                patch.setitem(sys.modules, "vllm", vllm)
            exec(compile(script, "usage.py", "exec"), {"__name__": "__main__"})
        outputs.append(printed.getvalue().rstrip("\n"))
    return outputs


class PoolingStub:
    """`vllm.LLM(runner="pooling")` as its documentation describes it, computed by transformers: probabilities of all
    tokens for `token_classify`, of the sequence for `classify`."""

    def __init__(
        self, model: str, *, runner: str, dtype: str, max_model_len: int, enable_prefix_caching: bool
    ) -> None:
        import transformers

        assert (runner, dtype, enable_prefix_caching) == ("pooling", "float32", False) and max_model_len == 2048
        architecture = json.loads(Path(model, "config.json").read_text())["architectures"][0]
        self.model = getattr(transformers, architecture).from_pretrained(model).eval()

    def logits(self, prompt: dict[str, list[int]]) -> Any:
        import torch

        with torch.no_grad():
            return self.model(input_ids=torch.tensor([prompt["prompt_token_ids"]])).logits[0]

    def encode(self, prompt: dict[str, list[int]], *, pooling_task: str, use_tqdm: bool) -> Any:
        assert pooling_task == "token_classify"
        return [SimpleNamespace(outputs=SimpleNamespace(data=self.logits(prompt).softmax(-1)))]

    def classify(self, prompt: dict[str, list[int]], *, use_tqdm: bool) -> Any:
        return [SimpleNamespace(outputs=SimpleNamespace(probs=self.logits(prompt).sigmoid().tolist()))]


pooling_stub = SimpleNamespace(LLM=PoolingStub)


def with_bos(directory: Path) -> None:
    """Make the tokenizer of a directory begin its texts with a BOS token."""
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(directory)
    tokenizer.bos_token = "<eos>"
    backend = tokenizer.backend_tokenizer
    backend.post_processor = TemplateProcessing(single="<eos> $A", special_tokens=[("<eos>", tokenizer.eos_token_id)])
    tokenizer.save_pretrained(directory)


def with_chat_template(directory: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(directory)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(directory)


@pytest.mark.parametrize(
    ("kind", "head", "step_format", "prepare"),
    [
        ("prm", "token_classification", StepFormat(PromptFormat("check {problem}:\n"), " ки\n"), None),
        ("orm", "sequence_classification", StepFormat(), None),
        ("prm", "reward_tokens", StepFormat(), None),
        ("prm", "implicit", StepFormat(), None),
        ("prm", "token_classification", StepFormat(), with_bos),
        ("prm", "token_classification", StepFormat(PromptFormat("{problem}", chat=True)), with_chat_template),
        ("prm", "token_classification", StepFormat(PromptFormat("{problem}", True, 'be "brief"')), with_chat_template),
    ],
    ids=["prm", "orm", "reward_tokens", "implicit", "bos", "chat", "chat_with_system"],
)
def test_all_snippets_print_the_verifiers_scores(
    tiny_verifier_dir: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    head: str,
    step_format: StepFormat,
    prepare: Callable[[Path], None] | None,
) -> None:
    more = {"temperature": 1.7} if head == "reward_tokens" else {}
    directory = tiny_verifier_dir(kind, head, step_format=step_format, **more)
    if prepare:
        prepare(directory)
    monkeypatch.setattr("prm.cards.snippet.execute", lambda scripts, timeout: run_here(scripts, timeout))
    snippets = run_snippets(read_facts(directory), "user/name", PROBLEM, STEPS, timeout=60)
    expected = [round(score, 4) for score in Verifier.from_pretrained(directory, device="cpu").score(PROBLEM, STEPS)]
    served = head.endswith("classification")
    assert [snippet.title for snippet in snippets] == [*TITLES, "With vLLM"][: 3 if served else 2]
    for snippet in snippets[:2]:
        assert json.loads(snippet.output) == pytest.approx(expected, abs=1e-4)
    for snippet in snippets:
        assert '"user/name"' in snippet.code and str(directory) not in snippet.code
    if served:  # against what the pooling runner's documentation says it returns
        local = snippets[2].code.replace('"user/name"', literal(str(directory)))
        assert run_here([local], 60, vllm=pooling_stub)[0] == snippets[0].output


def test_a_spec_that_does_not_describe_the_weights_is_refused(
    tiny_verifier_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = read_facts(tiny_verifier_dir())
    for outputs in (["[0.9, 0.5]", "[0.9, 0.4]"], ["[0.9]", "[0.9, 0.4]"], ["[NaN]", "[NaN]"]):
        monkeypatch.setattr("prm.cards.snippet.execute", lambda scripts, timeout, printed=outputs: printed)
        with pytest.raises(HubError, match="does not describe these weights"):
            run_snippets(facts, "user/name", PROBLEM, STEPS, timeout=60)


def test_the_snippet_for_vllm_gives_the_same_scores_in_vllm(tiny_verifier_dir: Callable[..., Path]) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed: its snippet is shown in the card without having run")
    snippets = run_snippets(read_facts(tiny_verifier_dir()), "user/name", PROBLEM, STEPS, timeout=600)
    ours, served = (json.loads(snippets[index].output) for index in (0, 2))
    assert served == pytest.approx(ours, abs=1e-4)


def test_a_snippet_that_was_not_run_says_so(
    tiny_verifier_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prm.cards.snippet.execute", lambda scripts, timeout: ["[0.5]"] * len(scripts))
    monkeypatch.setattr("prm.cards.snippet.find_spec", lambda name: None)
    facts = read_facts(tiny_verifier_dir())
    *run, served = run_snippets(facts, "user/name", PROBLEM, STEPS, timeout=60)
    assert (served.output, served.note) == ("", NOT_RUN) and not any(snippet.note for snippet in run)
    monkeypatch.setattr("prm.cards.snippet.find_spec", lambda name: True)
    assert run_snippets(facts, "user/name", PROBLEM, STEPS, timeout=60)[2].output == "[0.5]"


@pytest.mark.parametrize("around", [{"between": "\n"}, {"closing": "<eos>"}, {"whole_text": True}])
def test_an_encoding_that_is_more_than_its_parts_has_our_snippet_alone(
    tiny_verifier_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, around: dict[str, Any]
) -> None:
    monkeypatch.setattr("prm.cards.snippet.execute", lambda scripts, timeout: ["[0.5]"] * len(scripts))
    facts = read_facts(tiny_verifier_dir(step_format=StepFormat(**around)))
    (ours,) = run_snippets(facts, "user/name", PROBLEM, STEPS, timeout=60)
    assert ours.title == "With prm-toolkit"


def test_scripts_run_in_a_fresh_process_and_an_empty_folder() -> None:
    scripts = ["import os; print(os.listdir())", "import sys; print('torch' in sys.modules, __name__)"]
    first, second = execute(scripts, timeout=60)
    assert first == "['usage_0.py', 'usage_1.py']"
    assert second == "False __main__"


def test_a_script_that_fails_stops_the_push_with_its_reason() -> None:
    with pytest.raises(HubError, match=r"nothing was pushed.*ValueError: no such step"):
        execute(["print(1)", "raise ValueError('no such step')"], timeout=60)
    with pytest.raises(HubError, match=r"did not finish within 0\.5 s; raise snippet_timeout"):
        execute(["import time; time.sleep(30)"], timeout=0.5)


@pytest.mark.parametrize("value", ["a\nb", 'q"q', "\\", "é\u2028x", ["short", "list"], ["long " * 20, "ки\t"]])
def test_literals_are_python(value: str | list[str]) -> None:
    assert eval(literal(value)) == value


def test_a_broken_tokenizer_is_said_plainly(tiny_verifier_dir: Callable[..., Path]) -> None:
    directory = tiny_verifier_dir()
    (directory / "tokenizer.json").write_text("{}")
    with pytest.raises(HubError, match="its tokenizer cannot be loaded"):
        run_snippets(read_facts(directory), "user/name", PROBLEM, STEPS, timeout=60)
    (directory / "tokenizer.json").unlink()
    with pytest.raises(HubError, match="has no tokenizer"):
        read_facts(directory)


def test_a_reader_is_told_to_install_from_the_repository_and_by_no_name_of_an_index(
    tiny_verifier_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from email.message import Message

    monkeypatch.setattr("prm.cards.snippet.execute", lambda scripts, timeout: ["[0.5]"] * len(scripts))
    links = Message()
    monkeypatch.setattr("prm.cards.snippet.metadata", lambda name: links)
    facts = read_facts(tiny_verifier_dir())

    def shown() -> str:
        return run_snippets(facts, "user/name", PROBLEM, STEPS, timeout=60)[0].code.splitlines()[0]

    clone = "from prm import Verifier  # prm-toolkit: `pip install -e .` in a clone of its repository"
    assert shown() == clone
    links["Project-URL"] = "Documentation, https://host/docs"
    assert shown() == clone
    links["Project-URL"] = "Repository, https://host/user/prm-toolkit"
    assert shown() == "from prm import Verifier  # pip install git+https://host/user/prm-toolkit"
