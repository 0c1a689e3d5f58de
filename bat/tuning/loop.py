"""The one training loop: whatever an encoder learns from, it is tuned here.

What is learnt is an ``Objective``, a handful of functions. The loop takes the steps that they lay
out: schedule, trunk and branches, precision, several processes, gradient clipping, checkpoints,
progress and timing are alike for all.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from bat import units
from bat.cli import InputError
from bat.models.encoder import Encoder, device
from bat.tuning import precision as precisions
from bat.tuning.objective import Examples, Group, Laid, Objective, Opened

Progress = Callable[[int, torch.Tensor], None]  # what the step has done, and its mean loss
Agreed = TypeVar("Agreed")

HELD_OUT_CHECKS = 5  # in the course of the trunk
MAX_GRADIENT_NORM = 1.0  # the default of transformers.Trainer
STATE_FILE, STEP = "state.pt", "step-"  # what a trunk's state is called, and those kept on the way
CHECKPOINT_SECONDS = 120.0  # work that a killed run repeats at most, branches apart


@dataclass(frozen=True)
class Tuned:
    """One finished size of a tuning."""

    documents: int
    model: Any  # what ``Objective.put_back`` gives
    tokens: int
    steps: int
    losses: tuple[tuple[int, float], ...]  # step, and mean loss of the weights as trained
    held_out: tuple[tuple[int, float], ...]
    head_warmed: bool
    precision: str  # fp32 or bf16
    seconds: float  # trunk since the last branch, and this branch
    tokens_trained: int  # in those seconds, as ``Progress`` counts
    facts: Mapping[str, Any]  # those of ``Opened``


@dataclass
class Run:
    """What stays and what changes while tuning."""

    objective: Objective
    encoder: Encoder
    examples: Examples
    recipe: Any
    laid: Laid
    opened: Opened
    groups: list[Group]
    wrapped: Any  # the model, or the wrapper that adds up gradients over processes
    optimizer: torch.optim.Optimizer
    accelerator: Any
    dtype: torch.dtype
    progress: Progress
    checkpoint: units.Unit | None
    saved_at: float = field(default_factory=time.monotonic)
    step: int = 0
    losses: list[tuple[int, torch.Tensor]] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0

    @property
    def model(self) -> Any:
        """The model that learns, without a wrapper."""
        return self.opened.model

    def summed_loss(self, model: Any, made: Sequence[Any]) -> torch.Tensor:
        """Sum the loss of some examples in the run's precision; the weights stay float32."""
        batch = self.objective.batch(self.laid.rows, made)
        with torch.autocast(device().type, self.dtype, enabled=self.dtype != torch.float32):
            return self.opened.loss(model, batch)


# Several processes


def _processes() -> Any:
    from accelerate import PartialState

    return PartialState(cpu=device().type == "cpu")


def is_main() -> bool:
    """Tell whether this process is alone, or the first of those that tune together."""
    return bool(_processes().is_main_process)


def agreed(value: Agreed) -> Agreed:
    """Hand every process what the first one has: what is on disk may differ between machines."""
    from accelerate.utils import broadcast_object_list

    _processes()
    received: Agreed = broadcast_object_list([value])[0]
    return received


def precision(wanted: str) -> torch.dtype:
    """Choose bfloat16 where the machine tunes faster in it, else float32; see ``precision.choose``.

    Of several processes that tune together, all take what the first one measured.
    """
    if wanted == "auto" and _processes().num_processes > 1:
        wanted = _agreed_precision()
    return precisions.choose(wanted)


@functools.cache
def _agreed_precision() -> str:
    return agreed(precisions.name_of(precisions.choose("auto")) if is_main() else "")


def unwrapped(model: Any) -> Any:
    """Give the model inside the wrapper that adds up gradients over processes, if there is one."""
    parallel = isinstance(model, torch.nn.parallel.DistributedDataParallel)
    return model.module if parallel else model


