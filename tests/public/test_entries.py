"""Published verifiers score as their authors say: each rule is written here a second time, from its model card, and
compared on a tiny random checkpoint of the same architecture, weight names and special tokens.

The references run whole texts through the backbone, one at a time, with nothing of ours but the text.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from prm.errors import ConfigError, FormatError, ModelError
from prm.public import PUBLIC_FORMATS
from prm.verifier import Verifier
from tests.public.conftest import CHATML, LLAMA3

PROBLEM, STEPS = "What is 7+5-3?", ["7+5=12", "12-3=9, or 9.0", "A: 9"]
BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
CHECKED = "Please reason step by step, and check your final answer within \\boxed{}."
HIDDEN = 16


def linear(out: int, name: str, seed: int = 1, width: int = HIDDEN, bias: bool = True) -> dict[str, torch.Tensor]:
    """Random weights of one layer under its published name."""
    torch.manual_seed(seed)
    layer = nn.Linear(width, out)
    found = {f"{name}.weight": layer.weight.detach().clone(), f"{name}.bias": layer.bias.detach().clone()}
    return found if bias else {f"{name}.weight": found[f"{name}.weight"]}


def two_layers(out: int) -> dict[str, torch.Tensor]:
    return linear(HIDDEN, "score.0", 1) | linear(out, "score.2", 2)


def hidden_states(path: Path, ids: list[int], family: str = "Qwen2", prefix: str = "model.") -> torch.Tensor:
    """(T, D): the backbone's last hidden states, from the weights as they are on disk."""
    import transformers
    from safetensors.torch import load_file

    config = getattr(transformers, f"{family}Config").from_pretrained(path)
    model = getattr(transformers, f"{family}Model")(config)
    weights = load_file(path / "model.safetensors")
    own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    model.load_state_dict(own, strict=True)
    with torch.no_grad():
        return model.eval()(torch.tensor([ids])).last_hidden_state[0]


def applied(path: Path, hidden: torch.Tensor, *layers: str) -> torch.Tensor:
    """Linear layers of the checkpoint, with a ReLU between two."""
    from safetensors.torch import load_file

    weights = load_file(path / "model.safetensors")
    for number, name in enumerate(layers):
        hidden = (hidden.relu() if number else hidden) @ weights[f"{name}.weight"].T
        hidden = hidden + weights.get(f"{name}.bias", torch.zeros(()))
    return hidden


def scores_of(path: Path, format: str | None = None, steps: Sequence[str] = STEPS) -> list[float]:
    """Ours: alone, in a batch beside a shorter one, and read step by step while a search would grow the solution."""
    verifier = Verifier.from_pretrained(path, format=format, device="cpu")
    alone = verifier.score(PROBLEM, steps)
    beside, _ = verifier.score_batch([PROBLEM, PROBLEM], [steps, steps[:1]])
    assert beside == pytest.approx(alone, abs=1e-5)
    session = verifier.session()
    if verifier.spec.kind == "prm":
        grown: Any = [session.score([(PROBLEM, tuple(steps[: n + 1]))])[0] for n in range(len(steps))]
        assert [found.scores[-1] for found in grown] == pytest.approx(alone, abs=1e-4)
    else:
        whole: Any = session.score([(PROBLEM, tuple(steps[:2])), (PROBLEM, tuple(steps))])
        assert whole[1].scores == pytest.approx(alone, abs=1e-4)
        assert whole[0].scores == pytest.approx(verifier.score(PROBLEM, steps[:2]), abs=1e-4)
    return alone


@pytest.mark.parametrize("system", [BOXED, None], ids=["qwen2.5-math-prm", "reasonflux-prm"])
def test_qwen_prm(chat_tokenizer: Callable[[str], Any], checkpoint: Callable[..., Path], system: str | None) -> None:
    tokenizer = chat_tokenizer(CHATML)
    name = "Qwen2.5-Math-PRM-7B" if system else "ReasonFlux-PRM-7B"
    path = checkpoint(tokenizer, "Qwen2", "Qwen2ForProcessRewardModel", two_layers(2), name=name)
    turns = [{"role": "system", "content": system}] if system else []
    turns += [{"role": "user", "content": PROBLEM}]
    turns += [{"role": "assistant", "content": "<extra_0>".join(STEPS) + "<extra_0>"}]
    ids = tokenizer.encode(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)
    (extra,) = tokenizer.encode("<extra_0>", add_special_tokens=False)
    logits = applied(path, hidden_states(path, ids), "score.0", "score.2")
    expected = logits.softmax(-1)[[at for at, token in enumerate(ids) if token == extra], 1]
    assert scores_of(path) == pytest.approx(expected.tolist(), abs=1e-5)


