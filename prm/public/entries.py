"""The published verifiers, one entry each.

A new one is an entry here and a case in `tests/public/test_entries.py`, where its rule is written a second time, from
the model card, and compared on a tiny random checkpoint. docs/public-verifiers.md shows both in ten lines.
"""

from __future__ import annotations

from prm.public.entry import PublicFormat
from prm.step_format import PromptFormat, StepFormat

_BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
_CHECKED = "Please reason step by step, and check your final answer within \\boxed{}."
_EXTRA = "<extra_0>"
_PROBLEM = "{problem}"

PUBLIC_FORMATS: tuple[PublicFormat, ...] = (
    PublicFormat(
        name="qwen2.5-math-prm",
        checkpoints=("Qwen/Qwen2.5-Math-PRM-7B", "Qwen/Qwen2.5-Math-PRM-72B", "Qwen/Qwen2.5-Math-7B-PRM800K"),
        kind="prm",
        head="token_classification",
        step_format=StepFormat(PromptFormat(_PROBLEM, chat=True, system=_BOXED), _EXTRA, split_on="\n\n"),
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
        note="no system turn of its own: the chat template writes its default one",
        source="https://github.com/Gen-Verse/ReasonFlux, ReasonFlux_PRM/README.md and utils/rm_utils.py (read in the "
        "mirror CloudEngineHub/ReasonFlux), arXiv 2506.18896",
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
        token_ids={" ки": 12902, "▁+": 648, "▁-": 387},
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
        source="https://github.com/RLHFlow/RLHF-Reward-Modeling, math-rm/prm_evaluate.py",
        architectures=("LlamaForCausalLM",),
        needs_tokens=("<|eot_id|>",),
    ),
    PublicFormat(
        name="skywork-o1-prm",
        checkpoints=("Skywork/Skywork-o1-Open-PRM-Qwen-2.5-1.5B", "Skywork/Skywork-o1-Open-PRM-Qwen-2.5-7B"),
        kind="prm",
        head="token_classification",
        step_format=StepFormat(PromptFormat(_PROBLEM + "\n", bos=True), "\n"),
        note="a blank line, which their program scores as a step, is none here",
        source="https://github.com/SkyworkAI/skywork-o1-prm-inference, README.md, vllm_add_dummy_model/prm_model.py "
        "(read there), model_utils/io_utils.py and prm_model.py (read in copies that name it)",
        architectures=("Qwen2ForPrmModel",),
        num_labels=1,
        key_mapping={r"^v_head\.summary\.": "score.", r"^pretrained_model\.": ""},
    ),
    PublicFormat(
        name="trl-prm",
        checkpoints=("trl-lib/Qwen2-0.5B-Reward-Math-Sheperd",),
        kind="prm",
        head="token_classification",
        step_format=StepFormat(PromptFormat(_PROBLEM), "\n"),
        source="https://github.com/huggingface/trl, docs/source/prm_trainer.md and PRMTrainer of 1.13",
        architectures=("Qwen2ForTokenClassification",),
    ),
    PublicFormat(
        name="h4-prm",
        checkpoints=(
            "HuggingFaceH4/Qwen2.5-Math-1.5B-Instruct-PRM-0.2",
            "HuggingFaceH4/Qwen2.5-Math-7B-Instruct-PRM-0.2",
        ),
        kind="prm",
        head="token_classification",
        step_format=StepFormat(PromptFormat(_PROBLEM), "\n\n"),
        source="https://github.com/huggingface/search-and-learn, recipes/training/README.md and "
        "Qwen2.5-Math-1.5B-Instruct-PRM/prm_qwen_math_1p5b_instruct.sh (--step_separator)",
        architectures=("Qwen2ForTokenClassification",),
    ),
    PublicFormat(
        name="pure-prm",
        checkpoints=("jinachris/PURE-PRM-7B",),
        kind="prm",
        head="token_classification",
        step_format=StepFormat(PromptFormat(_PROBLEM), "\n", split_on="\n\n"),
        note="steps are what blank lines separate, and keep their own newlines; the published score s is "
        "p(correct) - p(wrong), here it is p(correct), which is (s + 1) / 2",
        source="https://github.com/CJReinforce/PURE, openrlhf/trainer/ppo_utils/experience_maker.py "
        "(prm_step_separator), https://huggingface.co/jinachris/PURE-PRM-7B (model card), arXiv 2504.15275",
        architectures=("Qwen2ForTokenClassification",),
    ),
    PublicFormat(
        name="scan-prm",
        checkpoints=(),
        kind="prm",
        head="token_classification",
        step_format=StepFormat(PromptFormat(_PROBLEM + "\n\n"), "\n\n"),
        source="https://github.com/yyDing1/SCAN-PRM, src/eval_utils/gen_utils.py and src/train_prm/prm_dataset.py, "
        "arXiv 2509.16548; no name of its weights on the Hub was found",
        architectures=("Qwen2ForTokenClassification",),
        num_labels=1,
    ),
    PublicFormat(
        name="versa-prm",
        checkpoints=tuple(
            f"UW-Madison-Lee-Lab/{name}" for name in ("VersaPRM", "VersaPRM-Base-8B", "VersaPRM-Aug", "Llama-PRM800K")
        ),
        kind="prm",
        head="reward_tokens",
        reward_tokens=("-", "+"),
        step_format=StepFormat(PromptFormat(_PROBLEM + " \n\n"), " \n\n\n\n", split_on="\n\n"),
        token_ids={" \n\n\n\n": 23535, "-": 12, "+": 10},
        source="https://github.com/UW-Madison-Lee-Lab/VersaPRM, README.md (checkpoints); its first home "
        "https://github.com/mtzig/MultiDomainPRM, evaluation/prm_models/prm_llama.py, "
        "evaluation/get_rewards_reasoning_step.py and qwen_train/prm_datasets.py, arXiv 2502.06737",
        architectures=("LlamaForCausalLM",),
    ),
    PublicFormat(
        name="qwen2.5-math-rm",
        checkpoints=("Qwen/Qwen2.5-Math-RM-72B",),
        kind="orm",
        head="sequence_classification",
        step_format=StepFormat(PromptFormat(_PROBLEM, chat=True, system=_BOXED), "\n\n", closing="<|im_end|>\n"),
        note="the published score is the logit itself, in the same order",
        source="https://github.com/QwenLM/Qwen2.5-Math, README.md; the head: "
        "https://github.com/vllm-project/vllm, vllm/model_executor/models/qwen2_rm.py",
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
        step_format=StepFormat(PromptFormat(_PROBLEM, chat=True, system=_CHECKED), "\n\n", closing="<|im_end|>\n"),
        note="the published score is the logit itself, in the same order",
        source="https://huggingface.co/nvidia/AceMath-7B-RM (model card; its example was read in programs that copy "
        "it), arXiv 2412.15084",
        architectures=("Qwen2ForSequenceClassification",),
        needs_tokens=("<|im_end|>",),
        num_labels=1,
    ),
)