# The loop


def finetune(
    objective: Objective,
    encoder: Encoder,
    examples: Examples,
    recipe: Any,
    *,
    only: Sequence[int] | None = None,
    checkpoint: units.Unit | None = None,
    progress: Progress | None = None,
) -> Iterator[Tuned]:
    """Tune one trunk over the examples and hand out each size in turn.

    The same inputs give the same weights, bit for bit on one CPU, also after a restart from
    ``checkpoint`` and whichever sizes ``only`` names.

    Args:
        objective: what is learnt.
        encoder: where tuning starts; it is not changed.
        examples: what it is learnt from.
        recipe: the objective's own.
        only: the sizes wanted; the others shape the rows but get no branch.
        checkpoint: the trunk, whose state is kept in parts that the caller drops when all is
            done; None, it is not kept.
        progress: called after each step.

    Yields:
        Each size, smallest first. The next one starts when the caller asks.
    """
    run = start(objective, encoder, examples, recipe, checkpoint=checkpoint, progress=progress)
    yield from branches(run, only)


def start(
    objective: Objective,
    encoder: Encoder,
    examples: Examples,
    recipe: Any,
    *,
    checkpoint: units.Unit | None = None,
    progress: Progress | None = None,
) -> Run:
    """Lay out the rows and open the model, as ``finetune`` does; no step is taken."""
    from accelerate import Accelerator

    laid = objective.lay_out(encoder, examples, recipe)
    opened = objective.open_model(encoder, laid, recipe)
    groups = objective.groups(opened.model, recipe)
    optimizer = torch.optim.AdamW(
        [
            {"params": list(each.parameters), "lr": each.rate, "weight_decay": each.weight_decay}
            for each in groups
        ],
        fused=True,
    )
    return Run(
        objective=objective,
        encoder=encoder,
        examples=examples,
        recipe=recipe,
        laid=laid,
        opened=opened,
        groups=groups,
        wrapped=opened.model,
        optimizer=optimizer,
        accelerator=Accelerator(cpu=device().type == "cpu"),
        dtype=precision(recipe.precision),
        progress=progress or (lambda done, loss: None),
        checkpoint=checkpoint,
    )


def branches(run: Run, only: Sequence[int] | None = None) -> Iterator[Tuned]:
    """Train a run that has started, and hand out the sizes wanted; see ``finetune``."""
    sizes, plan = list(run.examples.sizes), run.laid.plan
    wanted = sizes if only is None else list(only)
    _set_off(run, [sizes.index(size) for size in wanted])
    for index, size in enumerate(sizes):
        _advance(run, index, plan.leaves[index], trunk=True)
        if size not in wanted:
            continue
        kept = None if size == wanted[-1] else copy.deepcopy(_state(run))
        _advance(run, index, plan.ends[index], trunk=False)
        check_held_out(run)
        yield _finished(run, index)
        if kept is None:
            return
        _restore(run, kept)
        run.seconds, run.tokens = 0.0, 0


def trunk_state(run: Run, size: int) -> bytes:
    """Run the trunk to where a size leaves it, for a branch that is finished elsewhere.

    Args:
        run: one that has started; of its checkpoint, the state where an earlier size leaves may
            be kept.
        size: one of its examples' sizes.

    Returns:
        What ``keep_state`` keeps, so that ``finetune`` gives that size the same bits as in one
        process.
    """
    index = list(run.examples.sizes).index(size)
    _set_off(run, [index])
    if run.step in run.laid.plan.leaves:  # else the time until a kill counts: it was for this size
        run.seconds, run.tokens = 0.0, 0
    _advance(run, index, run.laid.plan.leaves[index], trunk=True)
    return _packed(run)


