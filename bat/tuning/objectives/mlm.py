"""Masked-language-model tuning: one pass over the corpus yields the encoder of every subset size.

A trunk runs at a constant rate over the nested order of documents. For each size n a branch leaves
it at (1 - decay_share) n, lets the rate fall to 0 at n, and is one finished encoder (Hägele et al.
2024, arXiv 2405.18392). Only masked positions go through the vocabulary head, and dropout is off.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bat.cli import InputError
from bat.models.encoder import (
    COUNT_AT_ONCE,
    Encoder,
    device,
    token_ids,
)
from bat.tuning import loop, masked_model, packing
from bat.tuning import precision as precisions
from bat.tuning.masked_model import Masked
from bat.tuning.objective import (
    Examples,
    Group,
    HeldOut,
    Laid,
    Objective,
    Opened,
    Schedule,
    WarmUp,
)
from bat.tuning.packing import Blocks

MAX_BLOCKS_A_STEP = 8  # some 2,000 tokens for an encoder of 256, the batch of the plain recipe
MIN_STEPS = 50  # fewer and warm-up and decay are all there is: the size says nothing
# Of the rate. Half of the shortest trunk there is, so that a size warms up alike alone and in any
# study's pass: with 100 steps where the size allows them, 512 and 768 documents tuned alone ended 2
# and 3 % above the held-out loss that they had in one pass, whose smallest size allowed 20.
WARMUP_STEPS = 20
HELD_OUT_BLOCKS = 16  # some 4,000 tokens; each look costs what two steps do
HELD_OUT_SEED = 0  # the same masks whatever the run's seed, so that losses compare
HEAD_STEPS = 40
HEAD_BLOCKS_A_STEP = 4
HEAD_LEARNING_RATE = 1e-3
HEAD_PASS = 1 << 20  # numbers the masks of the head's warm-up apart from those of any pass
MASKED, RANDOM = 0.8, 0.1  # of the chosen tokens; the rest stays (Devlin et al. 2019, section 3.1)


@dataclass(frozen=True)
class Recipe:
    """How to tune; with the texts and sizes it decides the weights.

    ``passes`` above 1 repeats the corpus, and then each size is tuned by itself. ``blocks_a_step``
    of 0 takes as many as leave the smallest size ``MIN_STEPS`` steps, 8 at most. A finished encoder
    has the weights that lie this share, ``tuned_share``, of the way from the factory's to the tuned
    ones (Wortsman et al. 2022, arXiv 2109.01903): halfway keeps most of what tuning brings, and
    loses little of what the trees read in the factory embedding (docs/LOG.md).
    """

    learning_rate: float = 1e-4
    mask_share: float = 0.2
    decay_share: float = 0.2
    passes: int = 1
    blocks_a_step: int = 0
    micro_blocks: int = 4
    whole_words: bool = False
    tuned_share: float = 0.5
    precision: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Rows:
    """Blocks, and what decides their masks."""

    blocks: Blocks
    recipe: Recipe
    tokenizer: Any


def fewest_documents(
    encoder: Encoder, texts: Sequence[str], recipe: Recipe
) -> tuple[int | None, int]:
    """Find how many of some texts a size takes for the ``MIN_STEPS`` that ``schedule`` asks for.

    Args:
        encoder: gives the tokenizer and the length of a block.
        texts: in nested order.
        recipe: gives passes, and the blocks of a step.

    Returns:
        That number, None where even all are too few; and the steps that so many, or all, give.
    """
    room, tokens, steps = packing.block_tokens(encoder) - 1, 0, 0
    for start in range(0, len(texts), COUNT_AT_ONCE):
        some = texts[start : start + COUNT_AT_ONCE]
        found = token_ids(encoder, some, special=False, max_tokens=None)
        for number, ids in enumerate(found, start + 1):
            tokens += len(ids) + 1  # each text is closed by the separator
            blocks = math.ceil(tokens / room)
            steps = recipe.passes * math.ceil(blocks / (recipe.blocks_a_step or 1))
            if steps >= MIN_STEPS:
                return number, steps
    return None, steps


def schedule(blocks: Blocks, sizes: Sequence[int], recipe: Recipe) -> Schedule:
    """Lay the steps over the blocks; no step reaches across the end of a size.

    Raises:
        InputError: the smallest size gives fewer than ``MIN_STEPS`` steps.
    """
    count = blocks_a_step(blocks, recipe)
    steps: list[tuple[int, int, int]] = []
    ends = []
    for number in range(recipe.passes):
        start = 0
        for end in blocks.ends:
            steps += [(number, at, min(at + count, end)) for at in range(start, end, count)]
            start = end
            ends.append(len(steps))
    ends = ends[-len(sizes) :]
    if ends[0] < MIN_STEPS:
        raise InputError(
            f"{sizes[0]} documents that give {ends[0]} steps of {count} blocks",
            f"at least {MIN_STEPS} steps for the smallest size",
            "make the smallest size larger (about "
            f"{math.ceil(sizes[0] * MIN_STEPS / ends[0])} documents), or raise passes",
        )
    leaves = [end - max(1, round(recipe.decay_share * end)) for end in ends]
    return Schedule(tuple(steps), tuple(leaves), tuple(ends), min(WARMUP_STEPS, leaves[0] // 2))


def blocks_a_step(blocks: Blocks, recipe: Recipe) -> int:
    """Take the recipe's number, or the largest that leaves the smallest size enough steps."""
    if recipe.blocks_a_step:
        return recipe.blocks_a_step
    return max(1, min(MAX_BLOCKS_A_STEP, blocks.ends[0] * recipe.passes // MIN_STEPS))


def masked(blocks: Blocks, row: int, number: int, recipe: Recipe, tokenizer: Any) -> Masked:
    """Mask one block, as a pure function of seed, pass and row: resumed runs mask alike.

    Args:
        blocks: of which ``row`` is masked.
        row: number of the block.
        number: of the pass.
        recipe: gives share, seed, and whether whole words are masked.
        tokenizer: gives the mask token, the vocabulary, and what is never masked.

    Returns:
        The block with its masks (t,), the masked positions (m,), and what stood there (m,).
    """
    tokens = np.asarray(blocks.tokens[row], np.int64)
    random = np.random.Generator(np.random.Philox(key=[recipe.seed, (number << 40) + row]))
    free = np.flatnonzero(~np.isin(tokens, tokenizer.all_special_ids))
    wanted = max(1, round(recipe.mask_share * len(free)))
    if blocks.starts is None:
        positions = np.sort(random.permutation(free)[:wanted])
    else:
        word = np.cumsum(blocks.starts[row])[free]
        order = random.permutation(np.unique(word))
        sizes = np.bincount(word)[order]
        taken = order[: 1 + int(np.searchsorted(np.cumsum(sizes), wanted))]
        positions = free[np.isin(word, taken)]
    labels = tokens[positions]
    draw = random.random(len(positions))
    others = random.integers(len(tokenizer), size=len(positions))
    changed = np.where(draw < MASKED, tokenizer.mask_token_id, labels)
    tokens[positions] = np.where((draw >= MASKED) & (draw < MASKED + RANDOM), others, changed)
    return tokens, positions, labels


def lay_out(
    encoder: Encoder,
    examples: Examples,
    recipe: Recipe,
    *,
    pack: Callable[..., Blocks] = packing.pack,
) -> Laid:
    """Pack the texts into blocks, and lay the steps over them.

    Args:
        encoder: gives the tokenizer and the length of a block.
        examples: texts, sizes, and texts held out.
        recipe: decides masks and steps.
        pack: takes what ``packing.pack`` takes.

    Raises:
        InputError: the smallest size gives too few steps.
    """
    sizes, tokenizer = examples.sizes, encoder.model.tokenizer
    blocks = pack(encoder, examples.texts, sizes, whole_words=recipe.whole_words)
    plan = schedule(blocks, sizes, recipe)
    apart = None
    if len(examples.held_out):
        unseen = pack(encoder, examples.held_out, [len(examples.held_out)])
        end, at_once = min(HELD_OUT_BLOCKS, len(unseen.tokens)), recipe.micro_blocks
        alike = dataclasses.replace(recipe, seed=HELD_OUT_SEED, whole_words=False)
        steps = [(0, at, min(at + at_once, end)) for at in range(0, end, at_once)]
        apart = HeldOut(Rows(unseen, alike, tokenizer), steps)
    return Laid(
        rows=Rows(blocks, recipe, tokenizer),
        plan=plan,
        tokens=blocks.counts,
        row_size=blocks.tokens.shape[1],
        rows_at_once=recipe.micro_blocks,
        warm_up=WarmUp(_head_steps(blocks.head), HEAD_LEARNING_RATE),
        held_out=apart,
    )


def _head_steps(rows: int) -> list[list[tuple[int, int]]]:
    """List pass and row of the blocks that each step of a head's warm-up takes, in turn."""
    places = [
        range(step * HEAD_BLOCKS_A_STEP, (step + 1) * HEAD_BLOCKS_A_STEP)
        for step in range(HEAD_STEPS)
    ]
    return [[(HEAD_PASS + at // rows, at % rows) for at in step] for step in places]


def _example(rows: Rows, row: int, number: int) -> Masked:
    return masked(rows.blocks, row, number, rows.recipe, rows.tokenizer)


def _batch(rows: Rows, made: Sequence[Masked]) -> dict[str, torch.Tensor]:
    return masked_model.stacked(made, rows.tokenizer)


def _count(made: Sequence[Masked]) -> int:
    return sum(len(labels) for _, _, labels in made)


def _opened(encoder: Encoder, laid: Laid, recipe: Recipe) -> Opened:
    """Open the model, and see whether its head works on masked positions alone."""
    model, lacking = masked_model.open_model(encoder)
    precisions.attend_plainly(model, loop.precision(recipe.precision))
    agrees = masked_model.masked_only_agrees(model, _example(laid.rows, 0, 0), laid.rows.tokenizer)
    if not agrees:
        warnings.warn(
            f"{encoder.name}: its head does not work on masked positions alone; the full "
            "vocabulary is predicted for every token, which takes longer",
            stacklevel=2,
        )
    loss = functools.partial(masked_model.summed_loss, masked_only=agrees)
    count = blocks_a_step(laid.rows.blocks, recipe)
    return Opened(model, loss, lacking, {"masked_only": agrees, "blocks_a_step": count})


def _groups(model: Any, recipe: Recipe) -> list[Group]:
    return [Group(list(model.parameters()), recipe.learning_rate)]


def _alike(encoder: Encoder, texts: Sequence[str], smallest: int, recipe: Recipe) -> Recipe:
    """Take the batch of a study's smallest size."""
    count = blocks_a_step(packing.pack(encoder, texts, [smallest]), recipe)
    return dataclasses.replace(recipe, blocks_a_step=count)


def _put_back_share(model: Any, encoder: Encoder, recipe: Recipe) -> Any:
    return masked_model.put_back(model, encoder, recipe.tuned_share)


OBJECTIVE = Objective(
    label="masked words",
    recipe=Recipe,
    lay_out=lay_out,
    open_model=_opened,
    example=_example,
    batch=_batch,
    groups=_groups,
    put_back=_put_back_share,
    count=_count,
    alike=_alike,
)


def token_rates(
    encoder: Encoder, texts: Sequence[str], recipe: Recipe, timings: int
) -> list[float]:
    """Time some steps on some texts, for the plan of a study; nothing is kept of them.

    Returns:
        Tokens a second of each step, after one that sets up the machine's libraries.
    """
    blocks = packing.pack(encoder, texts, [len(texts)], whole_words=recipe.whole_words)
    model, _ = masked_model.open_model(encoder)
    dtype = loop.precision(recipe.precision)
    precisions.attend_plainly(model, dtype)
    tokenizer = encoder.model.tokenizer
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)
    rows = range(min(recipe.micro_blocks, len(blocks.tokens)))
    made = [masked(blocks, row, 0, recipe, tokenizer) for row in rows]
    agrees = masked_model.masked_only_agrees(model, made[0], tokenizer)
    rates = []
    for _ in range(1 + timings):
        began = time.monotonic()
        with torch.autocast(device().type, dtype, enabled=dtype != torch.float32):
            loss = masked_model.summed_loss(
                model, masked_model.stacked(made, tokenizer), masked_only=agrees
            )
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        if device().type == "cuda":
            torch.cuda.synchronize()
        rates.append(len(rows) * blocks.tokens.shape[1] / (time.monotonic() - began))
    return rates[1:]
