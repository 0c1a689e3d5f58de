"""Units of work that name what they need: what executors run, whatever they are made for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bat import units
from bat.data import subsets
from bat.models import embedding
from bat.models.encoder import Encoder
from bat.workflow.preparation import Prepared
from bat.workflow.spec import StudySpec

HELD_OUT_TEXTS = 1_000  # more than fill the blocks of the held-out loss


@dataclass(frozen=True)
class Context:
    """What all tasks share. It reaches each machine once; what is worked out of it stays there."""

    base: Encoder  # the factory encoder
    prepared: Prepared
    spec: StudySpec
    orders: dict[int, list[str]] = field(default_factory=dict, repr=False)

    def order(self, seed: int) -> list[str]:
        """List the distinct texts to tune on, in the nested order of a seed."""
        if seed not in self.orders:
            loaded = self.prepared.corpus
            rows = subsets.tuning_texts(loaded, seed=seed, finetune_on=self.spec.finetune_on)
            self.orders[seed] = [loaded.texts[row] for row in rows]
        return self.orders[seed]

    @functools.cached_property
    def held_out(self) -> list[str]:
        """Held-out texts for the loss on unseen text, to be shown; none if all are tuned on."""
        if self.spec.finetune_on == "all":
            return []
        texts = self.prepared.corpus.texts
        return [texts[row] for row in self.prepared.rows("held_out")[:HELD_OUT_TEXTS]]

    @functools.cached_property
    def distinct(self) -> list[str]:
        """The corpus's texts, each once."""
        return list(dict.fromkeys(self.prepared.corpus.texts))

    @functools.cached_property
    def lengths(self) -> list[int]:
        """Tokens that the encoder reads of each distinct text."""
        counts = dict(zip(self.prepared.corpus.texts, self.prepared.token_counts, strict=True))
        return [min(int(counts[text]), self.base.max_tokens) for text in self.distinct]

    @functools.cached_property
    def batches(self) -> list[list[int]]:
        """The batches that an embedding is made in: places among the distinct texts."""
        return list(embedding.batches(self.lengths))

    @functools.cached_property
    def texts_digest(self) -> str:
        """Fingerprint of the distinct texts."""
        return units.digest(self.distinct)

    @functools.cached_property
    def rows_digest(self) -> str:
        """Fingerprint of all that a regressor may learn from the rows, in their order."""
        loaded = self.prepared.corpus
        columns = [loaded.prices, loaded.parts, loaded.group_ids]
        columns += [] if loaded.times is None else [loaded.times]  # along which folds are laid
        values = [column.tolist() for column in columns]
        return units.key(texts=units.digest(loaded.texts), columns=values)


Run = Callable[[Context, Mapping[str, Any], Sequence[Path], Path], None]


@dataclass(frozen=True, eq=False)
class Task:
    """One unit of work.

    ``run(context, arguments, needs, folder)`` writes the unit's files into an empty folder;
    ``needs`` are the folders of the tasks that it needs, in their order.
    """

    unit: units.Unit
    run: Run  # a function of a module: it travels to other machines by its name
    arguments: Mapping[str, Any]  # small values
    needs: tuple[Task, ...] = ()
    stage: str = ""  # under which the plan counts it
    work: Mapping[str, float] = field(default_factory=dict)  # how much of each kind of work
    bytes: int = 0  # that it leaves on the disk
    temporary: bool = False  # only those that need it read it


class Done(NamedTuple):
    """A task that is finished."""

    task: Task
    began: float | None  # in seconds since 1970; None: it was found finished


Execute = Callable[[Context, Sequence[Task]], Generator[Done, None, None]]


def in_order(wanted: Iterable[Task]) -> list[Task]:
    """List tasks and all that they need, each once and after what it needs."""
    return _walk(wanted, lambda task: False)


def missing(wanted: Iterable[Task]) -> list[Task]:
    """List what is to be run for some tasks, in order; what a finished one needs is not."""
    return _walk(wanted, lambda task: units.find(task.unit) is not None)


def _walk(wanted: Iterable[Task], ends: Callable[[Task], bool]) -> list[Task]:
    """Visit tasks after what they need; those at which the walk ends are left out."""
    seen: set[units.Unit] = set()
    found: list[Task] = []

    def visit(task: Task) -> None:
        if task.unit in seen:
            return
        seen.add(task.unit)
        if not ends(task):
            for need in task.needs:
                visit(need)
            found.append(task)

    for task in wanted:
        visit(task)
    return found


def leave(done: Task, remaining: Iterable[Task]) -> None:
    """Clear up behind a task: its checkpoints, and what only it still needed.

    Args:
        done: the task; it is finished.
        remaining: tasks that are still to be run.
    """
    units.drop(done.unit)
    needed = {need.unit for task in remaining for need in task.needs}
    units.discard(need.unit for need in done.needs if need.temporary and need.unit not in needed)


def discard_temporary(tasks: Iterable[Task]) -> None:
    """Remove what is left of temporary tasks, when all that need them are done or given up."""
    for task in in_order(tasks):
        units.drop(task.unit)
        if task.temporary:
            units.discard([task.unit])
