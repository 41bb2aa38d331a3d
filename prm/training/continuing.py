"""Training on from a verifier: what its scoring spec says of how problems and steps are read holds for the run that
goes on with it, unless the user says otherwise. Weights and adapters are `prm.heads.building`'s."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.heads import HEADS, Head, RewardTokensHead, load_tokenizer
from prm.scoring_spec import SPEC_FILE, ScoringSpec
from prm.step_format import PromptFormat, StepFormat, encode_plain

if TYPE_CHECKING:
    from prm.training.config import VerifierConfig

logger = logging.getLogger(__name__)


def spec_to_go_on_with(name_or_path: str, objective: str) -> ScoringSpec | None:
    """The scoring spec of a checkpoint that has the head of an objective, as a directory; `None` for a base, another
    head or another trainer's verifier, which has no spec.

    Raises:
        DataError: a spec that cannot be read.
    """
    if objective not in HEADS or not (Path(name_or_path) / SPEC_FILE).is_file():
        return None
    spec = ScoringSpec.load(name_or_path)
    return spec if spec.head == HEADS[objective].spec_head else None


def inherited_options(name_or_path: str, objective: str) -> dict[str, Any]:
    """The options of `VerifierConfig` by which a verifier's scores are read, to be the defaults of a run that starts
    from it; empty where it starts from anything else. A format that no option can name is left out
    (`warn_of_differences` says so)."""
    spec = spec_to_go_on_with(name_or_path, objective)
    if spec is None:
        return {}
    options: dict[str, Any] = {"max_length": spec.max_length}
    form, prompt = spec.step_format, spec.step_format.prompt
    nameable = PromptFormat(prompt.template, prompt.chat, prompt.system)
    if form == StepFormat(prompt=nameable, step_separator=form.step_separator or "\n"):
        options |= _of_format(form)
    if spec.reward_tokens is not None and (texts := _texts(name_or_path, spec.reward_tokens)):
        options["reward_tokens"] = texts
    if spec.beta is not None:
        options["implicit_beta"] = spec.beta  # the reference is found by `prm.training.reference`
    return options


def warn_of_differences(name_or_path: str, config: VerifierConfig, head: Head, tokenizer: Any) -> None:
    """Say, in one warning, where a run reads otherwise than the verifier that it starts from."""
    spec = spec_to_go_on_with(name_or_path, config.objective)
    if spec is None or config.process_index:
        return
    there: dict[str, Any] = {**_of_format(spec.step_format), "max_length": spec.max_length}
    here: dict[str, Any] = {**_of_format(config.step_format), "max_length": config.max_length}
    if isinstance(head, RewardTokensHead) and spec.reward_tokens is not None:
        there["reward_tokens"] = list(spec.reward_tokens)
        here["reward_tokens"] = tokenizer.convert_ids_to_tokens(list(head.token_ids))
    if spec.beta is not None:
        there["implicit_beta"], here["implicit_beta"] = spec.beta, config.implicit_beta
    differing = [name for name in there | here if there.get(name) != here.get(name)]
    if differing:
        had, has = (", ".join(f"{name}={of.get(name, '')!r}" for name in differing) for of in (there, here))
        logger.warning(
            "%s was trained with %s, and this run goes on with %s: its first scores are not those of the verifier",
            *(name_or_path, had, has),
        )


def _of_format(form: StepFormat) -> dict[str, Any]:
    """The parts of a format, by the names of their options where they have one."""
    parts = {name: value for name, value in vars(form).items() if name != "prompt"}
    prompt = form.prompt
    options = {"prompt_template": prompt.template, "chat": prompt.chat, "system_prompt": prompt.system}
    known = {"step_separator": parts.pop("step_separator")}
    return options | known | {name: value for name, value in {**parts, "bos": prompt.bos}.items() if value}


def _texts(name_or_path: str, tokens: tuple[str, str]) -> list[str]:
    """Reward tokens as texts that encode to them; empty where there are none."""
    tokenizer = load_tokenizer(name_or_path)
    ids = tokenizer.convert_tokens_to_ids(list(tokens))
    texts = [str(tokenizer.convert_tokens_to_string([token])) for token in tokens]
    return texts if all(encode_plain(tokenizer, t) == [i] for t, i in zip(texts, ids, strict=True)) else []
