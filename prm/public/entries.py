"""The published verifiers, one entry each.

A new one is an entry here and a case in `tests/public/test_entries.py`, where its rule is written a second time, from
the model card, and compared on a tiny random checkpoint. docs/public-verifiers.md shows both in ten lines.
"""

from __future__ import annotations

from prm.public.entry import PublicFormat
from prm.step_format import PromptFormat, StepFormat

_BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
_EXTRA = "<extra_0>"
_PROBLEM = "{problem}"

PUBLIC_FORMATS: tuple[PublicFormat, ...] = (
    PublicFormat(
        name="qwen2.5-math-prm",
        checkpoints=("Qwen/Qwen2.5-Math-PRM-7B", "Qwen/Qwen2.5-Math-PRM-72B", "Qwen/Qwen2.5-Math-7B-PRM800K"),
        kind="prm",
        head="token_classification",
        step_format=StepFormat(PromptFormat(_PROBLEM, chat=True, system=_BOXED), _EXTRA, split_on="\n\n"),
        rule="chat with the boxed-answer system prompt; <extra_0> after each step; there, softmax of two logits",
        source="https://huggingface.co/Qwen/Qwen2.5-Math-PRM-7B (model card), arXiv 2501.07301",
        architectures=("Qwen2ForProcessRewardModel",),
        needs_tokens=(_EXTRA,),
        layers="two_layers",
    ),
    PublicFormat(
        name="reasonflux-prm",
        checkpoints=("Gen-Verse/ReasonFlux-PRM-7B",),
        kind="prm",
        head="token_classification",
        step_format=StepFormat(PromptFormat(_PROBLEM, chat=True), _EXTRA, split_on="\n\n"),
        rule="as Qwen2.5-Math-PRM, without a system prompt",
        source="https://github.com/Gen-Verse/ReasonFlux (ReasonFlux_PRM), arXiv 2506.18896",
        architectures=("Qwen2ForProcessRewardModel",),
        needs_tokens=(_EXTRA,),
        layers="two_layers",
    ),
    PublicFormat(
        name="math-shepherd",
        checkpoints=("peiyi9979/math-shepherd-mistral-7b-prm",),
        kind="prm",
        head="reward_tokens",
        reward_tokens=("▁-", "▁+"),
        step_format=StepFormat(
            PromptFormat(_PROBLEM), " ки", before_first=" ", between="\n", split_on="\n", whole_text=True
        ),
        rule="question, space, steps each ending with ' ки' in one text; at the token ки (12902), softmax of the "
        "next-token logits of ids 648 '+' and 387 '-'",
        source="https://huggingface.co/peiyi9979/math-shepherd-mistral-7b-prm (model card), arXiv 2312.08935",
        architectures=("MistralForCausalLM",),
        needs_tokens=("▁ки", "▁+", "▁-"),
    ),
    PublicFormat(
        name="rlhflow-prm",
        checkpoints=("RLHFlow/Llama3.1-8B-PRM-Mistral-Data", "RLHFlow/Llama3.1-8B-PRM-Deepseek-Data"),
        kind="prm",
        head="reward_tokens",
        reward_tokens=("-", "+"),
        step_format=StepFormat(
            PromptFormat(_PROBLEM, chat=True), "", before_first=" ", split_on="\n\n", turn_answer="+"
        ),
        rule="question and first step, then each step, as turns of the user's that the assistant answers with '+'; "
        "one position before each '+', softmax of the next-token logits of '+' and '-'",
        source="https://github.com/RLHFlow/RLHF-Reward-Modeling (math-rm), arXiv 2405.07863",
        architectures=("LlamaForCausalLM",),
        needs_tokens=("<|eot_id|>",),
    ),
    PublicFormat(
        name="skywork-o1-prm",
        checkpoints=("Skywork/Skywork-o1-Open-PRM-Qwen-2.5-1.5B", "Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B"),
        kind="prm",
        head="token_classification",
        step_format=StepFormat(PromptFormat(_PROBLEM + "\n", bos=True), "\n"),
        rule="BOS, problem, newline, steps each with a newline; there, sigmoid of the value head",
        source="https://github.com/SkyworkAI/skywork-o1-prm-inference, "
        "https://huggingface.co/Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B (model card)",
        architectures=("Qwen2ForPrmModel",),
        num_labels=1,
        key_mapping={r"^v_head\.summary\.": "score.", r"^pretrained_model\.": ""},
    ),
    PublicFormat(
        name="trl-prm",
        checkpoints=("trl-lib/Qwen2-0.5B-Reward-Math-Sheperd", "HuggingFaceH4/Qwen2.5-Math-1.5B-Instruct-PRM-0.2"),
        kind="prm",
        head="token_classification",
        step_format=StepFormat(PromptFormat(_PROBLEM), "\n"),
        rule="problem (BOS where the tokenizer has one), steps each followed by the ids of a newline; at the last of "
        "them, softmax of two logits",
        source="https://github.com/huggingface/trl (PRMTrainer of 1.13), https://huggingface.co/trl-lib",
        architectures=("Qwen2ForTokenClassification",),
    ),
    PublicFormat(
        name="pure-prm",
        checkpoints=("jinachris/PURE-PRM-7B",),
        kind="prm",
        head="token_classification",
        step_format=StepFormat(PromptFormat(_PROBLEM), "\n\n"),
        rule="as trl-prm with a blank line after each step; the published score s is p(correct) - p(wrong), here it "
        "is p(correct), which is (s + 1) / 2",
        source="https://github.com/CJReinforce/PURE, arXiv 2504.15275",
        architectures=("Qwen2ForTokenClassification",),
    ),
    PublicFormat(
        name="scan-prm",
        checkpoints=("DAWN-Lab/SCAN-PRM-Base", "DAWN-Lab/SCAN-PRM-Pro"),
        kind="prm",
        head="token_classification",
        step_format=StepFormat(PromptFormat(_PROBLEM + "\n\n"), "\n\n"),
        rule="a blank line after each step; there, sigmoid of one logit",
        source="arXiv 2509.16548",
        architectures=("Qwen2ForTokenClassification",),
        num_labels=1,
    ),
    PublicFormat(
        name="versa-prm",
        checkpoints=("UW-Madison-Lee-Lab/VersaPRM", "UW-Madison-Lee-Lab/VersaPRM-Base-8B"),
        kind="prm",
        head="reward_tokens",
        reward_tokens=("-", "+"),
        step_format=StepFormat(PromptFormat(_PROBLEM + " \n\n"), " \n\n\n\n", split_on="\n\n"),
        rule="' \\n\\n\\n\\n' after each step; there, softmax of the next-token logits of ids 12 '-' and 10 '+'",
        source="https://github.com/UW-Madison-Lee-Lab/VersaPRM, arXiv 2502.06737",
        architectures=("LlamaForCausalLM",),
    ),
    PublicFormat(
        name="qwen2.5-math-rm",
        checkpoints=("Qwen/Qwen2.5-Math-RM-72B",),
        kind="orm",
        head="sequence_classification",
        step_format=StepFormat(PromptFormat(_PROBLEM, chat=True, system=_BOXED), "\n\n", closing="<|im_end|>\n"),
        rule="the whole chat, closed; at its last token the one logit, here through a sigmoid",
        source="https://huggingface.co/Qwen/Qwen2.5-Math-RM-72B (model card)",
        architectures=("Qwen2ForRewardModel",),
        needs_tokens=("<|im_end|>",),
        num_labels=1,
        layers="two_layers",
    ),
    PublicFormat(
        name="acemath-rm",
        checkpoints=("nvidia/AceMath-7B-RM", "nvidia/AceMath-72B-RM"),
        kind="orm",
        head="sequence_classification",
        step_format=StepFormat(PromptFormat(_PROBLEM, chat=True), "\n\n", closing="<|im_end|>\n"),
        rule="the whole chat, closed; at its last token the one logit, here through a sigmoid",
        source="https://huggingface.co/nvidia/AceMath-7B-RM (model card), arXiv 2412.15084",
        architectures=("Qwen2ForSequenceClassification",),
        needs_tokens=("<|im_end|>",),
        num_labels=1,
    ),
)
