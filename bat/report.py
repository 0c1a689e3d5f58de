"""Results in the forms people read: the answer in words, tables, figures, a curve of metrics."""

from __future__ import annotations

import functools
import itertools
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from bat import baselines, cli, metrics, records, scaling, study
from bat.champion import Registered
from bat.cli import InputError
from bat.outcome import Floats, Outcome, Row

TITLES = {"r2": "R²", "mae": "MAE", "medae": "MedAE", "r2_log": "R² of log price"}
# Okabe and Ito 2008: eight colours that stay apart for colour-blind readers.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILION, GREY, BLACK = "#D55E00", "#777777", "#000000"
COLOURS, MARKERS = (BLUE, ORANGE, GREEN, PURPLE, BLACK), "osD^"
LOOK = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}
CURVES = ("r2", "medae", "mae")  # the metrics that get a figure
LETTER, HANDLE = 6.5, 70  # pixels that a letter of a legend takes, and the rest of an entry
SMALL_PRICE = 100.0
WORDS, SUPERVISED = baselines.LABELS["tfidf"], baselines.LABELS["supervised"]
FEW_GROUPS = 30  # convention: below it a bootstrap by group is known to cover too little
FEW_SEEDS = 5  # below it, seeds resampled say little (arXiv 2511.19794)


def number(name: str, value: float, *, sign: bool = False) -> str:
    """Write a metric as people do: R² with three decimals, errors in price units.

    Errors below 100 keep two decimals, those below 1 three digits: a bottle's price is not a car's.
    """
    return _written(value, _decimals(name, [value]), sign)


def interval(name: str, score: metrics.Interval | scaling.Estimate, *, sign: bool = False) -> str:
    """Write a metric with the ends of its 95 % interval, all with the same decimals."""
    ends = (score.value, score.low, score.high)
    value, low, high = (_written(end, _decimals(name, ends), sign) for end in ends)
    return f"{value} [{low}, {high}]"


def _decimals(name: str, values: Sequence[float]) -> int:
    """Count the decimals that the largest of some values of a metric deserves."""
    largest = max(map(abs, values))
    if name.startswith("r2"):
        return 3
    if largest >= SMALL_PRICE:
        return 0
    return 2 if largest >= 1 or not largest else 2 - math.floor(math.log10(largest))


def _written(value: float, decimals: int, sign: bool) -> str:
    return f"{value:{'+' if sign else ''}z,.{decimals}f}"


def results(outcome: Outcome) -> list[dict[str, Any]]:
    """List the lines of results.csv: metrics, and paired differences, all with intervals.

    Each line is compared with the factory encoder, with TF-IDF, and with the size before it.
    """
    lines = []
    before: Row | None = None
    for row in outcome.rows:
        line: dict[str, Any] = {"arm": row.name, "documents": row.documents}
        line |= {"seeds": len(row.predictions), "validation_mae": row.validation_mae}
        line |= metrics.flat(row.scores)
        others = {"factory": outcome.row("factory"), "tfidf": outcome.row(WORDS)}
        others["before"] = before if row.documents else None
        for what, other in others.items():
            if other and other is not row:
                known = over_factory(outcome).get(row.documents or 0) if what == "factory" else None
                against = known or _paired(outcome, row, other)
                line |= metrics.flat({f"{name}_minus_{what}": v for name, v in against.items()})
        lines.append(line | {f"{stage}_seconds": s for stage, s in row.seconds.items()})
        before = row
    return lines


def table(outcome: Outcome) -> list[list[str]]:
    """Lay out the result for reading: one line an arm or baseline, the first names the columns."""
    lines = [["arm", *(TITLES[name] for name in metrics.NAMES), "validation MAE"]]
    for row in outcome.rows:
        cells = [interval(name, row.scores[name]) for name in metrics.NAMES]
        lines.append([row.name, *cells, number("mae", row.validation_mae)])
    if outcome.about.ceiling:
        law = outcome.about.ceiling
        cells = [number(name, getattr(law, name)) for name in metrics.NAMES]
        lines.append(["ceiling (all facts known)", *cells, ""])
    return lines


