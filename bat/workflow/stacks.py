"""What a stack on an embedding predicts: its task, and how its folder is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bat.models import predictors, stack
from bat.models.encoder import Encoder
from bat.models.predictors import STACK, Stack, TrainingData
from bat.models.stack import Chosen, Material, Reader
from bat.workflow import baselines, stages
from bat.workflow.preparation import Prepared
from bat.workflow.tasks import Context

READER = "reader"


def evaluation(
    context: Context, arguments: Mapping[str, Any], needs: Sequence[Path], folder: Path
) -> None:
    """Choose what a stack reads, search its trees on the training rows, and predict all rows.

    Needs the shards of each encoder that it reads, as an evaluation does.
    """
    embeddings = stages.by_embedding(needs, arguments["shards"])
    rows = stages.joined(context.prepared.corpus.texts, embeddings)
    what, spec, base = f"words + {arguments['what']}", context.spec, context.base
    data = baselines.training_data(
        what, base, context.prepared, spec.trials, arguments["seed"], folder, None
    )
    # A tuned encoder is as large and as fast as the factory's.
    made = _fill(data, rows, base if len(embeddings) > 1 else None, folder)
    stages.write_cost(STACK, made, context.prepared, folder)


def _fill(
    data: TrainingData, rows: npt.NDArray[np.float32], beside: Encoder | None, folder: Path
) -> Stack:
    """Fit a stack to the training rows, on embeddings (n, d), and keep its reader."""
    made = predictors.stacked(data.material(rows), data.train, data.search, data.base, beside)
    stack.save(made.reader, folder / READER)
    return made


def laid_out(rows: npt.NDArray[np.float32], prepared: Prepared, seed: int) -> Material:
    """Lay out what a stack is made from: all rows of a corpus, (n, d) their embeddings."""
    loaded = prepared.corpus
    return Material(loaded.texts, rows, loaded.prices, loaded.group_ids, seed)


def read_reader(folder: Path) -> Reader:
    """Read what a stack reads of a text, from the folder that ``evaluation`` has filled."""
    return stack.load(folder / READER)


def chosen_again(known: Reader) -> Chosen:
    """Keep the parts that a stack was found to use."""
    return Chosen(known.uses, known.errors, known.numbers)
