"""The sceptic's arm: the encoder fine-tuned end to end on the prices, with no word masked.

A linear head on the embedding predicts the log price; head and encoder learn together from the
training rows. What the labels alone would buy, compared with what the bare texts buy.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bat import units
from bat.models import embedding, encoder
from bat.models.encoder import Encoder
from bat.models.predictors import EndToEnd
from bat.tuning import loop
from bat.tuning import precision as precisions
from bat.tuning.objective import (
    Examples,
    Group,
    Laid,
    Objective,
    Opened,
    Schedule,
    rise_and_fall,
)

# Devlin et al. 2019, appendix A.3: 2 to 4 passes, batches of 16 or 32, rates from 2e-5 to 5e-5.
PASSES = 3
BATCH_TEXTS = 32
LEARNING_RATE = 5e-5
WARMUP_SHARE = 0.1  # of the steps; there it is 10,000 steps of pre-training, and 0.1 by convention
WEIGHT_DECAY = 0.01  # there, and of torch's AdamW
HEAD_LEARNING_RATE = 1e-2  # its weights are of order 1 to 10, since embeddings have length 1
RIDGE_PENALTY = 1.0
SORTED_BATCHES = 16  # batches whose texts are sorted by length together, so that padding is rare

Numbers = npt.NDArray[np.int64]
Example = tuple[encoder.Ids, float]


@dataclass(frozen=True)
class Recipe:
    """What one tuning on targets may change."""

    seed: int = 0  # of the order
    precision: str = "auto"


@dataclass(frozen=True)
class Texts:
    """Texts as tokens, what to predict of each, and their order in each pass."""

    texts: Sequence[str]
    ids: Sequence[encoder.Ids]
    targets: npt.NDArray[np.float32]
    orders: Sequence[Sequence[int]]


class WithHead(torch.nn.Module):
    """An encoder and a linear layer on its embedding, in one module: processes share gradients."""

    def __init__(self, opened: Encoder, head: torch.nn.Linear) -> None:
        super().__init__()
        self.opened = opened
        self.encoder = opened.model
        self.head = head

    def forward(self, ids: list[encoder.Ids]) -> torch.Tensor:
        """Predict one number a text, shape (b,); the head computes in float32."""
        rows = encoder.pooled(self.opened, ids)  # (b, d)
        return self.score(rows)

    def score(self, rows: torch.Tensor) -> torch.Tensor:
        """Apply the head to embeddings (b, d); (b,)."""
        with torch.autocast(rows.device.type, enabled=False):
            outputs: torch.Tensor = self.head(rows.float()).squeeze(1)
        return outputs


def fit(
    base: Encoder,
    texts: Sequence[str],
    prices: npt.ArrayLike,
    train: Numbers,
    *,
    seed: int,
    checkpoint: units.Unit | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> EndToEnd:
    """Fine-tune a copy of the encoder with a price head on the training rows.

    The head starts where ridge regression on the factory embeddings ends, so that its first
    gradients do not tear the encoder apart. Passes, rate and batch are fixed: nothing is chosen by
    another part's prices.

    Args:
        base: the factory encoder; it is not changed.
        texts: n strings.
        prices: n positive prices; those outside ``train`` are not looked at.
        train: indices of the training rows.
        seed: of the order.
        checkpoint: the unit that the work is for; its state is kept in parts that the caller drops
            when all is done, so that a killed run goes on to the same bits. None, it is not kept.
        progress: called after each batch with the number of texts it held.

    Source:
        Linear probing, then fine-tuning: Kumar et al. 2022, arXiv 2202.10054.
    """
    logs = np.log(np.asarray(prices, np.float64)[train])
    centre, scale = float(logs.mean()), float(logs.std()) or 1.0
    targets = ((logs - centre) / scale).astype(np.float32)
    examples = Examples([texts[row] for row in train], [len(train)], targets=targets)
    (tuned,) = loop.finetune(
        OBJECTIVE,
        base,
        examples,
        Recipe(seed),
        checkpoint=checkpoint,
        progress=lambda done, loss: progress(done),
    )
    head = tuned.model.head
    weights, bias = (each.detach().cpu().numpy() for each in (head.weight, head.bias))
    ends = {"least": float(logs.min()), "most": float(logs.max())}
    return EndToEnd(tuned.model.opened, weights, bias, centre, scale, **ends)


def seconds_a_text(base: Encoder, texts: Sequence[str]) -> list[float]:
    """Time some batches on a copy of the encoder, for the plan of a study; nothing is kept.

    Returns:
        Seconds a text in each batch, after one that sets up the machine's libraries.
    """
    found, last = [], time.monotonic()

    def note(done: int, loss: torch.Tensor) -> None:
        nonlocal last
        found.append((time.monotonic() - last) / done)
        last = time.monotonic()

    targets = np.linspace(-1, 1, len(texts), dtype=np.float32)
    examples = Examples(texts, [len(texts)], targets=targets)
    list(loop.finetune(OBJECTIVE, base, examples, Recipe(seed=0), progress=note))
    return found[1:]


def lay_out(opened: Encoder, examples: Examples, recipe: Recipe) -> Laid:
    """Deal the texts out in random batches of like length, anew in each pass.

    Raises:
        ValueError: there are several sizes: their texts are not dealt out one after the other.
    """
    (size,) = examples.sizes
    assert examples.targets is not None
    texts = examples.texts[:size]
    ids = encoder.tokenise(opened, list(texts))
    orders: list[list[int]] = []
    steps: list[tuple[int, int, int]] = []
    for number in range(PASSES):
        order: list[int] = []
        for batch in _batches(ids, (recipe.seed, number)):
            steps.append((number, len(order), len(order) + len(batch)))
            order += batch
        orders.append(order)
    end = len(steps)
    return Laid(
        rows=Texts(texts, ids, examples.targets[:size], orders),
        plan=Schedule(steps, (end,), (end,), math.ceil(WARMUP_SHARE * end), rise_and_fall),
        tokens=(sum(map(len, ids)),),
        row_size=1,
        rows_at_once=BATCH_TEXTS,
    )


def _batches(ids: Sequence[encoder.Ids], seed: tuple[int, int]) -> Iterator[list[int]]:
    """Deal out one pass in random batches of texts of like length."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(ids)).tolist()
    found = []
    for start in range(0, len(order), BATCH_TEXTS * SORTED_BATCHES):
        span = order[start : start + BATCH_TEXTS * SORTED_BATCHES]
        span.sort(key=lambda index: len(ids[index]))
        found += [span[at : at + BATCH_TEXTS] for at in range(0, len(span), BATCH_TEXTS)]
    for index in random.permutation(len(found)):
        yield found[index]


