"""Names and texts of others stay what they are in every medium, and become nothing else."""

import csv
import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bat import escape, records
from bat.data import checks
from bat.registry import tracking
from bat.report import answer_file, figures, page, runs, tables, verdict
from tests.report.made_up import outcome

NASTY = "$<>&\"'`|*_[]()~\\#!:/.@=+- \n\r\t\0\x1b\x85\u2028\u200f\u202e\u05d0👩\u200d🔧車é\ud800ax1"
WORDS = ("<img src=x onerror=alert(1)>", "[a](http://b)", "](", "$5k_to_$9k", "www.b.org", "```")
names = st.lists(st.sampled_from([*NASTY, *WORDS]), min_size=1, max_size=30).map("".join)
slowly = settings(deadline=None, max_examples=10, suppress_health_check=list(HealthCheck))
BASE = outcome({0: 0.3, 500: 0.2})


def named(name):
    """A small study in which everything that its user may choose has that name."""
    finding = checks.Finding("one price", "warning", 1, f"of {name} much is one price")
    about = dataclasses.replace(
        BASE.about,
        corpus=name,
        base=name,
        parts_by=f"group_column={name}",
        base_protocol="transductive",
        findings=(finding,),
    )
    rows = [dataclasses.replace(row, key=row.key._replace(base=name)) for row in BASE.rows]
    choice = dataclasses.replace(BASE.served, key=BASE.served.key._replace(base=name))
    return dataclasses.replace(BASE, about=about, rows=rows, best_pair=choice, served=choice)


def joined(text):
    """A text without white space: it may be broken into lines anywhere."""
    return re.sub(r"\s", "", text)


def drawn_texts(figure):
    target = io.StringIO()
    with figures.mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(target, format="svg")
    root = ElementTree.fromstring(target.getvalue())
    return joined("".join(root.itertext()))


@example("cars_$5k_to_$9k_.jsonl")
@example(NASTY)
@given(names)
@slowly
def test_figures_show_names_as_they_are(name):
    found, shown = named(name), joined(escape.printable(name))
    assert shown in drawn_texts(figures.curve(found, "mae"))
    label = f"base_model={name}"
    assert shown in drawn_texts(figures.curves_together({label: found, "b": found}, "mae"))


class Elements(HTMLParser):
    """The elements of a page outside of its figures, and its text."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.text, self.in_figure = [], "", False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.in_figure = self.in_figure or tag == "svg"
        if not self.in_figure:
            self.elements.append((tag, [name for name, _ in attributes]))

    def handle_endtag(self, tag):
        self.in_figure = self.in_figure and tag != "svg"

    def handle_data(self, text):
        self.text += "" if self.in_figure else text

    def handle_comment(self, text):
        self.elements.append(("comment", text))


def pages(name):
    found = named(name)
    together = {f"base_model={name}": found, "b": found}
    return (
        Elements(page.page(found, {"data": name, name: "value"})),
        Elements(page.comparison(together, verdict.differences(together))),
    )


PLAIN = pages("plain")


@example(NASTY)
@given(names)
@slowly
def test_a_page_shows_names_and_gains_no_element(name):
    for html, plain in zip(pages(name), PLAIN, strict=True):
        assert html.elements == plain.elements
        count = plain.text.count("plain")
        assert count > 2
        assert html.text.count(escape.printable(name)) >= count


def comparison_note(name):
    together = {f"base_model={name}": named(name), "b": named(name)}
    logged = runs.comparison_records(together, verdict.differences(together))
    return next(record for record in logged if isinstance(record, records.Note)).markdown


def answer_text(name):
    logged = runs.parent_records(named(name), {"data": name})
    return next(each.text for each in logged if getattr(each, "name", "") == "answer.md")


NOTES = {
    "study": lambda name: runs.note(named(name), {"data": name}), "together": comparison_note,
    "answer": answer_text,
}  # fmt: skip


def parsed(markdown):
    """The kinds of a note's tokens in order, texts apart, and all its text."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    flat = [inner for token in tokens for inner in (token.children or [token])]
    kinds = [token.type for token in flat if token.type != "text"]
    return kinds, "".join(token.content for token in flat)


