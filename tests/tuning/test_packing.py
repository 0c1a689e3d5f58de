"""Blocks: every token once, in order, whatever texts come later."""

import numpy as np
import pytest

from bat.tuning import packing
from tests.conftest import MAX_TOKENS


def content(opened, text):
    return opened.model.tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_every_token_is_in_the_blocks_once_and_in_order(encoder_of, texts, architecture):
    opened = encoder_of(architecture)
    words = opened.model.tokenizer
    blocks = packing.pack(opened, texts, [30, 31, 90])
    assert blocks.tokens.shape[1] == MAX_TOKENS
    first_text = first_row = 0
    for size, end, count in zip((30, 31, 90), blocks.ends, blocks.counts, strict=True):
        ids = [content(opened, text) for text in texts[first_text:size]]
        stream = [token for row in ids for token in (*row, words.sep_token_id)]
        rows = np.asarray(blocks.tokens[first_row:end])
        assert (rows[:, 0] == words.cls_token_id).all()
        flat = rows[:, 1:].ravel()
        assert flat[: len(stream)].tolist() == stream
        assert (flat[len(stream) :] == words.pad_token_id).all()
        assert len(flat) - len(stream) < MAX_TOKENS - 1  # padding in the last row alone
        assert count == sum(len(content(opened, text)) for text in texts[:size])
        first_text, first_row = size, end
    assert blocks.ends[-1] == len(blocks.tokens)  # nothing beyond the last size


def test_a_corpus_smaller_than_a_block_gives_one_block(tiny):
    blocks = packing.pack(tiny, ["red coupe", "green wagon"], [2])
    rows = tiny.model.tokenizer.convert_ids_to_tokens(blocks.tokens[0])
    start = ["[CLS]", "red", "coupe", "[SEP]", "green", "wagon", "[SEP]"]
    assert rows == start + ["[PAD]"] * (MAX_TOKENS - 7)
    assert (blocks.tokens.shape, blocks.ends, blocks.counts, blocks.head) == (
        (1, 32),
        (1,),
        (4,),
        1,
    )


def test_blocks_of_a_size_do_not_depend_on_later_texts(tiny, texts):
    short, long = (
        packing.pack(tiny, texts, [30]),
        packing.pack(tiny, texts[::-1][-90:][::-1], [30, 90]),
    )
    assert short.ends[0] == long.ends[0]
    assert (short.tokens == long.tokens[: long.ends[0]]).all()


def test_the_head_is_warmed_on_rows_of_the_first_documents(tiny, texts, monkeypatch):
    monkeypatch.setattr(packing, "HEAD_DOCUMENTS", 10)
    alone = sum(len(content(tiny, text)) + 1 for text in texts[:10])
    assert packing.pack(tiny, texts, [20, 40]).head == alone // (MAX_TOKENS - 1)
    assert packing.pack(tiny, texts, [5, 40]).head == packing.pack(tiny, texts, [5]).ends[0]
