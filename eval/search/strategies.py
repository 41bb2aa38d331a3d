"""The strategies by the name that `--approach` knows them by. A new one is a file beside this one, and a line here."""

from __future__ import annotations

from prm.errors import ConfigError
from prm.spelling import hint

from .adaptive_consistency import AdaptiveConsistency
from .base import SearchStrategy
from .beam_search import BeamSearch
from .best_of_n import BestOfN
from .dvts import DVTS
from .early_stop import EarlyStop, ThresholdStop
from .greedy import Greedy
from .lookahead import Lookahead
from .majority import Majority
from .pass_at_n import PassAtN
from .rebase import Rebase
from .weighted_best_of_n import WeightedBestOfN

# One name may stand for two lines of the table: the final choices of one search, a rule without and with a verifier.
STRATEGIES: dict[str, tuple[SearchStrategy, ...]] = {
    "greedy": (Greedy(),),
    "pass_at_n": (PassAtN(),),
    "majority": (Majority(),),
    "best_of_n": (BestOfN(),),
    "weighted_best_of_n": (WeightedBestOfN(),),
    "beam_search": (BeamSearch(), BeamSearch("weighted")),
    "dvts": (DVTS(), DVTS("weighted")),
    "lookahead": (Lookahead(), Lookahead("weighted")),
    "rebase": (Rebase(), Rebase("weighted")),
    "adaptive_consistency": (AdaptiveConsistency(), AdaptiveConsistency(weighted=True)),
    "early_stop": (EarlyStop(), ThresholdStop()),
    "compute_optimal": (),  # its lines are made of the others', by `prm.eval.policy_run`
}

# They draw samples one after another, which those of a panel (one of each system) are not.
SEQUENTIAL = frozenset({"adaptive_consistency", "early_stop"})


def strategies_named(name: str) -> tuple[SearchStrategy, ...]:
    """The strategies behind one `--approach`.

    Raises:
        ConfigError: no such approach.
    """
    if name not in STRATEGIES:
        raise ConfigError(f"unknown approach {name!r}; {hint(name, STRATEGIES)}")
    return STRATEGIES[name]
