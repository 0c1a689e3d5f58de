"""Texts as full rows of an encoder's input length: blocks, packed once and shared between runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bat import units
from bat.models.encoder import Encoder, token_ids, tokenizer_digest

# Attention grows with the square of a block, and long blocks leave a small corpus too few steps.
MAX_BLOCK_TOKENS = 512
HEAD_DOCUMENTS = 256  # the smallest size allowed, so every size has seen them


@dataclass(frozen=True)
class Blocks:
    """Texts cut into rows of the encoder's input length, nothing dropped.

    ``tokens`` is int32 of shape (b, length), padded only in the last row of each size;
    ``starts`` is True where a word begins, None unless whole words are masked.
    ``ends[i]`` counts the rows, ``counts[i]`` the tokens of the texts, of the i-th size.
    """

    tokens: npt.NDArray[np.int32]
    starts: npt.NDArray[np.bool_] | None
    ends: tuple[int, ...]
    counts: tuple[int, ...]
    head: int  # rows that lie within the first HEAD_DOCUMENTS texts


def pack(
    encoder: Encoder, texts: Sequence[str], sizes: Sequence[int], *, whole_words: bool = False
) -> Blocks:
    """Cut texts into blocks, starting a new one at each size, so that a size sees its texts alone.

    A block is the start token, then texts, each closed by the separator; a text may run on into
    the next block. The rows lie in a memory-mapped file that later runs share.

    Args:
        encoder: gives the tokenizer and the length of a block.
        texts: in nested order.
        sizes: rising numbers of texts; the last one may be below ``len(texts)``.
        whole_words: also note where words start.
    """
    length = block_tokens(encoder)
    used = texts[: sizes[-1]]
    tokenizer = encoder.model.tokenizer
    unit = units.unit(
        units.BLOCKS,
        texts=units.digest(used),
        sizes=list(sizes),
        tokenizer=tokenizer_digest(tokenizer),
        special=[*end_tokens(tokenizer), tokenizer.pad_token_id, *tokenizer.all_special_ids],
        length=length,
        whole_words=whole_words,
    )
    folder = units.build(
        unit, lambda empty: _pack(encoder, used, sizes, length, whole_words, empty)
    )
    tokens = np.load(folder / "tokens.npy", mmap_mode="r")
    starts = np.load(folder / "starts.npy", mmap_mode="r") if whole_words else None
    ends, counts, head = np.load(folder / "counts.npy").reshape(3, -1).tolist()
    return Blocks(tokens, starts, tuple(ends), tuple(counts), head[0])


def block_tokens(encoder: Encoder) -> int:
    """Tell how long the blocks are that an encoder is tuned on."""
    return min(encoder.max_tokens, MAX_BLOCK_TOKENS)


def _pack(
    encoder: Encoder,
    texts: Sequence[str],
    sizes: Sequence[int],
    length: int,
    whole_words: bool,
    folder: Path,
) -> None:
    """Write tokens.npy, starts.npy and counts.npy, holding little more than one block at a time."""
    tokenizer = encoder.model.tokenizer
    first, last = end_tokens(tokenizer)
    pad = tokenizer.pad_token_id
    ends, counts = [], []
    stream: list[int] = []
    rows = content = head = 0
    room = length - 1
    with (folder / "tokens").open("wb") as file:
        for number, ids in enumerate(token_ids(encoder, texts, special=False, max_tokens=None), 1):
            stream += [*ids, last]
            content += len(ids)
            flush = number in sizes
            while len(stream) >= room or (flush and stream):
                row, stream = stream[:room], stream[room:]
                np.asarray([first, *row, *[pad] * (room - len(row))], np.int32).tofile(file)
                rows += 1
            if number <= min(HEAD_DOCUMENTS, sizes[0]):
                head = rows
            if flush:
                ends.append(rows)
                counts.append(content)
    tokens = np.memmap(folder / "tokens", np.int32, "r", shape=(rows, length))
    np.save(folder / "tokens.npy", tokens)
    if whole_words:
        np.save(folder / "starts.npy", _word_starts(tokenizer)[tokens])
    (folder / "tokens").unlink()
    np.save(folder / "counts.npy", np.asarray([ends, counts, [max(1, head)] * len(ends)]))


def end_tokens(tokenizer: Any) -> tuple[Any, Any]:
    """Find the ids of the tokens that open a block and close a text; None where there is none."""
    first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    last = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    return first, last


def _word_starts(tokenizer: Any) -> npt.NDArray[np.bool_]:
    """Tell for each id of the vocabulary whether a word starts there.

    WordPiece marks what continues a word (``##``); SentencePiece and byte-level BPE mark what
    starts one (``▁``, ``Ġ``). A vocabulary with none of these has only whole words. Special tokens
    count as starts, so that the first word of a text, unmarked in BPE, never joins the text before.
    """
    words = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    words = [word or "" for word in words]
    if any(word.startswith("##") for word in words):
        starts = [not word.startswith("##") for word in words]
    elif any(word.startswith(("▁", "Ġ")) for word in words):
        starts = [word.startswith(("▁", "Ġ")) for word in words]
    else:
        starts = [True] * len(words)
    found = np.asarray(starts)
    found[tokenizer.all_special_ids] = True
    return found
