"""Four working hypotheses about fine-tuning: two judged by a number, two by the curve's shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bat.stats import families, learning_curve
from bat.stats.bootstrap import Interval
from bat.stats.learning_curve import Scores

TANGIBLE = 0.01  # of the factory's MAE: the smallest gain that whole per cents can show
MODEST = 0.25  # of the factory's R²: the bound that the working hypothesis names
FEWEST_SIZES = 4  # for a shape: with three a bend and one unlucky arm look alike
MOST = 0.75  # of the gain, at the smallest size: a jump (convention)
EARLY = "the share of the gain that the smallest size brings; no further rise with size is shown"
LEVEL = 0.025  # of each test of a shape (convention): one tail of a 95 % interval
GRID = 60  # shapes tried of each saturating family, evenly in their logarithm: steps of some 10 %
TITLES = {"mae": "MAE", "medae": "MedAE"}
HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot tell"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """A working hypothesis and the number that decides it."""

    name: str  # H1 to H4
    claim: str
    verdict: str  # holds, does not hold, cannot tell
    number: Interval | None
    reason: str


@dataclass(frozen=True)
class _Compared:
    """A curve compared with a line and with saturation; p: one-sided, of a test by simulation."""

    halfway: Interval | None  # share of the change made halfway; None: no improvement is shown
    line_bent: float  # p of a line that seems to saturate as much
    line_hollow: float  # p of a line that seems to saturate as little
    line_missed: float  # p of a line that scores scatter around as much
    curve_straight: float  # p of a saturating curve that seems to saturate as little
    curve_missed: float  # p of a saturating curve that scores scatter around as much


def hypotheses(
    scores: Mapping[str, Scores],
    *,
    margin: float = learning_curve.MARGIN,
) -> tuple[Verdict, ...]:
    """Put four working hypotheses about fine-tuning to the test of one study.

    H1, a tangible gain: 1 % of the factory's MAE or more. H2, a modest gain: under 25 % of the
    factory's R². H3, R² jumps early and saturates; H4, errors fall linearly: a line against the
    saturating families (a power law; an exponential whose scale is at most the full size), each
    test at 2.5 %. H3 holds where a rise with size is shown, a line is rejected and saturation is
    not; also where no such rise is shown and the smallest size is shown to bring three quarters of
    the gain (or all but the margin). H4 holds where a fall is shown, saturation is rejected and a
    line is not. A curve that bends less than those families may pass for a line.

    Args:
        scores: ``r2``, ``mae`` and ``medae`` of ``resample``.
        margin: share of the gain that one may forgo.

    Returns:
        H1, H2, H3, H4 for MAE and H4 for MedAE.
    """
    return (
        _tangible(scores["mae"]),
        _modest(scores["r2"]),
        saturates(scores["r2"], margin=margin),
        falls_linearly(scores["mae"]),
        falls_linearly(scores["medae"]),
    )


def _gain(scores: Scores, *, size: int = -1) -> Floats:
    """Gain of a size, the full one, over the factory encoder (1 + draws,); above 0 is better."""
    gain = scores.factory - scores.sizes[:, size]
    return -gain if scores.name.startswith("r2") else gain


def _sided(number: Interval, bound: float) -> str:
    """Say whether a number is above a bound."""
    if number.low >= bound:
        return HOLDS
    return FAILS if number.high < bound else OPEN


def _tangible(scores: Scores) -> Verdict:
    number = learning_curve.interval(_gain(scores) / scores.factory)
    reason = f"the gain in MAE as a share of the factory's, against {TANGIBLE:.0%}"
    claim = "fine-tuning brings a tangible gain"
    return Verdict("H1", claim, _sided(number, TANGIBLE), number, reason)


def _modest(scores: Scores) -> Verdict:
    claim = f"the gain is modest: under {MODEST:.0%} of the factory's R²"
    gain = _gain(scores)
    if scores.few_rows:
        return Verdict("H2", claim, OPEN, None, "a few rows decide R²: it has no interval")
    number = _relative(gain, scores.factory)
    if number is None:
        return Verdict("H2", claim, OPEN, None, "the factory's R² may be 0: no share of it")
    if not learning_curve.gained(gain):
        return Verdict("H2", claim, OPEN, number, "no gain in R² is established")
    verdict = {HOLDS: FAILS, FAILS: HOLDS, OPEN: OPEN}[_sided(number, MODEST)]
    return Verdict("H2", claim, verdict, number, "the gain in R² as a share of the factory's")


def saturates(scores: Scores, *, margin: float = learning_curve.MARGIN) -> Verdict:
    """Judge H3: see ``hypotheses``."""
    claim = "R² jumps early and saturates"
    found = _compared(scores)
    if found is None:
        return Verdict("H3", claim, OPEN, None, _too_few(scores))
    if not found.halfway and (share := _early(scores, margin)):
        return Verdict("H3", claim, HOLDS, share, EARLY)
    verdict = OPEN
    if found.line_bent > LEVEL:
        verdict = FAILS if found.curve_straight <= LEVEL else OPEN
    elif found.halfway and min(found.curve_straight, found.curve_missed) > LEVEL:
        verdict = HOLDS
    return Verdict("H3", claim, verdict, found.halfway, _told(found))


def falls_linearly(scores: Scores) -> Verdict:
    """Judge H4 for one of the errors: see ``hypotheses``."""
    claim = f"{TITLES[scores.name]} falls linearly"
    found = _compared(scores)
    if found is None:
        return Verdict("H4", claim, OPEN, None, _too_few(scores))
    verdict = OPEN
    if min(found.line_bent, found.line_hollow) <= LEVEL:
        verdict = FAILS
    elif found.halfway and found.curve_straight <= LEVEL < found.line_missed:
        verdict = HOLDS
    return Verdict("H4", claim, verdict, found.halfway, _told(found))


def _early(scores: Scores, margin: float) -> Interval | None:
    """Give the share of the gain that the smallest size brings, where it is shown to be most."""
    gain = _gain(scores)
    if not learning_curve.gained(gain):
        return None
    share = learning_curve.interval(_gain(scores, size=0) / gain)
    return share if share.low >= min(MOST, 1 - margin) else None


def _too_few(scores: Scores) -> str:
    return f"{scores.documents.size} sizes; at least {FEWEST_SIZES} are needed"


def _told(found: _Compared) -> str:
    """Say what was compared, behind the number where there is one."""
    share = (
        "share of the change from the smallest to the full size that is made halfway, by a line 0.5"
        if found.halfway
        else "no improvement with size is shown"
    )
    bent, straight = (f"{p:.2g}" for p in (found.line_bent, found.curve_straight))
    return f"{share}; p of a line {bent}, of saturation {straight}"


def _compared(scores: Scores) -> _Compared | None:
    """Compare how well a line and saturation describe a curve; None with too few sizes.

    By how much saturation describes it better is compared with what that comes to in draws of the
    best line, and in draws of the best saturating curve, with the noise of the measured scores.

    Source:
        Cox 1962, "Further results on tests of separate families of hypotheses"; by simulation:
        Williams 1970, "Discrimination between regression models to determine the pattern of
        enzyme synthesis in synchronous cell cultures".
    """
    n = scores.documents
    if n.size < FEWEST_SIZES:
        return None
    y = _centred(families.falling(scores.sizes, scores.name.startswith("r2")))
    measured, noise = y[:1], y[1:] - y[1:].mean(axis=0)
    shapes, halfway = _shapes(n)  # the first is the line
    line, curves = shapes[:1], shapes[1:]

    def missed(lines: Floats) -> Floats:
        """Squares that line and saturation miss, and how much more the line: (3, lines)."""
        left = [np.square(lines - _closest(lines, each)[0]).sum(axis=1) for each in (line, curves)]
        return np.array([*left, left[0] - left[1]])

    found = missed(measured)
    on_line = missed(_closest(measured, line)[0] + noise)
    on_curve = missed(_closest(measured, curves)[0] + noise)
    falls = np.quantile(y[1:] @ line[0], learning_curve.TAILS[0]) > 0
    share = learning_curve.interval(halfway[_closest(y, shapes)[1]]) if falls else None
    return _Compared(
        halfway=share,
        line_bent=_p(on_line[2] >= found[2]),
        line_hollow=_p(on_line[2] <= found[2]),
        line_missed=_p(on_line[0] >= found[0]),
        curve_straight=_p(on_curve[2] <= found[2]),
        curve_missed=_p(on_curve[1] >= found[1]),
    )


def _p(as_far: npt.NDArray[np.bool_]) -> float:
    """Turn which draws are as far out as the measured scores into a p; that is never 0."""
    return float((1 + as_far.sum()) / (1 + as_far.size))


def _shapes(n: Floats) -> tuple[Floats, Floats]:
    """List a line and saturating curves, falling, centred and of norm 1.

    Returns:
        Shape (shapes, k); what share of its fall each has made halfway, shape (shapes,).
    """
    at = np.append(n, (n[0] + n[-1]) / 2)
    lines = [-at[None]]
    for name in families.SATURATING:
        family = families.FAMILIES[name]
        assert family.shapes
        low, high = family.shapes(n)
        if name == families.EXPONENTIAL:
            high = n[-1]  # one of a larger scale has not saturated within the sizes tried
        lines.append(family.basis(at, np.geomspace(low, high, GRID)[:, None]))
    every = np.vstack(lines)
    halfway = (every[:, 0] - every[:, -1]) / (every[:, 0] - every[:, -2])
    centred = _centred(every[:, :-1])
    unit: Floats = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return unit, halfway


def _centred(lines: Floats) -> Floats:
    """Take the mean out of each line: what level it has does not matter to its shape."""
    centred: Floats = lines - lines.mean(axis=1, keepdims=True)
    return centred


def _closest(lines: Floats, shapes: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Fit the best shape to each line by least squares: the fit (lines, k), and which it is."""
    fall = np.maximum(lines @ shapes.T, 0)
    best = fall.argmax(axis=1)
    fitted: Floats = fall.max(axis=1)[:, None] * shapes[best]
    return fitted, best


def _relative(gain: Floats, factory: Floats) -> Interval | None:
    """Divide by the factory's score, unless that may be 0: an R² near 0 makes no unit."""
    return (
        learning_curve.interval(gain / factory)
        if np.quantile(factory, learning_curve.TAILS[0]) > 0
        else None
    )