def plain_table(lines: Sequence[Sequence[str]]) -> str:
    """Align a table for a terminal: words left, numbers right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """Write a table in markdown."""
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([rows[0], "|" + "---|" * len(lines[0]), *rows[1:]])


def answer(outcome: Outcome) -> str:
    """Say in words, a line each, whether tuning paid, how many documents are enough, and doubts."""
    tuned = [row for row in outcome.rows if row.documents]
    factory = outcome.row("factory")
    sentences = []
    if tuned and factory:
        sentences += _gain(outcome, factory, tuned)
    sentences.append(_chosen(outcome))
    sentences += _against_words(outcome, tuned)
    sentences += _doubts(outcome)
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _groups(groups: npt.ArrayLike | None) -> int:
    """Count the groups of some rows; 0 where each row is alone."""
    if groups is None:
        return 0
    ids = np.asarray(groups)
    count = len(np.unique(ids))
    return count if count < ids.size else 0


def _rows(n: int, groups: npt.ArrayLike | None, parts_by: str) -> str:
    """Say on how many test rows, of how many groups, intervals rest."""
    count = _groups(groups)
    of = "groups" if parts_by.startswith("group_column") else "texts"
    return f"{n:,} test rows" + (f" of {count:,} {of}" if count else "")


def tested(outcome: Outcome) -> str:
    """Say on how many test rows, of how many groups, a study's intervals rest."""
    return _rows(len(outcome.prices), outcome.groups, outcome.about.parts_by)


def _paired(outcome: Outcome, ours: Row, theirs: Row) -> dict[str, metrics.Interval]:
    return metrics.paired(
        outcome.prices, ours.predictions, theirs.predictions, groups=outcome.groups
    )


@functools.lru_cache(maxsize=2)
def over_factory(outcome: Outcome) -> Mapping[int, Mapping[str, metrics.Interval]]:
    """Compare every tuned encoder with the factory's on the same test rows.

    Args:
        outcome: of the study.

    Returns:
        By the documents tuned on, the paired difference of each metric; empty without the
        factory encoder.
    """
    factory = outcome.row("factory")
    return {
        row.documents: _paired(outcome, row, factory)
        for row in outcome.rows
        if factory and row.documents
    }


def _gain(outcome: Outcome, factory: Row, tuned: Sequence[Row]) -> list[str]:
    full = tuned[-1]
    against = over_factory(outcome)[full.documents or 0]
    mae = against["mae"]
    if mae.high < 0:
        verdict = "pays on this corpus: the error falls"
    elif mae.low > 0:
        verdict = "does harm on this corpus: the error rises"
    else:
        verdict = "makes no difference that these test rows can show"
    said = [
        f"Fine-tuning on {full.documents:,} documents {verdict}. MAE changes by "
        f"{interval('mae', mae, sign=True)} from {number('mae', factory.scores['mae'].value)} "
        f"({100 * mae.value / factory.scores['mae'].value:+.1f} %), R² by "
        f"{interval('r2', against['r2'], sign=True)} from "
        f"{number('r2', factory.scores['r2'].value)} (95 % intervals, paired on "
        f"{tested(outcome)})."
    ]
    if _has_curve(outcome):
        said += _along_the_curve(learned(outcome)[0]["mae"], outcome.about.margin)
    elif len(tuned) > 1:
        said.append(
            f"Not said: {len(outcome.prices)} test rows are too few for a curve: at least "
            f"{scaling.FEWEST_ROWS} are needed."
        )
    return said + _stopped(outcome)


def _stopped(outcome: Outcome) -> list[str]:
    """Say which sizes were left out and why, or why none was."""
    if not outcome.stop or (outcome.missing and not outcome.skipped):
        return []
    if not outcome.skipped:
        return [f"No size was left out: {outcome.stop.reason}."]
    sizes = ", ".join(f"{size:,}" for size in outcome.skipped)
    return [f"Stopped before {sizes} documents: by validation {outcome.stop.reason}."]


