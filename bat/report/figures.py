"""Figures of a study's metrics: a curve over the documents tuned on, or a line an arm."""

from __future__ import annotations

import io
import itertools
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from bat import escape
from bat.report import analysis, tables
from bat.report.analysis import Together
from bat.report.tables import TITLES
from bat.stats import bootstrap, families, learning_curve
from bat.workflow.arms import ArmKey
from bat.workflow.outcome import Floats, Outcome, Row

# Okabe and Ito 2008: eight colours that stay apart for colour-blind readers.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILION, GREY, BLACK = "#D55E00", "#777777", "#000000"
COLOURS, MARKERS = (BLUE, ORANGE, GREEN, PURPLE, BLACK), "osD^"
LOOK = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # names may hold dollars, between which formulas would be read
}
CURVES = ("r2", "medae", "mae")  # the metrics that get a figure
STACKED: tuple[Any, ...] = ((0, (1, 1)), (0, (3, 1, 1, 1)))  # dashes of the two stacks drawn
TITLE_LETTERS = 60  # a line has at most, so that no name leaves its figure
LETTER, HANDLE = 6.5, 70  # pixels that a letter of a legend takes, and the rest of an entry


class _Drawing(Figure):
    """A figure that keeps still about letters that its font lacks: they are drawn as boxes."""

    def savefig(self, *arguments: Any, **named: Any) -> None:
        """Save it, as matplotlib does."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph", UserWarning)
            super().savefig(*arguments, **named)


def drawing(outcome: Outcome, name: str) -> Figure:
    """Draw one metric: against the documents tuned on, or of each arm where that is no line."""
    return curve(outcome, name) if is_curve([outcome]) else by_arm({"": outcome}, name)


def is_curve(outcomes: Iterable[Outcome]) -> bool:
    """Say whether one of some studies has two sizes or more to draw a line through."""
    return max(len(each.curve) for each in outcomes) > 1


def by_arm(together: Together, name: str) -> Figure:
    """Draw one metric of every encoder and baseline, a line for each; best for few sizes.

    Args:
        together: studies by what tells them apart; nothing needs to, where there is one.
        name: of the metric.
    """
    lines = [
        (textwrap.fill(escape.printable(f"{label}: {row.name}" if label else row.name), 48), row)
        for label, outcome in together.items()
        for row in outcome.rows
    ]
    about = next(iter(together.values())).about
    with mpl.rc_context(LOOK):
        drawn = _Drawing(figsize=(7.2, 1.6 + 0.4 * len(lines)), layout="constrained")
        axes = drawn.subplots()
        for at, (_, row) in enumerate(lines):
            score = row.scores[name]
            ends = np.abs([[score.value - score.low], [score.high - score.value]])
            colour = GREY if row.key.is_baseline else GREEN if row.is_stack else BLUE
            axes.errorbar(score.value, at, xerr=ends, fmt="o", color=colour, capsize=3)
        if about.ceiling:
            ceiling = getattr(about.ceiling, name)
            axes.axvline(ceiling, color=PURPLE, ls=":", lw=1.5, label="ceiling (all facts known)")
            axes.legend(frameon=False, fontsize=9)
        axes.set_yticks(range(len(lines)), [label for label, _ in lines])
        axes.margins(y=0.15)
        axes.invert_yaxis()
        axes.locator_params(axis="x", nbins=5)
        axes.xaxis.set_major_formatter("{x:,.10g}")
        axes.set_xlabel(_label(name, next(iter(together.values()))))
        title = f"{about.corpus}: {TITLES[name]} on the held-out part, 95 %"
        axes.set_title(textwrap.fill(escape.printable(title), TITLE_LETTERS))
    return drawn


def curve(outcome: Outcome, name: str) -> Figure:
    """Draw one metric against the documents tuned on, and next to it what changed from the factory.

    Intervals of two arms overlap long before their difference on the same rows is in doubt, so
    that difference has a panel of its own.
    """
    gains = analysis.over_factory(outcome)
    with mpl.rc_context(LOOK):
        figure = _Drawing(figsize=(9.6 if gains else 7.2, 4.8), layout="constrained")
        widths = (3, 2) if gains else (1,)
        axes, *change_axes = figure.subplots(
            1, len(widths), squeeze=False, sharex=True, width_ratios=widths
        )[0]
        sizes = _draw_points(axes, outcome, name, BLUE, "o", "fine-tuned")
        if analysis.has_curve(outcome):
            _draw_fit(axes, analysis.learned(outcome)[0][name], max(sizes))
        for row, colour, style in _lines(outcome):
            axes.axhline(row.scores[name].value, color=colour, ls=style, lw=1.5, label=row.name)
        if outcome.about.ceiling:
            ceiling = getattr(outcome.about.ceiling, name)
            axes.axhline(ceiling, color=PURPLE, ls=":", lw=1.5, label="ceiling (all facts known)")
        _name_axes(axes, outcome, name)
        for other in change_axes:
            _draw_gains(other, gains, name, _label(name, outcome))
    return figure


def _draw_gains(
    axes: Any, gains: Mapping[ArmKey, Mapping[str, bootstrap.Interval]], name: str, label: str
) -> None:
    """Draw how far each tuned encoder is from the factory's, on the same rows."""
    sizes = [key.documents for key in gains]
    _draw_scores(axes, sizes, [each[name] for each in gains.values()], BLUE, "o")
    _thousands(axes)
    axes.axhline(0, color=ORANGE, ls="--", lw=1.5)
    better = "above" if name.startswith("r2") else "below"
    axes.set_title(f"minus factory, 95 % {'(all sizes at once)' if len(gains) > 1 else '(paired)'}")
    axes.set_xlabel("documents tuned on")
    axes.set_ylabel(f"change of {label}; {better} 0 is better")