def test_math_shepherd(sentencepiece_tokenizer: Any, checkpoint: Callable[..., Path]) -> None:
    tokenizer = sentencepiece_tokenizer
    path = checkpoint(tokenizer, "Mistral", "MistralForCausalLM", {}, language=True)
    text = f"{PROBLEM} " + "\n".join(f"{step} ки" for step in STEPS)
    ids = tokenizer.encode(text)
    tag = tokenizer.encode("ки")[-1]
    plus, minus = tokenizer.encode("+ -")[-2:]
    assert [tokenizer.convert_ids_to_tokens(i) for i in (tag, plus, minus)] == ["▁ки", "▁+", "▁-"]
    logits = applied(path, hidden_states(path, ids, "Mistral"), "lm_head")[:, [plus, minus]]
    expected = logits.softmax(-1)[[at for at, token in enumerate(ids) if token == tag], 0]
    assert len(expected) == len(STEPS)
    assert scores_of(path) == pytest.approx(expected.tolist(), abs=1e-5)


def test_rlhflow(chat_tokenizer: Callable[[str], Any], checkpoint: Callable[..., Path]) -> None:
    tokenizer = chat_tokenizer(LLAMA3)
    path = checkpoint(tokenizer, "Llama", "LlamaForCausalLM", {}, language=True)
    plus, minus = (tokenizer.encode(token)[-1] for token in "+-")
    turns: list[dict[str, str]] = []
    expected = []
    for number, step in enumerate(STEPS):
        turns.append({"role": "user", "content": step if number else f"{PROBLEM} {step}"})
        turns.append({"role": "assistant", "content": "+"})
        ids = tokenizer.encode(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)
        logits = applied(path, hidden_states(path, ids, "Llama"), "lm_head")[-3, [plus, minus]]
        expected.append(logits.softmax(-1)[0].item())
    assert scores_of(path) == pytest.approx(expected, abs=1e-5)


def test_skywork(chat_tokenizer: Callable[[str], Any], checkpoint: Callable[..., Path]) -> None:
    tokenizer = chat_tokenizer(CHATML)
    tokenizer.bos_token = "<|im_start|>"
    path = checkpoint(tokenizer, "Qwen2", "Qwen2ForPrmModel", linear(1, "v_head.summary"))
    ids = tokenizer.encode(tokenizer.bos_token + PROBLEM + "\n")
    (newline,) = tokenizer.encode("\n")
    ends = []
    for step in STEPS:
        ids += [*tokenizer.encode(step), newline]
        ends.append(len(ids) - 1)
    expected = applied(path, hidden_states(path, ids), "v_head.summary").sigmoid()[ends, 0]
    assert scores_of(path) == pytest.approx(expected.tolist(), abs=1e-5)


def with_token(tokenizer: Any, text: str) -> Any:
    """A tokenizer with a separator for a token of its own, as Qwen's and Llama's have it."""
    found = copy.deepcopy(tokenizer)
    found.add_tokens([text])
    return found


@pytest.mark.parametrize(("name", "separator"), [("trl-prm", "\n"), ("h4-prm", "\n\n")])
def test_token_classification_of_trl(
    tokenizer: Any, checkpoint: Callable[..., Path], name: str, separator: str
) -> None:
    path = checkpoint(tokenizer, "Qwen2", "Qwen2ForTokenClassification", linear(2, "score"))
    ids = tokenizer.encode(PROBLEM, add_special_tokens=False)
    ends = []
    for step in STEPS:
        ids += tokenizer.encode(step, add_special_tokens=False) + tokenizer.encode(separator, add_special_tokens=False)
        ends.append(len(ids) - 1)
    expected = applied(path, hidden_states(path, ids), "score").softmax(-1)[ends, 1]
    assert scores_of(path, name) == pytest.approx(expected.tolist(), abs=1e-5)


def test_pure(tokenizer: Any, checkpoint: Callable[..., Path]) -> None:
    """Steps are what blank lines separate, and may have lines; after each, one newline, whose place is counted."""
    path = checkpoint(tokenizer, "Qwen2", "Qwen2ForTokenClassification", linear(2, "score"))
    steps = ["7+5=12\nand so", "12-3=9", "A: 9"]
    (newline,) = tokenizer.encode("\n", add_special_tokens=False)
    ids = tokenizer.encode(PROBLEM, add_special_tokens=False)
    ends = []
    for step in steps:
        ids += [*tokenizer.encode(step, add_special_tokens=False), newline]
        ends.append(len(ids) - 1)
    chances = applied(path, hidden_states(path, ids), "score").softmax(-1)[ends]
    published = chances[:, 1] - chances[:, 0]
    assert scores_of(path, "pure-prm", steps) == pytest.approx(((published + 1) / 2).tolist(), abs=1e-5)
    with pytest.raises(FormatError, match=r"contains the separator '\\n\\n'"):
        Verifier.from_pretrained(path, format="pure-prm", device="cpu").score(PROBLEM, ["a\n\nb"])