def _has_curve(outcome: Outcome) -> bool:
    """Say whether there is enough to study the learning curve: sizes, something to beat, rows."""
    sizes = [row.documents for row in outcome.rows if row.documents is not None]
    enough = len(outcome.prices) >= scaling.FEWEST_ROWS
    return enough and 0 in sizes and sum(1 for size in sizes if size) > 1


@functools.lru_cache(maxsize=2)
def learned(
    outcome: Outcome,
) -> tuple[Mapping[str, scaling.Curve], tuple[scaling.Verdict, ...]]:
    """Study the learning curve of an outcome that has one.

    Returns:
        The curve of each metric, and the working hypotheses' verdicts.
    """
    tuned, factory = [row for row in outcome.rows if row.documents], outcome.row("factory")
    assert factory is not None
    scores = scaling.resample(
        [row.documents or 0 for row in tuned],
        outcome.prices,
        np.stack([row.predictions for row in tuned]),
        factory.predictions,
        groups=outcome.groups,
    )
    margin = outcome.about.margin
    curves = {name: scaling.curve(score, margin=margin) for name, score in scores.items()}
    return curves, scaling.hypotheses(scores, margin=margin)


def _along_the_curve(found: scaling.Curve, margin: float) -> list[str]:
    """Say how many documents are enough and what more would bring, or why that cannot be said."""
    said = []
    if found.enough:
        where = "on the fitted curve" if found.enough.on_curve else "among the sizes tried"
        said.append(
            f"Enough: {found.enough.documents:,} documents bring all but {margin:.0%} of "
            f"that gain in MAE (95 % interval {found.enough.low:,} to {found.enough.high:,}, "
            f"{where})."
        )
    if found.forecasts:
        told = "; ".join(
            f"with {forecast.documents:,} documents {interval('mae', forecast.score)}"
            for forecast in found.forecasts
        )
        said.append(f"Forecast of MAE: {told}.")
    if found.backtest:
        said.append(
            f"Made from the sizes up to {found.backtest.fitted[-1]:,} alone, such a forecast of "
            f"the full size is off by {interval('mae', found.backtest.error, sign=True)}."
        )
    return said + [f"Not said: {reason}." for reason in found.refusals]


def hypotheses(outcome: Outcome) -> str:
    """Write the verdicts on four working hypotheses, each with the number that decides."""
    if not _has_curve(outcome):
        return ""
    lines = []
    for verdict in learned(outcome)[1]:
        decided = ""
        if verdict.number:
            ends = (verdict.number.value, verdict.number.low, verdict.number.high)
            value, low, high = (f"{end:.3g}" for end in ends)
            decided = f"{value} [{low}, {high}], "
        lines.append(
            f"- {verdict.name}, {verdict.claim}: {verdict.verdict} ({decided}{verdict.reason})."
        )
    return "\n".join(lines)


def _chosen(outcome: Outcome) -> str:
    documents, seed = outcome.chosen
    if any(name.startswith("documents") for name in outcome.missing):
        so_far = f"the encoder tuned on {documents:,} documents" if documents else "the factory one"
        return f"So far validation prefers {so_far}; it chooses when all encoders are there."
    if not any(row.documents for row in outcome.rows):
        return "The factory encoder is the only one here, and what gets registered."
    if not documents:
        several = len(outcome.seeds) > 1
        lower = "size has a lower mean MAE over the seeds" if several else "one has a lower MAE"
        return (
            "Validation chooses the factory encoder, which is what gets registered: "
            f"on its rows no tuned {lower}."
        )
    return (
        f"Validation chooses the encoder tuned on {documents:,} documents (seed {seed}) "
        "for the registry."
    )


def best_baseline(outcome: Outcome) -> Row | None:
    """Find the baseline with the least validation error; ``supervised`` is compared by itself."""
    others = [row for row in outcome.rows if row.documents is None and row.name != SUPERVISED]
    return min(others, key=lambda row: row.validation_mae, default=None)