def _draw_points(
    axes: Any, outcome: Outcome, name: str, colour: str, marker: str, label: str
) -> list[int]:
    """Draw a study's encoders with their intervals; return their sizes."""
    points = outcome.curve
    sizes = [row.key.documents for row in points]
    _draw_scores(axes, sizes, [row.scores[name] for row in points], colour, marker, label)
    return sizes


def _draw_scores(
    axes: Any,
    sizes: Sequence[int],
    scores: Sequence[bootstrap.Interval],
    colour: str,
    marker: str,
    label: str = "",
) -> None:
    """Draw numbers with their intervals against the documents tuned on."""
    y = np.array([score.value for score in scores])
    ends = np.array([[s.value - s.low for s in scores], [s.high - s.value for s in scores]])
    axes.errorbar(
        sizes, y, yerr=np.abs(ends), fmt=f"{marker}-", color=colour, capsize=3, label=label
    )


def _label(name: str, outcome: Outcome) -> str:
    return tables.title(name, outcome.about.unit or "price units")


def _thousands(axes: Any) -> None:
    """Write the numbers along the axes as they are written elsewhere, and few of the wide ones."""
    axes.locator_params(axis="x", nbins=5)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.10g}")


def _name_axes(axes: Any, outcome: Outcome, name: str) -> None:
    """Say what a figure's (left) panel shows; the legend stands below, where it hides nothing."""
    _thousands(axes)
    axes.set_xlabel(
        "documents tuned on" + (" (0: the factory encoder)" if outcome.row("factory") else "")
    )
    axes.set_ylabel(_label(name, outcome))
    title = f"{outcome.about.corpus}: {TITLES[name]} on the held-out part, 95 %"
    axes.set_title(textwrap.fill(escape.printable(title), TITLE_LETTERS))
    figure, (_, labels) = axes.figure, axes.get_legend_handles_labels()
    longest = max(len(line) for label in labels for line in label.splitlines())
    columns = int(figure.get_figwidth() * figure.dpi / (LETTER * longest + HANDLE))
    columns = max(1, min(3, columns))
    figure.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=columns)


def _draw_fit(axes: Any, found: learning_curve.Curve, largest: int) -> None:
    """Draw the fitted curve with its band where one is supported, and the size that is enough."""
    if found.choice.fit:
        n = np.linspace(min(found.choice.fitted), largest, 200)
        label = f"fitted: {found.choice.fit.family}"
        axes.plot(
            n, families.predict(found.choice.fit, n), color=BLUE, lw=1, alpha=0.6, label=label
        )
        ends = [[p.score.low for p in found.band], [p.score.high for p in found.band]]
        axes.fill_between([p.documents for p in found.band], *ends, color=BLUE, alpha=0.15, lw=0)
    if found.enough:
        label = f"enough: {found.enough.documents:,} documents"
        axes.axvline(found.enough.documents, color=BLACK, lw=1, ls=(0, (1, 2)), label=label)
        axes.axvspan(found.enough.low, found.enough.high, color=BLACK, alpha=0.05, lw=0)


def _lines(outcome: Outcome) -> list[tuple[Row, str, Any]]:
    """Choose what the curve is compared with; weak baselines would only stretch the axis."""
    styles: dict[str, tuple[str, Any]] = {
        "factory": (ORANGE, "--"),
        analysis.WORDS: (GREEN, "-."),
        analysis.SUPERVISED: (VERMILION, (0, (4, 1, 1, 1, 1, 1))),
    }
    if best := analysis.best_baseline(outcome):
        styles.setdefault(best.name, (BLACK, (0, (5, 1))))
    ends = outcome.stacks[:: max(1, len(outcome.stacks) - 1)]
    for row, dashes in zip(ends, STACKED, strict=False):
        styles[row.name] = (PURPLE, dashes)  # on the factory encoder, and on the largest size
    return [(row, *styles[row.name]) for row in outcome.rows if row.name in styles]


def actual(price: Floats, predicted: Floats) -> Figure:
    """Draw predicted against true prices of the held-out rows, both on log axes."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    ends = [min(price.min(), predicted.min()), max(price.max(), predicted.max())]
    axes.plot(ends, ends, color=GREY, lw=1, label="predicted = actual")
    axes.loglog(price, predicted, ".", ms=4, alpha=0.4, color=BLUE)
    axes.set_xlabel("actual price")
    axes.set_ylabel("predicted price")
    axes.legend(frameon=False)
    return figure


def curves_together(together: Together, name: str) -> Figure:
    """Draw one metric against the documents, a curve for each study; arms if none has a curve."""
    if not is_curve(together.values()):
        return by_arm(together, name)
    with mpl.rc_context(LOOK):
        figure = _Drawing(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.subplots()
        for (label, outcome), colour, marker in zip(
            together.items(), itertools.cycle(COLOURS), itertools.cycle(MARKERS)
        ):
            _draw_points(
                axes, outcome, name, colour, marker, textwrap.fill(escape.printable(label), 80)
            )
        _name_axes(axes, next(iter(together.values())), name)
    return figure


def svg(figure: Figure, name: str) -> str:
    """Write the figure of a metric as an SVG element: text as text, to be searched and read aloud.

    Args:
        figure: of the metric.
        name: of the metric; the ids inside follow from it, so that figures of one page differ.
    """
    target = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(target, format="svg", metadata={"Date": None})
    drawn = target.getvalue()
    return drawn[drawn.index("<svg") :]
