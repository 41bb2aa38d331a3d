"""Train process and outcome reward models, and measure what they are worth under test-time search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prm.problems import Problem
    from prm.rollouts import Rollout
    from prm.scoring_spec import ScoringSpec
    from prm.step_format import PromptFormat, StepFormat
    from prm.training.trainer import VerifierConfig, VerifierTrainer
    from prm.verifier import Verifier

__version__ = "0.1.0"

# Loaded on first use, so that `import prm` and `prm --help` stay free of torch.
_EXPORTS = {
    "Problem": "prm.problems",
    "PromptFormat": "prm.step_format",
    "Rollout": "prm.rollouts",
    "ScoringSpec": "prm.scoring_spec",
    "StepFormat": "prm.step_format",
    "Verifier": "prm.verifier",
    "VerifierConfig": "prm.training.trainer",
    "VerifierTrainer": "prm.training.trainer",
}

__all__ = [
    "Problem",
    "PromptFormat",
    "Rollout",
    "ScoringSpec",
    "StepFormat",
    "Verifier",
    "VerifierConfig",
    "VerifierTrainer",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'prm' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_EXPORTS[name]), name)