def work(laid: Laid, sizes: Sequence[int], wanted: Sequence[int]) -> int:
    """Count what ``finetune`` will do for the sizes wanted, as ``Progress`` counts."""
    rows = [end - first for _, first, end in laid.plan.steps]
    plan = laid.plan
    spans = [(plan.leaves[i], plan.ends[i]) for i, size in enumerate(sizes) if size in wanted]
    trunk = sum(rows[: max(leave for leave, _ in spans)])
    apart = sum(sum(rows[leave:end]) for leave, end in spans)
    return (trunk + apart) * laid.row_size


def _set_off(run: Run, wanted: Sequence[int]) -> None:
    """Go on from the checkpoint where it serves all wanted sizes (their indices), else begin."""
    if not _resume(run, [run.laid.plan.leaves[index] for index in wanted]):
        if run.opened.lacking:
            warm_head(run)
        check_held_out(run)


def warm_head(run: Run) -> None:
    """Train what the checkpoint lacks while all else is frozen, alike for every size.

    A random head would send its noise through the encoder first.
    """
    parameters = dict(run.model.named_parameters())
    head = [parameter for name, parameter in parameters.items() if name in run.opened.lacking]
    others = [each for name, each in parameters.items() if name not in run.opened.lacking]
    for parameter in others:
        parameter.requires_grad_(False)
    rate = run.laid.warm_up.rate
    optimizer = torch.optim.AdamW(head, lr=rate, weight_decay=0.0, fused=True)
    for step in run.laid.warm_up.steps:
        made = [run.objective.example(run.laid.rows, row, number) for number, row in step]
        loss = run.summed_loss(run.model, made)
        torch.autograd.backward(loss / run.objective.count(made))
        optimizer.step()
        optimizer.zero_grad()
    for parameter in others:
        parameter.requires_grad_(True)


def _advance(run: Run, size: int, until: int, *, trunk: bool) -> None:
    """Take the steps up to ``until`` towards the size with that index."""
    if run.wrapped is run.model and run.accelerator.num_processes > 1:
        run.wrapped = run.accelerator.prepare_model(run.model)
    every = math.ceil(run.laid.plan.leaves[-1] / HELD_OUT_CHECKS)
    while run.step < until:
        began = time.monotonic()
        take_step(run, size)
        run.seconds += time.monotonic() - began
        if trunk and run.step % every == 0:
            check_held_out(run)
        if trunk and time.monotonic() - run.saved_at > CHECKPOINT_SECONDS:
            _save(run)


def take_step(run: Run, size: int) -> None:
    """One optimiser step: loss and gradient are those of all examples of its rows together."""
    number, first, end = run.laid.plan.steps[run.step]
    rank, world = run.accelerator.process_index, run.accelerator.num_processes
    made = [run.objective.example(run.laid.rows, row, number) for row in range(first, end)]
    # Gradients are averaged over processes, and shall be summed.
    share = world / max(1, run.objective.count(made))
    mine = made[rank::world]
    if not mine:  # more processes than rows: take part in the exchange, add nothing
        mine, share = made[:1], 0.0
    at_once = run.laid.rows_at_once
    parts = [mine[at : at + at_once] for at in range(0, len(mine), at_once)]
    total = torch.zeros((), device=device())
    for index, part in enumerate(parts):
        exchange = index == len(parts) - 1
        with contextlib.nullcontext() if exchange else run.accelerator.no_sync(run.wrapped):
            loss = run.summed_loss(run.wrapped, part)
            torch.autograd.backward(loss * share)
            total += loss.detach() * share
    clipped = [each for group in run.groups if group.clipped for each in group.parameters]
    torch.nn.utils.clip_grad_norm_(clipped, MAX_GRADIENT_NORM)
    for group, taken in zip(run.groups, run.optimizer.param_groups, strict=True):
        taken["lr"] = group.rate * run.laid.plan.rate(run.step, size)
    run.optimizer.step()
    run.optimizer.zero_grad()
    run.step += 1
    mean = run.accelerator.reduce(total, "mean")
    run.losses.append((run.step, mean))
    done = (end - first) * run.laid.row_size
    run.tokens += done
    run.progress(done, mean)