def _against_words(outcome: Outcome, tuned: Sequence[Row]) -> list[str]:
    """Compare the largest arm with what costs nearly nothing, and with learning from prices."""
    last = tuned[-1] if tuned else outcome.row("factory")
    if not last:
        return []
    name, best = last.name if last.documents else "as it came", best_baseline(outcome)
    kinds = {
        WORDS: "with the same search",
        SUPERVISED: "the same encoder fine-tuned end to end on the training prices",
    }
    said = []
    for row in outcome.rows:
        if row is best or row.name in kinds:
            mae = _paired(outcome, last, row)["mae"]
            verdict = "loses to" if mae.low > 0 else "is not told apart from"
            verdict = "beats" if mae.high < 0 else verdict
            what = "the best baseline by validation" if row is best else kinds[row.name]
            said.append(
                f"The encoder {name} {verdict} {row.name} ({what}): MAE differs by "
                f"{interval('mae', mae, sign=True)}."
            )
    return said


def _doubts(outcome: Outcome) -> list[str]:
    """State what a reader must know before believing the numbers."""
    said = []
    seeds = max(len(row.predictions) for row in outcome.rows)
    if seeds < FEW_SEEDS:
        said.append(
            f"{seeds} seed{'s' if seeds > 1 else ''}: the intervals hold for this draw of masks, "
            "order and search; small differences need more seeds to be established."
        )
    if outcome.about.features == cli.FACTORY_TUNED:
        said.append(
            "Each tuned encoder is read beside the factory's: two encoders run for a price, and a "
            "gain may be owed to the additional columns alone: more than half of it was, on three "
            "corpora of docs/LOG.md."
        )
    if outcome.about.finetune_on == "all":
        said.append(
            "Transductive: the encoder was tuned on the texts of the test rows too, so new texts "
            "may fare worse."
        )
    if outcome.about.base_protocol == "transductive":
        said.append(
            f"Transductive: the base model {outcome.about.base} was tuned before, on texts of the "
            "test rows among others, so new texts may fare worse, with the factory encoder too."
        )
    if (groups := _groups(outcome.groups)) and groups < FEW_GROUPS:
        said.append(
            f"The test rows come from {groups} groups ({outcome.about.parts_by}), and the "
            f"intervals are drawn by group: below {FEW_GROUPS} groups they are too narrow."
        )
    if outcome.missing:
        said.append(f"Unfinished: {', '.join(outcome.missing)} are not there.")
    for seed in outcome.about.seeds:
        if seed not in outcome.seeds:
            said.append(f"Seed {seed} is not counted: it lacks sizes that others have.")
    said += [f.message + "." for f in outcome.about.findings if f.severity == "warning"]
    return said


def curve(outcome: Outcome, name: str) -> Figure:
    """Draw one metric against the documents tuned on, and beside it what changed from the factory.

    Intervals of two arms overlap long before their difference on the same rows is in doubt, so
    that difference has a panel of its own.
    """
    gains = over_factory(outcome)
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(9.6 if gains else 7.2, 4.8), layout="constrained")
        widths = (3, 2) if gains else (1,)
        axes, *beside = figure.subplots(
            1, len(widths), squeeze=False, sharex=True, width_ratios=widths
        )[0]
        sizes = _draw_points(axes, outcome, name, BLUE, "o", "fine-tuned")
        if _has_curve(outcome):
            _draw_fit(axes, learned(outcome)[0][name], max(sizes))
        for row, colour, style in _lines(outcome):
            axes.axhline(row.scores[name].value, color=colour, ls=style, lw=1.5, label=row.name)
        if outcome.about.ceiling:
            ceiling = getattr(outcome.about.ceiling, name)
            axes.axhline(ceiling, color=PURPLE, ls=":", lw=1.5, label="ceiling (all facts known)")
        _name_axes(axes, outcome, name)
        for other in beside:
            _draw_gains(other, gains, name)
    return figure


def _draw_gains(axes: Any, gains: Mapping[int, Mapping[str, metrics.Interval]], name: str) -> None:
    """Draw how far each tuned encoder is from the factory's, on the same rows."""
    _draw_scores(axes, list(gains), [each[name] for each in gains.values()], BLUE, "o")
    _thousands(axes)
    axes.axhline(0, color=ORANGE, ls="--", lw=1.5)
    better = "above" if name.startswith("r2") else "below"
    axes.set_title("minus factory, paired, 95 %")
    axes.set_xlabel("documents tuned on")
    axes.set_ylabel(f"change of {_unit(name)}; {better} 0 is better")


