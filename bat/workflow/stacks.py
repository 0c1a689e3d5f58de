"""What a stack on an embedding predicts: its task, and how its folder is read."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bat.models import regressor, stack
from bat.models.predictors import STACK, Stack
from bat.models.stack import Chosen, Material, Reader
from bat.workflow import stages
from bat.workflow.preparation import Prepared
from bat.workflow.tasks import Context

READER = "reader"


def evaluation(
    context: Context, arguments: Mapping[str, Any], needs: Sequence[Path], folder: Path
) -> None:
    """Choose what a stack reads, search its trees on the training rows, and predict all rows.

    Needs the shards of each encoder that it reads, as an evaluation does.
    """
    count = arguments["shards"]
    embeddings = [needs[at : at + count] for at in range(0, len(needs), count)]
    rows = stages.joined(context.prepared.corpus.texts, embeddings)
    what = f"words + {arguments['what']}"
    _fill(rows, context.prepared, context.spec.trials, arguments["seed"], what, folder)
    reader, trees = read_reader(folder), regressor.load(folder)
    beside = context.base if len(embeddings) > 1 else None
    made = Stack(reader, trees, *((context.base, beside) if reader.embeds else (None, None)))
    stages.write_cost(STACK, made, context.prepared, folder)


def _fill(
    rows: npt.NDArray[np.float32],
    prepared: Prepared,
    trials: int,
    seed: int,
    what: str,
    folder: Path,
) -> None:
    began, train = time.monotonic(), prepared.rows("train")
    material = laid_out(rows, prepared, seed)
    chosen = stack.choose(material, train)
    stack.save(stack.reader(material, train, chosen), folder / READER)
    fixed, learnt = stack.features(material, chosen), stack.columns(material, chosen)
    stages.evaluate(fixed, prepared, trials, seed, what, folder, learnt, began=began)


def laid_out(rows: npt.NDArray[np.float32], prepared: Prepared, seed: int) -> Material:
    """Lay out what a stack is made from: all rows of a corpus, (n, d) their embeddings."""
    loaded = prepared.corpus
    return Material(loaded.texts, rows, loaded.prices, loaded.group_ids, seed)


def read_reader(folder: Path) -> Reader:
    """Read what a stack reads of a text, from the folder that ``evaluation`` has filled."""
    return stack.load(folder / READER)


def chosen_again(known: Reader, material: Material) -> Chosen:
    """Keep the parts that a stack was found to use."""
    return Chosen(known.uses, known.errors, known.numbers)
