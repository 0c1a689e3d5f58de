"""Sizes that a corpus and an encoder are large enough for, chosen to fit where none are named."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bat.cli import AUTO, MIN_DOCUMENTS, InputError
from bat.data import corpus, subsets
from bat.data.checks import Finding
from bat.models.encoder import Encoder
from bat.tuning import packing
from bat.tuning.objectives import mlm


def orders(loaded: corpus.Corpus, seeds: Sequence[int], finetune_on: str) -> list[list[str]]:
    """List for each seed the texts that may be tuned on, in its nested order."""
    found = [subsets.tuning_texts(loaded, seed=seed, finetune_on=finetune_on) for seed in seeds]
    return [[loaded.texts[row] for row in rows] for rows in found]


def sizes(
    base: Encoder,
    orders: Sequence[Sequence[str]],
    recipe: mlm.Recipe,
    wanted: str,
    *,
    parameter: str = "sizes",
) -> tuple[int, ...]:
    """Turn the sizes that a user names, or leaves to the program, into sizes that can be tuned.

    Args:
        base: the factory encoder.
        orders: for each seed the texts that may be tuned on, in nested order.
        recipe: of the tuning.
        wanted: as for ``cli.sizes``, or ``auto``.
        parameter: what the user calls them.

    Returns:
        Documents, rising; 0 is the factory encoder. Of ``auto`` it is 0 alone where nothing can be
        tuned (``untuned`` says why).

    Raises:
        InputError: a size is too small for the corpus's blocks and the recipe, or too large.
    """
    available = len(orders[0])
    if wanted == AUTO:
        fewest = _fewest(base, orders, recipe)
        return subsets.fitting_sizes(available, max(MIN_DOCUMENTS, fewest or available + 1))
    found = subsets.parse_sizes(wanted, available, parameter)
    smallest = next((size for size in found if size), None)
    if smallest is None:
        return found
    for texts in orders:
        enough, steps = mlm.fewest_documents(base, texts[:smallest], recipe)
        if enough is None:
            raise _too_few_steps(base, orders, recipe, f"{parameter}={wanted}", smallest, steps)
    return found


def _fewest(base: Encoder, orders: Sequence[Sequence[str]], recipe: mlm.Recipe) -> int | None:
    """Find the fewest documents that can be tuned on with every seed; None: all are too few."""
    found = [mlm.fewest_documents(base, texts, recipe)[0] for texts in orders]
    known = [each for each in found if each is not None]
    return max(known) if len(known) == len(found) else None


def _too_few_steps(
    base: Encoder,
    orders: Sequence[Sequence[str]],
    recipe: mlm.Recipe,
    given: str,
    smallest: int,
    steps: int,
) -> InputError:
    fewest = _fewest(base, orders, recipe)
    if fewest is not None:
        remedy = f"make the smallest size {max(MIN_DOCUMENTS, fewest):,} documents or more"
    else:
        passes = recipe.passes * math.ceil(mlm.MIN_STEPS / steps)
        remedy = f"give more data, or at least {passes} passes with each size tuned by itself"
    return InputError(
        f"{smallest:,} documents in {given}, which are {steps} steps of one block "
        f"({packing.block_tokens(base)} tokens)",
        f"at least {mlm.MIN_STEPS} steps for the smallest size: fewer say nothing about it",
        remedy,
    )


def untuned(base: Encoder, orders: Sequence[Sequence[str]], recipe: mlm.Recipe) -> Finding:
    """Say why ``auto`` has found no size that can be tuned."""
    available = len(orders[0])
    if available < MIN_DOCUMENTS:
        why = f"fewer than the {MIN_DOCUMENTS} that tuning takes"
    else:
        steps = min(mlm.fewest_documents(base, texts, recipe)[1] for texts in orders)
        why = (
            f"which give {steps} steps of one block ({packing.block_tokens(base)} tokens), fewer "
            f"than the {mlm.MIN_STEPS} that tuning takes"
        )
    message = (
        f"Nothing is tuned: there are {available:,} texts to tune on, {why}. The study compares "
        "the factory encoder with the baselines; whether tuning pays takes more data"
    )
    return Finding("nothing tuned", "warning", available, message)
