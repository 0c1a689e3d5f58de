"""Embed texts, each distinct text once, side by side on a CPU's cores.

Side by side, 1.31 times as fast as ``SentenceTransformer.encode`` on two cores, with equal rows
(docs/LOG.md, benchmarks/embed.py).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from bat.models.encoder import Encoder, Ids, Progress, device, pooled, token_counts, tokenise

Embeddings = npt.NDArray[np.float32]

# Padded tokens a forward pass. Larger batches gain nothing on a CPU (1,024, 2,048 and 4,096 on each
# of two cores: 106, 110 and 109 texts/s); a GPU wants many more rows at once.
BATCH_TOKENS_CPU = 2048
BATCH_TOKENS_CUDA = 131072


def embed(encoder: Encoder, texts: Sequence[str]) -> Embeddings:
    """Embed every text, in input order; repeated texts are encoded once, cores side by side.

    Args:
        texts: n strings, none empty.

    Returns:
        float32, shape (n, dimension); row i belongs to ``texts[i]``.

    Raises:
        ValueError: a text is empty (its index is named), or a row is not finite.
    """
    refuse_empty(texts)
    distinct = list(dict.fromkeys(texts))
    ids = tokenise(encoder, distinct)
    grouped = list(batches([len(row) for row in ids]))
    rows = np.empty((len(distinct), encoder.dimension), np.float32)
    todo = ([ids[index] for index in batch] for batch in grouped)
    for batch, made in zip(grouped, _side_by_side(encoder, todo), strict=True):
        _refuse_infinite([distinct[index] for index in batch], made)
        rows[batch] = made
    if len(distinct) == len(texts):
        return rows
    place = {text: row for row, text in enumerate(distinct)}
    return rows[[place[text] for text in texts]]


def encode(encoder: Encoder, texts: Sequence[str]) -> Embeddings:
    """Embed a few texts, in input order, batch after batch: all cores share each.

    Raises:
        ValueError: a text is empty (its index is named).
    """
    return read(encoder, texts)[0]


def features(encoder: Encoder, factory: Encoder | None, texts: Sequence[str]) -> Embeddings:
    """Embed by ``embed``, with the rows of the factory encoder before those of the first, if given.

    Returns:
        float32, shape (n, dimensions of both).
    """
    rows = embed(encoder, texts)
    return rows if factory is None else np.hstack([embed(factory, texts), rows])


def read(
    encoder: Encoder, texts: Sequence[str], factory: Encoder | None = None
) -> tuple[Embeddings, npt.NDArray[np.bool_]]:
    """Embed like ``encode``, and tell of each text whether it is longer than the encoder reads.

    Args:
        encoder: the encoder.
        texts: n strings, none empty.
        factory: another with the same tokenizer, whose rows go before, as in ``features``.

    Raises:
        ValueError: a text is empty (its index is named).
    """
    refuse_empty(texts)
    both = (encoder,) if factory is None else (factory, encoder)
    rows = np.empty((len(texts), sum(each.dimension for each in both)), np.float32)
    ids = tokenise(encoder, list(texts))
    for batch in batches([len(row) for row in ids]):
        taken = [ids[index] for index in batch]
        rows[batch] = np.hstack([_forward(each, taken) for each in both])
    cut = np.array([len(row) >= encoder.max_tokens for row in ids], bool)  # or as long as may be
    full = np.flatnonzero(cut)
    cut[full] = token_counts(encoder, [texts[int(index)] for index in full]) > encoder.max_tokens
    return rows, cut


def refuse_empty(texts: Sequence[str]) -> None:
    """Refuse texts without any word.

    Raises:
        ValueError: a text is empty (its index is named).
    """
    for index, text in enumerate(texts):
        if not text.strip():
            raise ValueError(f"text {index} is empty")


def encode_batches(
    encoder: Encoder, grouped: Sequence[Sequence[str]], *, progress: Progress | None = None
) -> Embeddings:
    """Embed batches of texts, each padded to its longest; (rows, dimension), batch after batch.

    Raises:
        ValueError: a row is not finite.
    """
    ids = iter(tokenise(encoder, [text for batch in grouped for text in batch]))
    todo = [list(itertools.islice(ids, len(batch))) for batch in grouped]
    found = []
    for batch, rows in zip(grouped, _side_by_side(encoder, todo), strict=True):
        _refuse_infinite(batch, rows)
        found.append(rows)
        if progress:
            progress(len(batch))
    return np.concatenate(found)


def _refuse_infinite(texts: Sequence[str], rows: Embeddings) -> None:
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise ValueError(f"the embedding of {texts[int(bad.argmax())][:80]!r} is not finite")


def _side_by_side(encoder: Encoder, todo: Iterable[list[Ids]]) -> Iterator[Embeddings]:
    """Embed batches, in order; on a CPU each core takes a batch of its own.

    Cores that share a batch wait for each other after every product: 1,500 car auctions took 82 to
    101 texts/s together and 107 to 113 side by side, with the same bits.
    """
    cores = torch.get_num_threads()
    if device().type != "cpu" or cores == 1:
        yield from (_forward(encoder, ids) for ids in todo)
        return
    try:
        with ThreadPoolExecutor(cores, initializer=lambda: torch.set_num_threads(1)) as pool:
            yield from pool.map(functools.partial(_forward, encoder), todo)
    finally:
        torch.set_num_threads(cores)


def _batch_tokens() -> int:
    return BATCH_TOKENS_CUDA if device().type == "cuda" else BATCH_TOKENS_CPU


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Group texts of like length so that padding is rare, longest first (memory peaks at once).

    Args:
        lengths: tokens of each text.

    Yields:
        Indices of one batch; their number times the longest length stays within the budget.
    """
    budget = _batch_tokens()
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    start = 0
    while start < len(order):
        count = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count


def _forward(encoder: Encoder, ids: list[Ids]) -> Embeddings:
    """Embed one batch without gradients, on CUDA in bfloat16."""
    use_bf16 = device().type == "cuda"
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=use_bf16):
        rows = pooled(encoder, ids)
    return np.asarray(rows.float().cpu().numpy(), dtype=np.float32)
