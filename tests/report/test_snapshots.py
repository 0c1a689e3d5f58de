"""One snapshot a renderer holds the wording of everything that a study can say.

Other tests assert verdicts and numbers, so that wording can be improved freely: change it, look at
the difference of the snapshots, and record them anew: ``BAT_RECORD=1 pytest
tests/report/test_snapshots.py``.
"""

import dataclasses
import functools
import json
import os
import re
from pathlib import Path

import pytest

from bat import records
from bat.data.auctions import generator
from bat.registry import champion
from bat.report import answer_file, page, runs, terminal, verdict
from bat.stats import bootstrap
from tests.report.made_up import outcome, studies

SNAPSHOTS = Path(__file__).parent / "snapshots"
SETTINGS = {"data": "theirs.csv", "trials": 2}
MADE_UP = functools.cache(studies)


def compared():
    """Studies of which one is better than the first, one worse, one the same."""
    errors = {"base": 0.2, "better": 0.1, "worse": 0.3, "same": 0.2}
    return {label: outcome({0: 0.3, 500: error}) for label, error in errors.items()}


def served(promoted):
    reason = "there was none before" if promoted else "promote=never"
    return champion.Registered(
        model_name="cars-price",
        version="3",
        address="models:/cars-price@champion" if promoted else "models:/cars-price@candidate",
        verdict=champion.Verdict(promoted, reason),
        coverage=0.9,
        inside=bootstrap.Interval(0.9, 0.88, 0.93),
        best_pair="3" if promoted else "2",
    )


def with_ceiling(found):
    ceiling = generator.Ceiling(r2=0.9, mae=1000.0, medae=900.0, r2_log=0.92)
    return dataclasses.replace(found, about=dataclasses.replace(found.about, ceiling=ceiling))


def the_terminal():
    parts = {label: terminal.screen(found, SETTINGS) for label, found in MADE_UP().items()}
    together = compared()
    parts["studies compared"] = terminal.comparison(together, verdict.differences(together))
    parts["champion"], parts["candidate"] = map(terminal.registered, map(served, (True, False)))
    return "\n\n".join(f"===== {label} =====\n{text}" for label, text in parts.items()) + "\n"


def the_note():
    found = with_ceiling(MADE_UP()["curve"])
    together = compared()
    logged = [
        *runs.registration_records(found, SETTINGS, served(True)),
        *runs.comparison_records(together, verdict.differences(together)),
    ]
    notes = [each.markdown for each in logged if isinstance(each, records.Note)]
    return "\n\n----\n\n".join(notes) + "\n"


def the_page():
    together = compared()
    pages = [
        page.page(with_ceiling(MADE_UP()["curve"]), SETTINGS),
        page.page(MADE_UP()["doubts"], SETTINGS),
        page.comparison(together, verdict.differences(together)),
    ]
    return re.sub(r"<svg.*?</svg>", "<svg/>", "\n".join(pages), flags=re.DOTALL)


def the_file():
    found = MADE_UP()["curve"]
    document = answer_file.document(found, SETTINGS, answer_file.registered(found, served(True)))

    def rounded(value):
        """Six digits, which do not hang on the processor."""
        if isinstance(value, dict):
            return {name: rounded(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [rounded(inner) for inner in value]
        return float(f"{value:.6g}") if isinstance(value, float) else value

    return json.dumps(rounded(document), indent=1, ensure_ascii=False) + "\n"


RENDERERS = {
    "terminal.txt": the_terminal, "note.md": the_note, "page.html": the_page,
    "answer.json": the_file,
}  # fmt: skip


@pytest.mark.parametrize("name", RENDERERS)
def test_the_wording_is_the_recorded_one(name):
    path, text = SNAPSHOTS / name, RENDERERS[name]()
    if os.environ.get("BAT_RECORD"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_everything_that_can_be_said_is_in_the_snapshot_of_the_terminal():
    said = [each for found in MADE_UP().values() for each in verdict.statements(found)]
    said += verdict.differences(compared())
    found = {(each.kind, each.verdict) for each in said}
    assert found == {(kind, word) for kind, words in verdict.VERDICTS.items() for word in words}
