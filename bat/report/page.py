"""A study as one HTML page that needs nothing else: answer, figures, table, protocol, settings."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from bat import cli, escape
from bat.data import corpus
from bat.report import figures, summary, tables, wording
from bat.report.analysis import Together
from bat.report.verdict import Statement, statements
from bat.workflow import plan
from bat.workflow.outcome import Outcome

TEMPLATE = "page.html.j2"
DECIDES = ("mae",)  # the metric whose figures come first; those of the others are folded
OTHERS = tuple(name for name in figures.CURVES if name not in DECIDES)


def page(outcome: Outcome, settings: Mapping[str, object]) -> str:
    """Write the whole study as one page.

    Args:
        outcome: of the study.
        settings: what the user asked for, by name.

    Returns:
        HTML with its style and its figures (SVG) inside, and no script.
    """
    found = statements(outcome)
    draw = functools.partial(figures.drawing, outcome)
    return _rendered(
        title=f"{outcome.about.corpus}: is fine-tuning worth it?",
        headline=summary.headline(found),
        summary=summary.lines(found, outcome, settings),
        answer=wording.answer(found),
        figures=[*_side_by_side(outcome), *_figures([outcome], draw, DECIDES)],
        more_figures=list(_figures([outcome], draw, OTHERS)),
        arms=tables.table(outcome),
        tested=wording.tested(outcome),
        hypotheses=wording.hypotheses(found),
        words=_words(found),
        study={
            "protocol": _protocol(outcome),
            "findings": _findings(outcome),
            "settings": [
                ["setting", "value"],
                *([name, str(value)] for name, value in sorted(settings.items())),
            ],
            "times": [
                ["stage", "time"],
                *([stage, plan.duration(spent)] for stage, spent in outcome.seconds.items()),
            ],
        },
        compared=[],
    )


def comparison(together: Together, differences: Sequence[Statement]) -> str:
    """Write several studies of one corpus as one page: their curves, differences, and answers."""
    first = next(iter(together.values()))
    draw = functools.partial(figures.curves_together, together)
    return _rendered(
        title=f"{first.about.corpus}: studies compared",
        headline="",
        summary=[],
        answer=wording.answer(differences),
        figures=list(_figures(together.values(), draw, figures.CURVES)),
        more_figures=[],
        arms=tables.table_together(together),
        tested=wording.tested(first),
        hypotheses=[],
        words=[],
        study=None,
        compared=[
            (label, wording.answer(statements(outcome))) for label, outcome in together.items()
        ],
    )


def _rendered(**values: Any) -> str:
    """Fill the template; every value is escaped, and one that is lacking is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_escaped,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(values)


def _escaped(value: object) -> Markup:
    """Escape a value by the rules of ``escape``; the figures and the macros' output are HTML."""
    return value if isinstance(value, Markup) else Markup(escape.html(str(value)))


def _side_by_side(outcome: Outcome) -> Iterator[dict[str, object]]:
    """Draw all arms beside each other, where the other figures are curves."""
    if figures.is_curve([outcome]):
        (name,) = DECIDES
        svg = Markup(figures.svg(figures.by_arm({"": outcome}, name), f"{name}-of-arms"))
        yield {"label": f"{tables.TITLES[name]} of each arm", "svg": svg}


def _figures(
    outcomes: Iterable[Outcome], draw: Callable[[str], Any], names: Sequence[str]
) -> Iterator[dict[str, object]]:
    """Draw some metrics, and say in words what each figure shows."""
    of_what = "against the documents tuned on" if figures.is_curve(outcomes) else "of each arm"
    for name in names:
        svg = Markup(figures.svg(draw(name), name))
        yield {"label": f"{tables.TITLES[name]} {of_what}", "svg": svg}


def _protocol(outcome: Outcome) -> str:
    about = outcome.about
    parts = ", ".join(f"{count:,} {part.replace('_', ' ')}" for part, count in about.parts.items())
    texts = (
        "training texts alone"
        if about.finetune_on == "train"
        else ("all texts, those of held-out rows included (transductive)")
    )
    if about.base_protocol == "transductive":
        texts += ", from a base model that had seen texts of held-out rows (transductive)"
    by = "" if about.parts_by == "unknown" else f"; parts by {about.parts_by}"
    extra = ", read beside the factory's" if about.features == cli.FACTORY_TUNED else ""
    judged = "held-out part judges the arms, and chose the one that is registered"
    if about.protocol != corpus.PROTOCOL:
        judged = "validation part chose the arm that is registered, and the test part judges them"
    return (
        f"{sum(about.parts.values()):,} rows: {parts}{by}. Encoder {about.base}, tuned on "
        f"{texts}{extra}. The regressor's settings were searched by cross-validation inside the "
        f"training part, alike for every arm; the {judged}. Corpus digest {about.digest}."
    )


def _words(found: Iterable[Statement]) -> list[tuple[str, list[list[str]]]]:
    """Lay out the words that move prices most, with the baseline that says so."""
    return [
        (each.facts["baseline"], tables.strongest_words(each.facts["words"], each.unit))
        for each in found
        if each.kind == "words"
    ]


def _findings(outcome: Outcome) -> list[list[str]]:
    findings = outcome.about.findings
    lines = [[f.check, f.severity, f.message] for f in findings] or [["none", "", "nothing found"]]
    return [["check", "kind", "what was found"], *lines]
