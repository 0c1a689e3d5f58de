"""The end of an endless text is not tokenised, and changes nothing."""

import numpy as np
import pytest

from bat.models import embedding, encoder
from tests.conftest import ARCHITECTURES, sentences

PROSE = " ".join(sentences(60))
ENDLESS = {
    "prose": PROSE * 2,
    "blanks early": "1990" + " \n" * 2_000 + PROSE * 2,
    "blanks between": ("\t" * 500).join(sentences(20)),
    "one word": "coupe" * 2_000,
    "unknown words": "字" * 5_000,
    "punctuation": "-. " * 3_000,
    "digits": "1990" * 2_000,
    "a long word first": "x" * 1_000 + PROSE * 2,
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS.keys())
def test_the_beginning_of_a_text_is_read_like_all_of_it(encoder_of, architecture, text):
    opened = encoder_of(architecture)
    kept = encoder.beginning(opened, text)
    assert text.startswith(kept)
    for found, wanted in zip(
        embedding.read(opened, [kept]), embedding.read(opened, [text]), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_little_of_a_long_text_is_kept_and_all_of_a_short_one(tiny):
    assert len(encoder.beginning(tiny, PROSE * 500)) <= 64 * tiny.max_tokens
    assert encoder.beginning(tiny, sentences(1)[0]) == sentences(1)[0]
