"""The answer in a few lines: a verdict that the statements allow, and a command to go on with."""

import dataclasses
import shlex

import pytest

from bat.data import checks
from bat.report import summary, verdict, wording
from tests.report.made_up import noisy, outcome, studies, with_stacks

BETTER = outcome({0: 0.3, 500: 0.2}, best=500)
STACKED = with_stacks(BETTER, 0.2, 0.15, 0.12)
HARM = outcome({0: 0.1, 500: 0.2, 2000: 0.3})
ASKED = {"data": "their file.csv", "target_column": "sold for", "limit": 0, "baselines": "ridge"}


def head(found):
    return summary.headline(verdict.statements(found))


def said(found, settings=None):
    return summary.lines(verdict.statements(found), found, settings or ASKED)


@pytest.mark.parametrize(
    ("found", "begins"),
    [
        (BETTER, "Worth it: tuning on 500 bare texts changed the error by -33.3 % (plausible: -3"),
        (HARM, "Not worth it: tuning on 2,000 bare texts changed the error by +200.0 % (plausi"),
        (
            outcome({0: 0.2, 500: 0.2}),
            "Not worth it: tuning on 500 bare texts changed the error by ",
        ),
        (noisy(), "Too early to tell: tuning on 500 bare texts changed the error by -"),
        (outcome({0: 0.2}), "No encoder was tuned"),
    ],
)
def test_the_first_line_is_the_verdict_with_its_number(found, begins):
    assert head(found).startswith(begins)
    gain = [each for each in verdict.statements(found) if each.kind == "gain"]
    for each in gain:
        assert wording.change(each.numbers["share"]) in head(found)


def test_the_first_line_names_what_to_serve_and_by_how_much_it_is_better():
    pair, served = (STACKED.line(each.key) for each in (STACKED.best_pair, STACKED.served))
    share = 1 - served.scores["mae"].value / pair.scores["mae"].value
    told = f"{100 * share:.1f} % lower than that of the best encoder alone."
    assert head(STACKED).endswith(told)
    assert f"Serve {served.name}: its error is " in head(STACKED)
    assert "than that of" not in head(BETTER)  # which serves the best encoder alone


def test_an_unfinished_study_says_so_first():
    half = dataclasses.replace(BETTER, missing=("documents=1000 seed=0",))
    assert head(half).startswith("Unfinished. Worth it")
    assert said(half)[-1].startswith("Next: start the same command again")


@pytest.mark.parametrize("name", studies())
def test_there_are_at_most_five_lines_and_the_last_says_what_to_do(name):
    lines = said(studies()[name])
    assert 2 <= len(lines) <= 5
    assert [line.startswith("Next: ") for line in lines] == [False] * (len(lines) - 1) + [True]
    assert sum(line.startswith("Cost: ") for line in lines) == 1


def command(line):
    """The parameters of the command that a line ends with."""
    words = shlex.split(line[line.index("mlflow run") :])
    assert words[:6] == ["mlflow", "run", ".", "-e", "scaling_study", "--env-manager"]
    return dict(word.split("=", 1) for word in words if "=" in word)


def test_the_command_keeps_what_reads_the_data_and_changes_what_would_tell():
    early = said(noisy())[-1]
    assert command(early) == {
        "data": "their file.csv", "target_column": "sold for", "seeds": "0,1,2"
    }  # fmt: skip
    limited = said(noisy(), ASKED | {"limit": "1000"})[-1]
    assert command(limited)["limit"] == "0"
    harmed = command(said(HARM)[-1])
    assert harmed["baselines"].endswith(",supervised")
    tried = said(HARM, ASKED | {"baselines": "ridge,supervised"})[-1]
    assert tried == "Next: serve it, with the command below."


def test_a_warning_of_the_data_comes_before_all_else():
    warned = checks.Finding("one price", "warning", 40, "10 % of the rows have one price")
    about = dataclasses.replace(BETTER.about, findings=(warned,))
    lines = said(dataclasses.replace(BETTER, about=about))
    assert lines[-1] == "Next: look at checks.csv, since 10 % of the rows have one price."


def test_words_have_a_line_where_something_was_added_to_them():
    words = [line for line in said(STACKED) if line.startswith("Beside words: ")]
    assert words == [words[0]]
    assert "the embedding of the factory encoder changes the error of TF-IDF + ridge (" in words[0]
    assert "tuning changes that of words + factory by -20.0 %" in words[0]
    assert not [line for line in said(BETTER) if line.startswith("Beside words")]
