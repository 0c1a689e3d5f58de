"""Numbers of a text as columns: one for each word beside them, whatever the spelling."""

import numpy as np
import pytest

from bat.models import numbers
from bat.models.numbers import Numbers

MILES, AFTER_OF, ANY = ("number", "before", "miles"), ("number", "after", "of"), ("number",)


@pytest.mark.parametrize(
    "spelt", ["41,000", "41.000", "41 000", "41\u202f000", "41'000", "41k", "41K", "41 thousand"]
)
def test_spellings_of_a_number_are_one_number_at_one_word(spelt):
    read = Numbers((MILES, AFTER_OF)).read([f"A run of {spelt} miles", "No miles"])
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, [[41_000, 41_000], [np.nan, np.nan]])


def test_the_first_number_at_a_word_counts():
    read = Numbers((ANY, MILES)).read(["A 1999 van, 12 miles, then 30 miles", "30 miles"])
    np.testing.assert_array_equal(read, [[1999, 12], [30, 30]])


def test_columns_are_the_words_that_most_texts_have_beside_a_number():
    texts = [f"van {n}, {n} miles" for n in range(30)] + ["red 7 doors"] * 19 + ["1 wheel"] * 21
    found = numbers.fit(texts)
    assert found.anchors[0] == ANY  # of all 70
    words = {each[1:] for each in found.anchors[1:]}
    assert words == {
        ("after", "van"),
        ("before", "miles"),
        ("before", "wheel"),
        ("before", "(number)", "miles"),  # of the first, which has no word of its own behind it
        ("after", "van", "(number)"),
    }


def test_two_words_tell_numbers_apart_that_one_does_not():
    texts = [f"paint {n} mils front, trunk {100 + n} mils front" for n in range(30)]
    found = numbers.fit(texts)
    place = found.anchors.index(("number", "after", "front", "trunk"))
    np.testing.assert_array_equal(found.read(texts)[:, place], 100 + np.arange(30))
    assert numbers.fit(texts[::-1]) == found


def test_a_text_counts_once_for_a_word():
    assert numbers.fit(["1 mile " * 30] + ["2 mile"] * 18).anchors == ()


def test_there_are_no_more_columns_than_the_most():
    letters = "abcdefghijklmnopqrstuvwxyz"
    texts = [f"{a}{b}x 1" for a in letters[:12] for b in letters[:12] for _ in range(20)]
    assert len(numbers.fit(texts).anchors) == numbers.MOST_COLUMNS


def test_dates_in_figures_are_one_number():
    anchors = numbers.fit([f"sold 12/03/{2000 + n}" for n in range(20)]).anchors
    assert anchors == (("date",), ("date", "after", "sold"))


def test_a_number_beyond_float32_is_its_largest():
    read = Numbers((ANY,)).read(["9" * 400])
    assert read[0, 0] == np.finfo(np.float32).max


def test_texts_without_numbers_have_no_columns():
    assert numbers.fit(["red"] * 30).read(["red", "7 red"]).shape == (2, 0)


def test_what_was_saved_reads_the_same(tmp_path):
    made = numbers.fit([f"价格 {n} 元, {n} miles" for n in range(30)])
    numbers.save(made, tmp_path / "numbers")
    assert numbers.load(tmp_path / "numbers") == made


@pytest.mark.parametrize("content", [None, "{", "3", "[3]"])
def test_a_damaged_file_is_refused(content, tmp_path):
    if content is not None:
        (tmp_path / "numbers.json").write_text(content)
    with pytest.raises(ValueError, match="got no numbers in"):
        numbers.load(tmp_path / "numbers")
