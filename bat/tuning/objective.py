"""What the training loop asks of a way to learn: an ``Objective``, a handful of functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bat.models.encoder import Encoder

Steps = Sequence[tuple[int, int, int]]  # of each: pass, first row, row after the last


def trunk_and_branches(plan: Schedule, step: int, size: int) -> float:
    """Stay at the full rate until a size leaves the trunk, then fall by the square root.

    Source:
        Hägele et al. 2024, arXiv 2405.18392: decay of the form 1 - sqrt.
    """
    if step < plan.warmup:
        return (step + 1) / plan.warmup
    leave, end = plan.leaves[size], plan.ends[size]
    return 1.0 if step < leave else 1.0 - math.sqrt((step - leave) / (end - leave))


def rise_and_fall(plan: Schedule, step: int, size: int) -> float:
    """Rise to the full rate, then fall in a straight line to the end (Devlin et al. 2019)."""
    end = plan.ends[size]
    return min((step + 1) / plan.warmup, (end - step) / (end - plan.warmup + 1))


@dataclass(frozen=True)
class Schedule:
    """Which rows each step takes, where each size leaves the trunk and ends, and the rate."""

    steps: Steps
    leaves: tuple[int, ...]
    ends: tuple[int, ...]
    warmup: int
    shape: Callable[[Schedule, int, int], float] = trunk_and_branches

    def rate(self, step: int, size: int) -> float:
        """Share of the learning rate at a step on the way to the size with that index."""
        return self.shape(self, step, size)


@dataclass(frozen=True)
class Examples:
    """What there is to learn from.

    Attributes:
        texts: in nested order; a size learns from a prefix.
        sizes: rising numbers of texts.
        held_out: texts for the loss on unseen text; none, no such loss.
        targets: of the texts, shape (n,); None where the texts are all.
    """

    texts: Sequence[str]
    sizes: Sequence[int]
    held_out: Sequence[str] = ()
    targets: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class WarmUp:
    """How a head is trained that the checkpoint lacks: pass and row of each example, by step."""

    steps: Sequence[Sequence[tuple[int, int]]] = ()
    rate: float = 0.0


@dataclass(frozen=True)
class HeldOut:
    """Rows for the loss on unseen text, and how many of them go through the model at once."""

    rows: Any
    steps: Steps


@dataclass(frozen=True)
class Laid:
    """The examples as rows, and the steps over them.

    Attributes:
        rows: what the objective makes examples of; the loop does not look into it.
        plan: steps and rates.
        tokens: of the texts of each size.
        row_size: what one row counts in ``Progress``, tokens or texts.
        rows_at_once: that go through the model together; a step adds up their gradients.
        warm_up: of what a model may lack; no steps where it lacks nothing.
        held_out: unseen rows, None where there are none.
    """

    rows: Any
    plan: Schedule
    tokens: tuple[int, ...]
    row_size: int
    rows_at_once: int
    warm_up: WarmUp = WarmUp()
    held_out: HeldOut | None = None


@dataclass(frozen=True)
class Opened:
    """A model that is ready to learn.

    Attributes:
        model: a torch module in evaluation mode (no dropout), on its device.
        loss: sums the loss of a batch; it calls what it is given, ``model`` or a wrapper of it.
        lacking: names of the parameters that no checkpoint has filled.
        facts: what the story of a tuning says of it, plain values by name.
    """

    model: Any
    loss: Callable[[Any, Any], torch.Tensor]
    lacking: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Parameters that learn at one rate; clipped ones share one gradient norm."""

    parameters: Sequence[torch.nn.Parameter]
    rate: float
    weight_decay: float = 0.0
    clipped: bool = True


def _as_it_is(encoder: Encoder, texts: Sequence[str], smallest: int, recipe: Any) -> Any:
    return recipe


@dataclass(frozen=True)
class Objective:
    """A way to learn, as the loop needs it; ``dataclasses.replace`` makes a variant of one.

    A recipe is the objective's own frozen dataclass. Of its fields the loop reads ``precision``;
    a study sets ``seed``, and plans by ``passes`` and ``decay_share``.

    Attributes:
        label: what is learnt, as a model card says it.
        recipe: the class of its recipes, which all have defaults.
        lay_out: encoder, examples and recipe to rows and steps.
        open_model: encoder, laid rows and recipe to a model around a copy of its weights.
        example: rows, number of one and of the pass to an example; alike whenever it is made.
        batch: rows and some examples to what ``Opened.loss`` takes.
        groups: model and recipe to parameter groups.
        put_back: trained model, encoder and recipe to what the tuning yields.
        count: how many losses a sum over some examples adds up; a step divides by it.
        alike: encoder, texts, a study's smallest size and recipe to the recipe by which each size
            is tuned by itself, so that they differ in size alone.
        version: raised when its code makes something else of equal inputs.
        reads_targets: whether it learns from targets; a study's curve is of texts alone.
    """

    label: str
    recipe: type[Any]
    lay_out: Callable[[Encoder, Examples, Any], Laid]
    open_model: Callable[[Encoder, Laid, Any], Opened]
    example: Callable[[Any, int, int], Any]
    batch: Callable[[Any, Sequence[Any]], Any]
    groups: Callable[[Any, Any], list[Group]]
    put_back: Callable[[Any, Encoder, Any], Any]
    count: Callable[[Sequence[Any]], int] = len
    alike: Callable[[Encoder, Sequence[str], int, Any], Any] = _as_it_is
    version: int = 1
    reads_targets: bool = False