def _draw_points(
    axes: Any, outcome: Outcome, name: str, colour: str, marker: str, label: str
) -> list[int]:
    """Draw a study's encoders with their intervals; return their sizes."""
    points = [row for row in outcome.rows if row.documents is not None]
    sizes = [row.documents or 0 for row in points]
    _draw_scores(axes, sizes, [row.scores[name] for row in points], colour, marker, label)
    return sizes


def _draw_scores(
    axes: Any,
    sizes: Sequence[int],
    scores: Sequence[metrics.Interval],
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


def _unit(name: str) -> str:
    return TITLES[name] + ("" if name.startswith("r2") else " (price units)")


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
    axes.set_ylabel(_unit(name))
    axes.set_title(f"{outcome.about.corpus}: {TITLES[name]} on the test part, 95 %")
    figure, (_, labels) = axes.figure, axes.get_legend_handles_labels()
    longest = max(len(line) for label in labels for line in label.splitlines())
    columns = int(figure.get_figwidth() * figure.dpi / (LETTER * longest + HANDLE))
    columns = max(1, min(3, columns))
    figure.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=columns)


def _draw_fit(axes: Any, found: scaling.Curve, largest: int) -> None:
    """Draw the fitted curve with its band where one is supported, and the size that is enough."""
    if found.choice.fit:
        n = np.linspace(min(found.choice.fitted), largest, 200)
        label = f"fitted: {found.choice.fit.family}"
        axes.plot(n, scaling.predict(found.choice.fit, n), color=BLUE, lw=1, alpha=0.6, label=label)
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
        WORDS: (GREEN, "-."),
        SUPERVISED: (VERMILION, (0, (4, 1, 1, 1, 1, 1))),
    }
    if best := best_baseline(outcome):
        styles.setdefault(best.name, (BLACK, (0, (5, 1))))
    return [(row, *styles[row.name]) for row in outcome.rows if row.name in styles]


def actual(price: Floats, predicted: Floats) -> Figure:
    """Draw predicted against true prices of the test rows, both on log axes."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    ends = [min(price.min(), predicted.min()), max(price.max(), predicted.max())]
    axes.plot(ends, ends, color=GREY, lw=1, label="predicted = actual")
    axes.loglog(price, predicted, ".", ms=4, alpha=0.4, color=BLUE)
    axes.set_xlabel("actual price")
    axes.set_ylabel("predicted price")
    axes.legend(frameon=False)
    return figure


def parent_records(outcome: Outcome) -> Iterable[records.Record]:
    """Say what a study found, in the form its own run keeps."""
    for row in outcome.rows:
        if row.documents is not None:
            values = metrics.flat(row.scores) | {"validation_mae": row.validation_mae}
            yield records.Metrics(values, step=row.documents)
    if outcome.about.ceiling:
        law = outcome.about.ceiling
        yield records.Metrics({f"ceiling_{name}": getattr(law, name) for name in metrics.NAMES})
    yield records.Table("results.csv", results(outcome))
    for name in CURVES:
        drawn = curve(outcome, name)
        yield records.Figure(f"curve_{name}.png", drawn)
        yield records.Figure(f"curve_{name}.svg", drawn)
    yield records.Text("answer.md", f"{answer(outcome)}\n\n{hypotheses(outcome)}\n")
    yield records.Note(note(outcome))


Together = Mapping[str, Outcome]  # studies of one corpus, by what tells them apart


def _check_comparable(together: Together) -> None:
    """Refuse to compare studies whose test rows differ.

    Raises:
        InputError: they do.
    """
    first, *others = together.items()
    for label, outcome in others:
        if not np.array_equal(outcome.prices, first[1].prices):
            raise InputError(
                f"{first[0]} on {first[1].about.corpus}, {label} on {outcome.about.corpus}",
                "studies with the same test rows: the same data, limit, group_column, time_column",
                "give each its own report",
            )


def comparison(together: Together, said: Sequence[str]) -> str:
    """Write for a terminal how studies differ (from ``differences``), and all arms."""
    lines = "\n".join(f"- {line}" for line in said)
    first = next(iter(together.values()))
    return (
        f"\n{lines}\n\n{plain_table(table_together(together))}\n"
        f"(95 % bootstrap intervals over {tested(first)})"
    )


def differences(together: Together) -> list[str]:
    """Compare each study's largest encoder with that of the first, on the same test rows.

    Raises:
        InputError: the studies have different test rows, or share no seed.
    """
    _check_comparable(together)
    (name, first), *others = together.items()
    best = _largest(first)
    said = []
    for label, outcome in others:
        mine = _largest(outcome)
        seeds = [seed for seed in first.seeds if seed in outcome.seeds]
        if not seeds:
            raise InputError(
                f"{name} with the seeds {list(first.seeds)}, {label} with {list(outcome.seeds)}",
                "studies that share a seed: the same order of documents and the same folds",
                "run one of them again with the other's seed",
            )
        ours, theirs = (
            row.predictions[[list(each.seeds).index(seed) for seed in seeds]]
            for row, each in ((mine, outcome), (best, first))
        )
        found = metrics.paired(outcome.prices, ours, theirs, groups=outcome.groups)
        told = "; ".join(
            f"{TITLES[metric]} {interval(metric, found[metric], sign=True)}" for metric in CURVES
        )
        said.append(f"{label} ({mine.name}) minus {name} ({best.name}), paired: {told}.")
    return said + [f"{label}: {said}" for label, each in together.items() for said in _doubts(each)]


def _largest(outcome: Outcome) -> Row:
    """Find the encoder tuned on most documents; the factory encoder if none is tuned."""
    return max(
        (row for row in outcome.rows if row.documents is not None),
        key=lambda row: row.documents or 0,
    )


def table_together(together: Together) -> list[list[str]]:
    """Lay out the arms of several studies, the study's label first."""
    tables = [(label, table(outcome)) for label, outcome in together.items()]
    return [
        ["study", *tables[0][1][0]],
        *([label, *line] for label, lines in tables for line in lines[1:]),
    ]