@pytest.mark.parametrize("write", NOTES.values(), ids=NOTES)
@example(NASTY)
@example("[x]: http://b.org\n# a\n- b\n```\n<b>")
@given(name=names)
@slowly
def test_notes_show_names_and_gain_no_markup(write, name):
    (kinds, text), note = parsed(write("plain")), write(name)
    found, shown = parsed(note)
    assert found == kinds
    wanted = joined(escape.printable(name))
    assert joined(shown).count(wanted) >= text.count("plain") > 0
    assert not re.search(r"(?<![\w`])(https?|ftp)://|www\.|(^|\s)@\w", note, re.IGNORECASE)


@example(NASTY)
@given(names)
@slowly
def test_an_answer_for_programs_is_strict_json_and_keeps_names(name):
    text = answer_file.record(
        named(name), {"data": name}, {"name": name, "seed": float("nan")}
    ).text
    text.encode("ascii")
    found = json.loads(text, parse_constant=pytest.fail)
    doubts = {each["verdict"]: each["facts"] for each in found["doubts"]}
    kept = escape.storable(name)
    assert doubts["base_saw_held_out_texts"]["base"] == found["arms"][0]["base"] == kept
    assert doubts["data_warning"]["message"] == f"of {kept} much is one price"
    assert found["registered"] == {"name": kept, "seed": None}
    assert all(escape.printable(each["text"]) == each["text"] for each in found["doubts"])
    json.dumps(found, ensure_ascii=False).encode()  # no lone surrogate
    assert "\\u0000" not in text


@example("a```\n# b\n<img>")
@given(names)
def test_a_block_of_code_ends_where_it_is_to(name):
    (token,) = MarkdownIt("commonmark").parse(escape.fenced(tables.plain_table([[name], ["b"]])))
    assert token.type == "fence"
    assert escape.printable(name).rstrip() in token.content


@given(names, names)
def test_a_table_comes_back_line_for_line(name, other):
    table = records.Table("a.csv", [{"study": name, "r2": -0.5}, {"study": other, "r2": 1.0}])
    written = tracking._written(table.name, tracking.pd.DataFrame(list(table.rows)))
    rows = list(csv.reader(io.StringIO(written, newline="")))
    assert rows == [
        ["study", "r2"], [escape.cell(name), "-0.5"], [escape.cell(other), "1.0"]
    ]  # fmt: skip
    written.encode()
    for text, cell in ((name, rows[1][0]), (other, rows[2][0])):
        assert cell.removeprefix("'") == escape.printable(text).removeprefix("'")
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_printable_text_keeps_letters_and_shows_the_rest():
    assert escape.printable("車 é\u3000א👩\u200d🔧") == "車 é\u3000א👩\u200d🔧"
    assert escape.printable("a\nb\0c\u202ed\ud800") == r"a\nb\x00c\u202ed\ud800"


def test_what_is_logged_comes_back(store, tmp_path):
    with tracking.run("test") as tracker:
        tracker.log(records.config({"data": NASTY}))
        tracker.log(records.Tags({"corpus": NASTY}))
        tracker.log(records.Note(NASTY))
        tracker.log(records.Text("a.txt", NASTY))
        tracker.log(records.Table("a.jsonl", [{"excerpt": NASTY}]))
        tracker.log(records.Table("a.csv", [{"excerpt": NASTY}]))
        tracker.log(records.Dataset(NASTY * 20, "d" * 64, ["a", "b"], [1.0, 2.0], "study"))
    run = store.get_run(tracker.run_id)
    kept = escape.storable(NASTY)
    assert run.data.params["config.data"] == run.data.tags["corpus"] == kept
    assert run.data.tags["mlflow.note.content"] == kept
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == escape.printable(NASTY * 20)[:500]
    path = store.download_artifacts(run.info.run_id, "a.jsonl", str(tmp_path))
    assert json.loads(Path(path).read_text()) == {"excerpt": kept}


def test_whole_numbers_stay_whole_in_a_column_with_gaps(store, tmp_path):
    with tracking.run("test") as tracker:
        tracker.log(records.Table("a.csv", [{"documents": 256}, {"documents": None, "r2": 0.5}]))
    path = store.download_artifacts(tracker.run_id, "a.csv", str(tmp_path))
    assert Path(path).read_text().splitlines() == ["documents,r2", "256,", ",0.5"]