def test_scan(tokenizer: Any, checkpoint: Callable[..., Path]) -> None:
    tokenizer = with_token(tokenizer, "\n\n")
    labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    path = checkpoint(tokenizer, "Qwen2", "Qwen2ForTokenClassification", linear(1, "score"), **labels)
    step_token_id = tokenizer.encode("\n\n")[-1]
    ids = tokenizer.encode(PROBLEM + "\n\n", add_special_tokens=False)
    flags = [False] * len(ids)
    for step in STEPS:
        step_tokens = tokenizer.encode(step, add_special_tokens=False)
        ids += [*step_tokens, step_token_id]
        flags += [False] * len(step_tokens) + [True]
    expected = applied(path, hidden_states(path, ids), "score")[:, 0][flags].sigmoid()
    assert scores_of(path) == pytest.approx(expected.tolist(), abs=1e-5)


def test_versa(tokenizer: Any, checkpoint: Callable[..., Path]) -> None:
    """The whole text in one call, the scores where the step tag's id is."""
    tokenizer = with_token(tokenizer, " \n\n\n\n")
    path = checkpoint(tokenizer, "Llama", "LlamaForCausalLM", {}, language=True)
    minus, plus = (tokenizer.encode(token)[-1] for token in "-+")
    (tag,) = tokenizer.encode(" \n\n\n\n")
    ids = tokenizer.encode(f"{PROBLEM} \n\n" + "".join(f"{step} \n\n\n\n" for step in STEPS))
    ends = [at for at, token in enumerate(ids) if token == tag]
    logits = applied(path, hidden_states(path, ids, "Llama"), "lm_head")[ends][:, [minus, plus]]
    assert scores_of(path, "versa-prm") == pytest.approx(logits.softmax(-1)[:, 1].tolist(), abs=1e-5)


@pytest.mark.parametrize("name", ["qwen2.5-math-rm", "acemath-rm"])
def test_outcome_models(chat_tokenizer: Callable[[str], Any], checkpoint: Callable[..., Path], name: str) -> None:
    tokenizer, qwen = chat_tokenizer(CHATML), name == "qwen2.5-math-rm"
    path = checkpoint(
        *(tokenizer, "Qwen2", "Qwen2ForRewardModel" if qwen else "Qwen2ForSequenceClassification"),
        two_layers(1) if qwen else linear(1, "score", bias=False),
        id2label={"0": "LABEL_0"},
        label2id={"LABEL_0": 0},
    )
    turns = [{"role": "system", "content": BOXED if qwen else CHECKED}]
    turns += [{"role": "user", "content": PROBLEM}, {"role": "assistant", "content": "\n\n".join(STEPS)}]
    ids = tokenizer.encode(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)
    layers = ("score.0", "score.2") if qwen else ("score",)
    expected = applied(path, hidden_states(path, ids), *layers).sigmoid()[-1]
    assert scores_of(path) == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_copy_is_known_by_its_config_and_an_ambiguous_one_asks(
    chat_tokenizer: Callable[[str], Any], tokenizer: Any, checkpoint: Callable[..., Path]
) -> None:
    tagged = checkpoint(chat_tokenizer(CHATML), "Qwen2", "Qwen2ForProcessRewardModel", two_layers(2), name="mine")
    with pytest.raises(ModelError, match=r"may be read as qwen2.5-math-prm, reasonflux-prm; say which with format="):
        Verifier.from_pretrained(tagged, device="cpu")
    assert Verifier.from_pretrained(tagged, format="reasonflux-prm", device="cpu").spec.kind == "prm"
    with pytest.raises(ConfigError, match="unknown format 'qwen-prm'"):
        Verifier.from_pretrained(tagged, format="qwen-prm", device="cpu")
    other = checkpoint(tokenizer, "Mistral", "MistralForCausalLM", {}, language=True, name="other")
    with pytest.raises(ModelError, match=r"none of the published verifiers that are known \(prm formats"):
        Verifier.from_pretrained(other, device="cpu")


def test_a_head_that_is_not_in_the_checkpoint_is_missed(tokenizer: Any, checkpoint: Callable[..., Path]) -> None:
    path = checkpoint(tokenizer, "Qwen2", "Qwen2ForPrmModel", {})
    with pytest.raises(ModelError, match=r"no weights for score\.bias, score\.weight in it, so it is no skywork"):
        Verifier.from_pretrained(path, device="cpu")


def test_every_entry_is_listed_with_its_rule_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    from prm.public.formats import main

    main([])
    printed = capsys.readouterr().out
    for entry in PUBLIC_FORMATS:
        assert entry.name in printed and entry.note in printed and entry.source in printed
        assert entry.read_with_real_tokenizer or "unverified against the real tokenizer" in printed
    assert len({entry.name for entry in PUBLIC_FORMATS}) == len(PUBLIC_FORMATS)
