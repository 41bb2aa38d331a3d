"""Scoring and drawing under a real memory limit: in a process whose address space the kernel bounds.

Run as a program, this file is that process: it answers with the models of a directory, and prints what it found.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

WIDTH = 8192  # of the models' feed-forward layers, which is what takes memory in a pass
ITEMS = 64
STEPS = 12
NEW_TOKENS = 4

Item = tuple[str, tuple[str, ...]]


def items_of() -> list[Item]:
    """Solutions that have nothing in common, of about 90 tokens each in the arithmetic world's tokenizer."""
    return [(f"{i}+{STEPS}", tuple(f"{i * 7919 + step:06}" for step in range(STEPS))) for i in range(ITEMS)]


def scores_of(directory: str) -> Callable[[Sequence[Item]], list[Any]]:
    from prm import Verifier

    verifier = Verifier.from_pretrained(directory, device="cpu", batch_tokens=1 << 20)
    return lambda items: [scored.scores for scored in verifier.score_solutions(items)]


def session_scores_of(directory: str) -> Callable[[Sequence[Item]], list[Any]]:
    from prm import Verifier

    verifier = Verifier.from_pretrained(directory, device="cpu", batch_tokens=1 << 20)

    def answer(items: Sequence[Item]) -> list[Any]:
        session = verifier.session()
        session.score([(problem, steps[:1]) for problem, steps in items])
        return [scored.scores for scored in session.score(items) if scored]

    return answer


def samples_of(directory: str) -> Callable[[Sequence[Item]], list[Any]]:
    from prm.generation.base import GenerationRequest, SamplingParams
    from prm.generation.hf import HFGenerator
    from prm.step_format import PromptFormat

    generator = HFGenerator.from_pretrained(directory, PromptFormat(), device="cpu", batch_tokens=1 << 20)

    def answer(items: Sequence[Item]) -> list[Any]:
        prompts = [generator.prompt_ids(problem, "\n".join(steps)) for problem, steps in items]
        requests = [GenerationRequest(tuple(ids), seed) for seed, ids in enumerate(prompts)]
        drawn = generator.carry().generate(requests, SamplingParams(max_new_tokens=NEW_TOKENS))
        return [answer.token_ids for answer in drawn]

    return answer


TASKS = {"scores": scores_of, "session": session_scores_of, "samples": samples_of}


def limit_memory(room: int) -> None:
    """From now on this process may take `room` bytes more than it has."""
    import resource

    has = int(re.findall(r"VmSize:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (has + room, has + room))


def main(directory: str, room: int) -> None:
    """Every task's answer under the limit, after one item has set up whatever a first call does."""
    answers, items = {name: task(directory) for name, task in TASKS.items()}, items_of()
    for answer in answers.values():
        answer(items[:1])
    limit_memory(room)
    found = {}
    for name, answer in answers.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found[name] = {"answer": answer(items), "warnings": [str(warning.message) for warning in caught]}
    print(json.dumps(found))


@pytest.fixture
def wide_model_dir(tiny_verifier_dir: Callable[..., Path]) -> Path:
    """A model that is a generator and a verifier, and takes 32 KiB for a token in a single tensor."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    directory = tiny_verifier_dir(head="reward_tokens")
    config = Qwen2Config.from_pretrained(directory, intermediate_size=WIDTH, initializer_range=0.1)
    Qwen2ForCausalLM(config).save_pretrained(directory)
    return directory


def answers_within(room: int, directory: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-P", __file__, str(directory), str(room)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel bounds an address space on Linux")
def test_what_does_not_fit_into_memory_is_done_in_parts_with_the_same_results(wide_model_dir: Path) -> None:
    items = items_of()
    tokens = sum(len("".join(steps[1:])) for _, steps in items)  # at least, for a token is a byte
    one_tensor = tokens * WIDTH * 4  # of a pass over all items
    found = answers_within(one_tensor // 2, wide_model_dir)
    for name, task in TASKS.items():
        expected = task(str(wide_model_dir))(items)
        assert any("memory ran out: batches are halved" in text for text in found[name]["warnings"]), name
        assert len(found[name]["answer"]) == len(expected) == ITEMS
        for answer, wanted in zip(found[name]["answer"], expected, strict=True):
            assert answer == pytest.approx(wanted, abs=1e-5), name


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