def check_held_out(run: Run) -> None:
    """Note the mean loss on unseen rows, which are the same for every step."""
    if run.laid.held_out is None:
        return
    rows = run.laid.held_out.rows
    total, count = 0.0, 0
    for number, first, end in run.laid.held_out.steps:
        made = [run.objective.example(rows, row, number) for row in range(first, end)]
        with torch.no_grad():
            total += float(run.summed_loss(run.model, made))
        count += run.objective.count(made)
    if count:  # special tokens alone leave nothing to mask
        run.held_out.append((run.step, total / count))
        _refuse_divergence(run, total)


def _refuse_divergence(run: Run, loss: float) -> None:
    """Stop tuning whose loss has left the numbers: no later step brings it back."""
    if not math.isfinite(loss):
        raise InputError(
            f"learning_rate={run.groups[0].rate:g}, with which the loss is no number after "
            f"{run.step} steps",
            "a rate at which tuning keeps to finite weights",
            "lower learning_rate",
        )


def _finished(run: Run, index: int) -> Tuned:
    if run.losses:
        _refuse_divergence(run, float(run.losses[-1][1]))
    return Tuned(
        documents=run.examples.sizes[index],
        model=run.objective.put_back(run.model, run.encoder, run.recipe),
        tokens=run.laid.tokens[index],
        steps=run.step,
        losses=tuple((step, float(loss)) for step, loss in run.losses),
        held_out=tuple(run.held_out),
        head_warmed=bool(run.opened.lacking),
        precision=precisions.name_of(run.dtype),
        seconds=run.seconds,
        tokens_trained=run.tokens,
        facts=run.opened.facts,
    )


# Checkpoints


def _state(run: Run) -> dict[str, Any]:
    """All that a step depends on; examples and order are functions of the step's number."""
    return {
        "model": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "step": run.step,
        "losses": [(step, float(loss)) for step, loss in run.losses],
        "held_out": list(run.held_out),
        "spent": (run.seconds, run.tokens),
    }


def _restore(run: Run, state: dict[str, Any]) -> None:
    run.model.load_state_dict(state["model"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.step = state["step"]
    run.losses = [(step, torch.tensor(loss)) for step, loss in state["losses"]]
    run.held_out = [tuple(point) for point in state["held_out"]]
    run.seconds, run.tokens = state["spent"]


def _save(run: Run) -> None:
    """Keep the trunk's state, so that a killed run goes on from here."""
    run.saved_at = time.monotonic()
    if run.checkpoint and is_main():
        keep_state(run.checkpoint, f"{STEP}{run.step:09}", _packed(run))
        steps = [each for each in units.parts(run.checkpoint) if each.part.startswith(STEP)]
        units.discard(steps[:-1])


def keep_state(checkpoint: units.Unit, name: str, state: bytes) -> None:
    """Keep what ``trunk_state`` returned, as one part of a trunk."""
    part = units.part(checkpoint, name)
    units.build(part, lambda folder: (folder / STATE_FILE).write_bytes(state))


def _packed(run: Run) -> bytes:
    buffer = io.BytesIO()
    torch.save(_state(run), buffer)
    return buffer.getvalue()


def _resume(run: Run, leaves: Sequence[int]) -> bool:
    """Go on from the furthest state that is kept and from which all wanted sizes can be reached."""
    best: dict[str, Any] | None = None
    if run.checkpoint and is_main():
        for part in units.parts(run.checkpoint):
            if folder := units.find(part):
                path = folder / STATE_FILE
                state = torch.load(path, map_location="cpu", weights_only=True)
                if state["step"] <= min(leaves) and (not best or state["step"] > best["step"]):
                    best = state
    best = agreed(best)  # other machines do not see the files
    if best is None:
        return False
    _restore(run, best)
    return True
