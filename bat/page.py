"""A study as one HTML page that needs nothing else: answer, figures, table, protocol, settings."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Mapping, Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from bat import cli, corpus, plan, report
from bat.outcome import Outcome

STYLE = """
:root { color-scheme: light dark; --line: #8886; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
figure { background: #fff; margin: 1rem 0; padding: .5rem; border: 1px solid var(--line); }
figure svg { width: 100%; height: auto; }
div { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .6rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
td { white-space: nowrap; }
.words { white-space: normal; text-align: left; }
"""


def page(outcome: Outcome, settings: Mapping[str, object]) -> str:
    """Write the whole study as one page.

    Args:
        outcome: of the study.
        settings: what the user asked for, by name.

    Returns:
        HTML with its style and its figures (SVG) inside, and no script.
    """
    title = f"{outcome.about.corpus}: is fine-tuning worth it?"
    return _whole(
        title,
        [
            _list(report.answer(outcome)),
            *(_drawn(report.curve(outcome, name), name) for name in report.CURVES),
            "<h2>All arms</h2>",
            _table(report.table(outcome)),
            f"<p>95 % bootstrap intervals over {report.tested(outcome)}.</p>",
            *_hypotheses(outcome),
            "<h2>Protocol</h2>",
            f"<p>{html.escape(_protocol(outcome))}</p>",
            "<h2>Checks of the data</h2>",
            _table(_findings(outcome), words=True),
            "<h2>Settings</h2>",
            _table(
                [["setting", "value"], *([k, str(v)] for k, v in sorted(settings.items()))],
                words=True,
            ),
            "<h2>Time</h2>",
            _table(
                [["stage", "time"], *([k, plan.duration(v)] for k, v in outcome.seconds.items())]
            ),
        ],
    )


def comparison(together: report.Together, said: Sequence[str]) -> str:
    """Write several studies of one corpus as one page: their curves, differences, and answers."""
    first = next(iter(together.values()))
    answers = (
        f"<h2>{html.escape(label)}</h2>\n{_list(report.answer(outcome))}"
        for label, outcome in together.items()
    )
    return _whole(
        f"{first.about.corpus}: studies compared",
        [
            _list("\n".join(said)),
            *(_drawn(report.curves_together(together, name), name) for name in report.CURVES),
            "<h2>All arms</h2>",
            _table(report.table_together(together)),
            f"<p>95 % bootstrap intervals over {report.tested(first)}.</p>",
            *answers,
        ],
    )


def _whole(title: str, parts: Sequence[str]) -> str:
    title = html.escape(title)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            '<meta name="viewport" content="width=device-width">',
            f"<style>{STYLE}</style></head><body>",
            f"<h1>{title}</h1>",
            *parts,
            "</body></html>",
        ]
    )


def _list(lines: str) -> str:
    """Turn lines that begin with a dash into a list."""
    items = "".join(
        f"<li>{html.escape(line.removeprefix('- '))}</li>" for line in lines.split("\n")
    )
    return f"<ul>{items}</ul>"


def _hypotheses(outcome: Outcome) -> Iterable[str]:
    if said := report.hypotheses(outcome):
        yield "<h2>Working hypotheses</h2>"
        yield _list(said)


def _drawn(figure: Figure, name: str) -> str:
    """Write a figure of one metric as SVG with text as text, to be searched and read aloud."""
    target = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(target, format="svg", metadata={"Date": None})
    drawn = target.getvalue()
    label = html.escape(f"{report.TITLES[name]} against the documents tuned on")
    return f'<figure role="img" aria-label="{label}">{drawn[drawn.index("<svg") :]}</figure>'


def _table(lines: Sequence[Sequence[str]], *, words: bool = False) -> str:
    """Write a table; the first line names the columns."""
    kind = ' class="words"' if words else ""
    head = "".join(f"<th{kind}>{html.escape(cell)}</th>" for cell in lines[0])
    rows = (
        "<tr>" + "".join(f"<td{kind}>{html.escape(cell)}</td>" for cell in line) + "</tr>"
        for line in lines[1:]
    )
    return f"<div><table><tr>{head}</tr>{''.join(rows)}</table></div>"


def _protocol(outcome: Outcome) -> str:
    about = outcome.about
    parts = ", ".join(f"{about.parts[part]:,} {part}" for part in corpus.PARTS)
    texts = (
        "training texts alone"
        if about.finetune_on == "train"
        else ("all texts, those of test rows included (transductive)")
    )
    if about.base_protocol == "transductive":
        texts += ", from a base model that had seen texts of test rows (transductive)"
    by = "" if about.parts_by == "unknown" else f"; parts by {about.parts_by}"
    beside = ", read beside the factory's" if about.features == cli.FACTORY_TUNED else ""
    return (
        f"{sum(about.parts.values()):,} rows: {parts}; {about.parts[corpus.ASIDE]:,} set "
        f"aside{by}. Encoder {about.base}, tuned on {texts}{beside}. The "
        "regressor's settings were searched by cross-validation inside the training part, alike "
        "for every arm; validation chose the arm; the test part was read for this report. Corpus "
        f"digest {about.digest}."
    )


def _findings(outcome: Outcome) -> list[list[str]]:
    findings = outcome.about.findings
    lines = [[f.check, f.severity, f.message] for f in findings] or [["none", "", "nothing found"]]
    return [["check", "kind", "what was found"], *lines]