def curves_together(together: Together, name: str) -> Figure:
    """Draw one metric against the documents, a curve for each study."""
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.subplots()
        for (label, outcome), colour, marker in zip(
            together.items(), itertools.cycle(COLOURS), itertools.cycle(MARKERS)
        ):
            _draw_points(axes, outcome, name, colour, marker, textwrap.fill(label, 80))
        _name_axes(axes, next(iter(together.values())), name)
    return figure


def comparison_records(together: Together, said: Sequence[str]) -> Iterable[records.Record]:
    """Say how studies compare, in the form that a run keeps."""
    yield records.Table(
        "results.csv",
        [{"study": label, **line} for label, each in together.items() for line in results(each)],
    )
    for name in CURVES:
        drawn = curves_together(together, name)
        yield records.Figure(f"curves_{name}.png", drawn)
        yield records.Figure(f"curves_{name}.svg", drawn)
    lines = "\n".join(f"- {line}" for line in said)
    yield records.Note(f"{lines}\n\n{markdown_table(table_together(together))}")


def findings_records(prepared: study.Prepared) -> Iterable[records.Record]:
    """List what the checks found, and every row of the source that was not used."""
    rejected = [r._asdict() for r in prepared.corpus.rejected]
    yield records.Table("rejected.jsonl", rejected)
    lines = [
        {
            "check": finding.check,
            "severity": finding.severity,
            "count": finding.count,
            "message": finding.message,
            "examples": " | ".join(f"line {line}: {text}" for line, text in finding.examples),
        }
        for finding in prepared.findings
    ]
    yield records.Table("checks.csv", lines)


def note(outcome: Outcome) -> str:
    """Write the answer and the table for the run's page."""
    return (
        f"## {outcome.about.corpus}: is fine-tuning worth it?\n\n{answer(outcome)}\n\n"
        f"{hypotheses(outcome)}\n\n"
        f"{markdown_table(table(outcome))}\n\n"
        f"Encoder {outcome.about.base}; corpus digest `{outcome.about.digest[:16]}`."
    )


