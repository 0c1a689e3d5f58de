"""Numbers as people write them."""

import pytest

from bat import formatting
from bat.stats import bootstrap


def test_small_prices_keep_their_decimals():
    assert formatting.number("mae", 15.678) == "15.68"
    assert formatting.number("mae", 15678.9) == "15,679"
    assert formatting.number("r2", 0.12345, sign=True) == "+0.123"
    assert formatting.interval("r2", bootstrap.Interval(0.5, 0.4, 0.6)) == "0.500 [0.400, 0.600]"


@pytest.mark.parametrize(
    ("ends", "written"),
    [
        ((25.69, -1050.0, 1107.0), "+26 [-1,050, +1,107]"),
        ((-0.208, -0.498, 0.0871), "-0.208 [-0.498, +0.087]"),
        ((0.00421, 0.0038, 0.0047), "+0.00421 [+0.00380, +0.00470]"),
        ((-0.2, -300.4, 0.0), "+0 [-300, +0]"),
        ((0.0, 0.0, 0.0), "+0.00 [+0.00, +0.00]"),
    ],
)
def test_an_interval_has_the_decimals_of_its_largest_number(ends, written):
    assert formatting.interval("mae", bootstrap.Interval(*ends), sign=True) == written


@pytest.mark.parametrize("low", [float("nan"), -0.1])
def test_a_number_without_an_interval_stands_alone(low):
    score = bootstrap.Interval(0.51234, low, float("nan"))
    assert formatting.ends(score) == (0.51234,)
    assert formatting.interval("r2", score) == "0.512"
    assert formatting.interval("mae", score, sign=True) == "+0.512"
    assert formatting.with_decimals(score, 1) == "0.5"
    assert formatting.ends(bootstrap.Interval(0.5, 0.4, 0.6)) == (0.5, 0.4, 0.6)
