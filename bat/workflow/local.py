"""Tasks run one after the other in this process, or in those of a launcher together."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Generator, Sequence
from pathlib import Path

from bat import drafts, units
from bat.tuning import loop
from bat.workflow import tasks
from bat.workflow.tasks import Context, Done, Task


def execute(context: Context, wanted: Sequence[Task]) -> Generator[Done, None, None]:
    """Run what some tasks lack, one after the other; work for the next starts when it is called.

    Of several processes that a launcher has started all take part in each task, and what the first
    one makes is kept.

    Args:
        context: what all tasks share.
        wanted: tasks; what they need is run before them.

    Yields:
        Each task that was run, and each that was wanted and found finished; those wanted come in
        their order.
    """
    names = [task.unit.name for task in tasks.missing(wanted)]
    names = loop.agreed(names) if _together() else names  # their caches may differ
    by_name = {task.unit.name: task for task in tasks.in_order(wanted)}
    todo = [by_name[name] for name in names]
    own = {task.unit for task in wanted}
    began: dict[units.Unit, float] = {}
    for task in wanted:
        if task.unit.name not in names:
            tasks.leave(task, todo)  # a killed command may not have come to it
        while any(each.unit == task.unit for each in todo):
            first, began[todo[0].unit] = todo[0], time.time()
            _run(context, first)
            tasks.leave(todo.pop(0), todo)
            if first.unit not in own:
                yield Done(first, began[first.unit])
        yield Done(task, began.get(task.unit))


def _run(context: Context, task: Task) -> None:
    needs = [need.unit.folder for need in task.needs]
    fill = functools.partial(task.run, context, task.arguments, needs)
    if not _together():
        units.build(task.unit, fill)
        return
    with drafts.draft() as made:  # the lock of a unit is for one process
        fill(made)
        if loop.is_main():
            units.build(task.unit, functools.partial(_move, made))


def _together() -> bool:
    """Tell whether a launcher has started several processes for one command."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1  # set by torchrun and accelerate launch


def _move(source: Path, folder: Path) -> None:
    for each in source.iterdir():
        each.rename(folder / each.name)