def screen(outcome: Outcome) -> str:
    """Write for a terminal the answer, the table, and times."""
    spent = "; ".join(f"{stage} {seconds:,.0f} s" for stage, seconds in outcome.seconds.items())
    return (
        f"\n{answer(outcome)}\n\n{hypotheses(outcome)}\n\n{plain_table(table(outcome))}\n"
        f"(95 % bootstrap intervals over {tested(outcome)})\n\n"
        f"{spent}"
    )


def registered(served: Registered) -> str:
    """Say what a study registered, whether it is served, how far to trust it, and what to do."""
    inside, verdict = served.inside, served.verdict
    share, low, high = (f"{100 * value:.1f} %" for value in (inside.value, inside.low, inside.high))
    role = "the champion" if verdict.promoted else "the candidate, which is not served"
    return (
        f"Registered as bat-pricer version {served.version}, {role}: {verdict.reason}. "
        f"{share} [{low}, {high}] of the test prices lie in its {served.coverage:.0%} interval. "
        "See runs: mlflow ui. "
        "Serve it: mlflow models serve -m models:/bat-pricer@champion --env-manager local -p 5001"
    )


def promotion_text(before: str | None, now: str, standings: Sequence[Mapping[str, str]]) -> str:
    """Say which version is served now, which was, and who is what in the registry."""
    lines = [list(standings[0]), *(list(each.values()) for each in standings)]
    was = f"version {before} was" if before else "there was none"
    return f"Champion is version {now} ({was}).\n\n{plain_table(lines)}"


def promotion_records(
    before: str | None, now: str, standings: Sequence[Mapping[str, str]]
) -> Iterable[records.Record]:
    """Keep the move on record, and who is what after it."""
    yield records.Tags({"champion": now, "champion_before": before or "none"})
    yield records.Table("registry.csv", list(standings))
    yield records.Note(f"```\n{promotion_text(before, now, standings)}\n```")


def evaluation_records(
    evaluation: study.Evaluation, prepared: study.Prepared, protocol: str
) -> Iterable[records.Record]:
    """Add a figure and a note to what an evaluation keeps."""
    test = prepared.rows("test")
    drawn = actual(prepared.corpus.prices[test], evaluation.predictions[test])
    yield records.Figure("predicted_actual.png", drawn)
    yield records.Note(f"```\n{evaluation_text(evaluation, prepared, protocol)}\n```")


PROTOCOLS = {
    "inductive": "the encoder was not tuned on any test text",
    "transductive": "the encoder was tuned on test texts: new texts may fare worse",
    "unknown": "nobody noted what the encoder was tuned on",
}


def evaluation_text(evaluation: study.Evaluation, prepared: study.Prepared, protocol: str) -> str:
    """Write the scores of one pair for a person."""
    loaded, test = prepared.corpus, prepared.rows("test")
    groups = loaded.group_ids[test]
    scores = metrics.bootstrap(loaded.prices[test], evaluation.predictions[test], groups=groups)
    lines = [[TITLES[name], interval(name, scores[name])] for name in metrics.NAMES]
    return (
        f"{plain_table(lines)}\n(95 % bootstrap intervals over "
        f"{_rows(len(test), groups, loaded.parts_by)}; "
        f"{protocol}: {PROTOCOLS[protocol]})"
    )


def tuning_text(tuned: study.TunedFolder, base: str, run_id: str) -> str:
    """Write for a person how one tuning went and how to go on with its encoder."""
    story = tuned.story
    losses = [loss for _, loss in story["held_out"] or story["losses"]]
    kind = "Held-out" if story["held_out"] else "Training"
    return (
        f"{base} tuned on {story['documents']:,} documents ({story['tokens']:,} tokens, "
        f"{story['steps']:,} steps, {study.tokens_per_second(story):,.0f} tokens/s).\n"
        f"{kind} loss a masked token {losses[0]:.3f} → {losses[-1]:.3f}, of the weights as tuned. "
        f"Reloaded, its embeddings differ by at most {story['reload_difference']:.1g}.\n"
        f"Evaluate it: mlflow run . -e evaluate -P encoder=runs:/{run_id}/encoder"
    )
