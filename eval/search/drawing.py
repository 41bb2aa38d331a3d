"""The generator's part of a tree search: one more step for each of many branches, of all problems in one call.

Tokens are carried: a branch continues exactly the ids that were generated. Seeds are hash(problem, prefix) + index,
with indices counted over all trees of a problem, so that no sample is drawn twice and the order in which problems
advance changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from prm.generation.base import Completion, GenerationRequest, Generator, SamplingParams, request_seed
from prm.generation.carried import carry
from prm.rollouts import StopReason

from .tree import Branch, TreeSearch


@dataclass(frozen=True)
class Job:
    """One step to draw behind a branch. `drawn` counts the samples drawn from each prefix of the problem."""

    search: TreeSearch
    parent: Branch
    drawn: Counter[str]


class Drawer:
    """Draws the steps of one run.

    Args:
        sampling: temperature, nucleus, the token limit of a whole solution, and the texts that end one.
        separator: ends a step.
        base_seed: separates whole runs.
    """

    def __init__(self, generator: Generator, sampling: SamplingParams, separator: str, base_seed: int):
        self.generator, self.carrier = generator, carry(generator)
        self.sampling, self.separator, self.base_seed = sampling, separator, base_seed

    def root(self, search: TreeSearch) -> Branch:
        """The beginning of every solution; truncated where the prompt leaves no room."""
        root = Branch(tuple(self.generator.prompt_ids(search.problem.problem)))
        return root if self.tokens_left(root) > 0 else replace(root, stop_reason=StopReason.LENGTH)

    def tokens_left(self, branch: Branch) -> int:
        return min(
            self.sampling.max_new_tokens - branch.n_generated, self.generator.context_length - len(branch.token_ids)
        )

    def draw(self, jobs: Sequence[Job], *, to_the_end: bool) -> list[Branch]:
        """One child for each job, in order: a step, or the rest of the solution. The cost is the search's."""
        requests = []
        for job in jobs:
            index = job.drawn[job.parent.text]
            job.drawn[job.parent.text] += 1
            seed = request_seed(job.search.problem.problem, job.parent.text, index, self.base_seed)
            requests.append(GenerationRequest(job.parent.token_ids, seed))
        stop = self.sampling.stop if to_the_end else (self.separator, *self.sampling.stop)
        sampling = replace(self.sampling, stop=stop)
        children = []
        for job, completion in zip(jobs, self._complete(requests, sampling, [j.parent for j in jobs]), strict=True):
            job.search.cost += completion.cost
            children.append(self._extend(job.parent, completion))
        return children

    def look_ahead(self, branches: Sequence[tuple[TreeSearch, Branch]], steps: int) -> list[str]:
        """The text of each branch behind up to `steps` more steps, drawn greedily (Snell et al., arXiv 2408.03314,
        section 5.2: at temperature 0, for a less noisy look). Equal beginnings of a problem are extended once."""
        ahead = {(id(search), branch.token_ids): (search, branch) for search, branch in branches}
        sampling = replace(self.sampling, temperature=0.0, top_p=1.0, stop=(self.separator, *self.sampling.stop))
        for _ in range(steps):
            going = {key: found for key, found in ahead.items() if found[1].continues}
            if not going:
                break
            parents = [branch for _, branch in going.values()]
            requests = [GenerationRequest(parent.token_ids, seed=0) for parent in parents]
            for (key, (search, parent)), completion in zip(
                going.items(), self._complete(requests, sampling, parents), strict=True
            ):
                search.cost += replace(completion.cost, lookahead_tokens=completion.cost.generated_tokens)
                ahead[key] = (search, self._extend(parent, completion))
        return [ahead[(id(search), branch.token_ids)][1].text for search, branch in branches]

    def retain(self, branches: Iterable[Branch]) -> None:
        """Let the generator forget everything but these."""
        self.carrier.retain(list(dict.fromkeys(branch.token_ids for branch in branches)))

    def _complete(
        self, requests: Sequence[GenerationRequest], sampling: SamplingParams, parents: Sequence[Branch]
    ) -> list[Completion]:
        limit = max(self.tokens_left(parent) for parent in parents)
        return self.carrier.generate(requests, replace(sampling, max_new_tokens=limit))

    def _extend(self, parent: Branch, completion: Completion) -> Branch:
        """The branch after one completion. One that went past its own limit, for all requests of a call share the
        longest, is truncated as a plain sample would have been, and so is one that has no token left to go on with.
        One that holds a stop text is finished there."""
        overrun = len(completion.token_ids) > self.tokens_left(parent)
        text, stopped = _until_stop(parent.text + completion.text, self.sampling.stop)
        reason = StopReason.EOS if stopped else completion.stop_reason
        child = Branch(
            token_ids=parent.token_ids + completion.token_ids,
            text=text,
            n_generated=parent.n_generated + len(completion.token_ids),
            stop_reason=StopReason.LENGTH if overrun else reason,
        )
        spent = child.continues and self.tokens_left(child) < 1
        return replace(child, stop_reason=StopReason.LENGTH) if spent else child


def _until_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text up to its first stop text, that one included, and whether there is one. Steps are drawn one by one, so
    that a stop text with a step separator in it comes in several pieces."""
    ends = [text.index(one) + len(one) for one in stop if one in text]
    return (text[: min(ends)], True) if ends else (text, False)