def open_model(base: Encoder, laid: Laid, recipe: Recipe) -> Opened:
    """Put a head that ridge regression has fitted on a copy of the encoder."""
    opened = dataclasses.replace(base, model=copy.deepcopy(base.model))
    head = _probe(embedding.encode(base, laid.rows.texts), laid.rows.targets)
    transformer = encoder.transformer(opened.model)
    precisions.attend_plainly(transformer, loop.precision(recipe.precision))
    for name, parameter in transformer.named_parameters():
        if name.startswith("pooler."):  # no embedding uses it, and processes wait for its gradient
            parameter.requires_grad_(False)
    return Opened(WithHead(opened, head).eval(), squared_error)


def _probe(rows: embedding.Embeddings, targets: npt.NDArray[np.float32]) -> torch.nn.Linear:
    """Fit ridge regression to the factory embeddings (n, d), as a layer to start from."""
    x, y = rows.astype(np.float64), targets.astype(np.float64)
    middle = x.mean(axis=0)
    gram = (x - middle).T @ (x - middle) + RIDGE_PENALTY * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, (x - middle).T @ (y - y.mean()))
    head = torch.nn.Linear(x.shape[1], 1)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weights)[None])
        head.bias.fill_(float(y.mean() - middle @ weights))
    return head.to(encoder.device())


def _example(rows: Texts, row: int, number: int) -> Example:
    index = rows.orders[number][row]
    return rows.ids[index], float(rows.targets[index])


def _batch(rows: Texts, made: Sequence[Example]) -> tuple[list[encoder.Ids], torch.Tensor]:
    targets = torch.tensor([target for _, target in made], dtype=torch.float32)
    return [ids for ids, _ in made], targets.to(encoder.device())


def squared_error(model: Any, batch: tuple[list[encoder.Ids], torch.Tensor]) -> torch.Tensor:
    """Sum the squared errors of a batch, a scalar."""
    ids, targets = batch
    return torch.nn.functional.mse_loss(model(ids), targets, reduction="sum")


def _groups(model: WithHead, recipe: Recipe) -> list[Group]:
    """Let the head learn faster; its gradient, much the larger, does not clip the encoder's."""
    return [
        Group(list(model.encoder.parameters()), LEARNING_RATE, WEIGHT_DECAY),
        Group(list(model.head.parameters()), HEAD_LEARNING_RATE, WEIGHT_DECAY, clipped=False),
    ]


def _put_back(model: WithHead, base: Encoder, recipe: Recipe) -> WithHead:
    return model


OBJECTIVE = Objective(
    label="targets",
    recipe=Recipe,
    lay_out=lay_out,
    open_model=open_model,
    example=_example,
    batch=_batch,
    groups=_groups,
    put_back=_put_back,
    reads_targets=True,
)
