"""What tells the arms of a study apart: in its tasks, its outcome, its runs and its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bat.models import predictors
from bat.models.predictors import PAIR, STACK

FACTORY = "factory"  # the objective of an encoder that has learnt nothing


class ArmKey(NamedTuple):
    """One arm: an encoder with a predictor that reads it, or a baseline."""

    base: str  # name of the encoder that it starts from
    objective: str  # how the encoder learns: factory (not at all), or a name of ``OBJECTIVES``
    documents: int  # texts that it learns from
    labels: int  # rows whose price the predictor learns from
    seed: int
    predictor: str = PAIR  # of ``predictors.PREDICTORS``

    @property
    def line(self) -> ArmKey:
        """The same for all seeds."""
        return self._replace(seed=0)

    @property
    def is_baseline(self) -> bool:
        """Whether it is neither an encoder's pair nor a stack on one."""
        return self.predictor not in (PAIR, STACK)


def baseline(base: str, labels: int, seed: int, name: str) -> ArmKey:
    """Name a baseline by its predictor."""
    return ArmKey(base, FACTORY, 0, labels, seed, name)


def run_name(key: ArmKey) -> str:
    """Name an arm as its run is named."""
    if key.is_baseline:
        return f"baseline={key.predictor}"
    words = [f"documents={key.documents}", f"seed={key.seed}"]
    if key.objective not in (FACTORY, "mlm"):  # those of the first versions go without a word
        words.insert(0, f"objective={key.objective}")
    if key.predictor == STACK:
        words.insert(0, STACK)
    return " ".join(words)


def label(key: ArmKey) -> str:
    """Name an arm, over all seeds, for people to read."""
    if key.is_baseline:
        return predictors.named(key.predictor).label
    said = f"tuned on {key.documents:,}" if key.documents else FACTORY
    if key.objective not in (FACTORY, "mlm"):
        said += f" ({key.objective})"
    return f"words + {said}" if key.predictor == STACK else said


def stacked_sizes(stack: str, visited: Sequence[int]) -> list[int]:
    """Choose the sizes that a stack is made for: beforehand, so that no result has a say.

    Args:
        stack: one of ``cli.STACKS``.
        visited: the sizes of a study that were not left out, rising.
    """
    ends = {"none": [], "all": list(visited), "auto": [0, visited[-1]]}[stack]
    return [size for size in visited if size in ends]
