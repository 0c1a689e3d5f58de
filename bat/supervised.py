"""The sceptic's arm: the encoder fine-tuned end to end on the prices, with no word masked.

A linear head on the embedding predicts the log price; head and encoder learn together from the
training rows. What the labels alone would buy, beside what the bare texts buy.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from bat import encoder, mlm
from bat.encoder import Encoder

# Devlin et al. 2019, appendix A.3: 2 to 4 passes, batches of 16 or 32, rates from 2e-5 to 5e-5.
PASSES = 3
BATCH_TEXTS = 32
LEARNING_RATE = 5e-5
WARMUP_SHARE = 0.1  # of the steps; there it is 10,000 steps of pre-training, and 0.1 by convention
HEAD_LEARNING_RATE = 1e-2  # its weights are of order 1 to 10, since embeddings have length 1
RIDGE_PENALTY = 1.0
SORTED_BATCHES = 16  # batches whose texts are sorted by length together, so that padding is rare

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


def predict(
    base: Encoder,
    texts: Sequence[str],
    prices: npt.ArrayLike,
    train: Rows,
    *,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Floats:
    """Fine-tune a copy of the encoder with a price head, and predict every row.

    The head starts where ridge regression on the factory embeddings ends, so that its first
    gradients do not tear the encoder apart. Passes, rate and batch are fixed: nothing is chosen by
    another part's prices.

    Args:
        base: the factory encoder; it is not changed.
        texts: n strings.
        prices: n positive prices; those outside ``train`` are not looked at.
        train: indices of the training rows.
        seed: of the order.
        progress: called after each batch with the number of texts it held.

    Returns:
        Shape (n,); medians, as the exponential of a predicted mean log price is.

    Source:
        Linear probing, then fine-tuning: Kumar et al. 2022, arXiv 2202.10054.
    """
    logs = np.log(np.asarray(prices, np.float64)[train])
    centre, scale = float(logs.mean()), float(logs.std()) or 1.0
    targets = torch.tensor((logs - centre) / scale, dtype=torch.float32)
    tuned = dataclasses.replace(base, model=copy.deepcopy(base.model))
    ids = encoder.tokenise(tuned, [texts[row] for row in train])
    head = _probe(encoder.encode(base, [texts[row] for row in train]), targets)
    _train(tuned, head, ids, targets, seed, progress)
    with torch.no_grad():
        rows = torch.from_numpy(encoder.encode(tuned, texts))
        outputs = head(rows.to(encoder.device())).squeeze(1).cpu().numpy().astype(np.float64)
    predicted: Floats = np.exp(np.clip(outputs * scale + centre, logs.min(), logs.max()))
    return predicted


def _probe(rows: encoder.Embeddings, targets: torch.Tensor) -> torch.nn.Linear:
    """Fit ridge regression to the factory embeddings (n, d), as a layer to start from."""
    x, y = rows.astype(np.float64), targets.numpy().astype(np.float64)
    middle = x.mean(axis=0)
    gram = (x - middle).T @ (x - middle) + RIDGE_PENALTY * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, (x - middle).T @ (y - y.mean()))
    head = torch.nn.Linear(x.shape[1], 1)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weights)[None])
        head.bias.fill_(float(y.mean() - middle @ weights))
    return head.to(encoder.device())


def _train(
    tuned: Encoder,
    head: torch.nn.Linear,
    ids: list[encoder.Ids],
    targets: torch.Tensor,
    seed: int,
    progress: Callable[[int], None],
) -> None:
    """Train encoder and head on the squared error; dropout is off, as in the other tuning."""
    mlm.attend_plainly(encoder.transformer(tuned.model), "auto")
    parameters = list(tuned.model.parameters())
    groups = [
        {"params": parameters, "rate": LEARNING_RATE},
        {"params": list(head.parameters()), "rate": HEAD_LEARNING_RATE},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, fused=True)
    batches = [batch for number in range(PASSES) for batch in _batches(ids, (seed, number))]
    warmup = math.ceil(WARMUP_SHARE * len(batches))
    dtype = mlm.precision("auto")
    for step, batch in enumerate(batches):
        with torch.autocast(encoder.device().type, dtype, enabled=dtype != torch.float32):
            rows = encoder.pooled(tuned, [ids[index] for index in batch])  # (b, d)
        outputs = head(rows.float()).squeeze(1)
        wanted = targets[batch].to(outputs.device)
        torch.autograd.backward(torch.nn.functional.mse_loss(outputs, wanted))
        torch.nn.utils.clip_grad_norm_(parameters, mlm.MAX_GRADIENT_NORM)
        share = min((step + 1) / warmup, (len(batches) - step) / (len(batches) - warmup + 1))
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * share
        optimizer.step()
        optimizer.zero_grad()
        progress(len(batch))


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
