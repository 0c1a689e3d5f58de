"""What a study says, as data: verdicts that the intervals allow, with the numbers behind them."""

import dataclasses
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from bat.cli import InputError
from bat.report import analysis, tables, terminal, verdict, wording
from bat.report.verdict import Statement
from bat.stats import bootstrap, stopping
from bat.workflow import arms
from bat.workflow.choice import Choice
from tests.report.made_up import ABOUT, noisy, of_rows, outcome, with_stacks, with_supervised

TWO_SEEDS = dataclasses.replace(ABOUT, seeds=(0, 1))


def of_kind(found, kind):
    """The statements of a kind: a study's, or those of a list."""
    said = verdict.statements(found) if hasattr(found, "rows") else found
    return [each for each in said if each.kind == kind]


def the(found, kind):
    (statement,) = of_kind(found, kind)
    return statement


def verdicts(found, kind):
    return [each.verdict for each in of_kind(found, kind)]


def test_a_gain_is_called_a_gain_and_enough_is_found():
    found = outcome({0: 0.3, 500: 0.11, 1000: 0.101, 2000: 0.1}, best=2000)
    gain = the(found, "gain")
    assert (gain.verdict, gain.action, gain.facts["documents"]) == ("worth_it", "fine_tune", 2000)
    ours, factory = found.row("tuned on 2,000"), found.row("factory")
    change = bootstrap.paired(
        found.prices, ours.predictions, factory.predictions, chance=(True, True)
    )
    assert gain.numbers["mae"] == change["mae"]
    assert gain.numbers["r2_log"] == change["r2_log"]
    assert gain.numbers["factory_mae"] == factory.scores["mae"]
    share = 1 - ours.scores["mae"].value / factory.scores["mae"].value
    assert gain.numbers["share"].value == pytest.approx(share)
    enough = the(found, "enough")
    assert enough.numbers["documents"].value == 500
    assert (enough.verdict, enough.action) == ("among_sizes", "use_fewer_documents")
    assert verdicts(found, "curve") == ["no_shape"]  # three sizes support no curve
    choice = the(found, "choice")
    assert (choice.verdict, choice.facts["documents"], choice.facts["seed"]) == ("tuned", 2000, 0)
    baseline = the(found, "baseline")
    assert baseline.verdict == "beats"
    assert baseline.facts == {
        "arm": "tuned on 2,000", "baseline": "TF-IDF + SVD", "role": "best_baseline"
    }  # fmt: skip


def test_no_gain_gives_no_number():
    found = outcome({0: 0.2, 500: 0.2, 2000: 0.2})
    gain = the(found, "gain")
    assert (gain.verdict, gain.action) == ("not_worth_it", "use_factory")
    assert "no_gain" in verdicts(found, "curve")
    assert of_kind(found, "enough") == []
    assert verdicts(found, "choice") == ["factory"]


def test_harm_is_called_harm():
    found = outcome({0: 0.1, 500: 0.2, 2000: 0.3})
    gain = the(found, "gain")
    assert (gain.verdict, gain.action) == ("does_harm", "use_factory")
    assert gain.numbers["mae"].low > 0
    assert "no_gain" in verdicts(found, "curve")
    assert of_kind(found, "enough") == []


def test_doubts_are_said():
    def doubts(errors, **about):
        return {each.verdict: each for each in of_kind(outcome(errors, **about), "doubt")}

    plain = {0: 0.1, 500: 0.2}
    assert doubts(plain)["few_seeds"].facts == {"seeds": 1}
    assert doubts(plain, seeds=2)["few_seeds"].facts == {"seeds": 2}
    assert "few_seeds" not in doubts(plain, seeds=5)
    assert "transductive" in doubts(plain, finetune_on="all")
    assert "transductive" not in doubts(plain)
    assert "two_encoders" in doubts(plain, features="factory+tuned")
    assert "two_encoders" not in doubts(plain)


def test_words_that_move_prices_are_those_of_the_first_baseline_that_adds_up_words():
    found = outcome({0: 0.3, 500: 0.2})
    *arms, words = found.rows
    assert the(found, "words").facts == {
        "baseline": "TF-IDF + SVD",
        "words": [
            {"word": "<mint>", "texts": 12, "ratio": 1.5, "amount": 11_000.0},
            {"word": "project", "texts": 1_234, "ratio": 0.8, "amount": -4_400.0},
        ],
    }
    other = dataclasses.replace(words, name="other", strongest=words.strongest[:1])
    plain = dataclasses.replace(words, name="plain", strongest=())
    both = dataclasses.replace(found, rows=[*arms, plain, other, words])
    assert the(both, "words").facts["baseline"] == "other"
    assert of_kind(dataclasses.replace(found, rows=[*arms, plain]), "words") == []
    assert not any("mint" in line for line in wording.answer(verdict.statements(found)))


def test_sizes_left_out_are_named():
    stop = stopping.Stop(True, 1.0, 2.0, "the rest can take at most 1 off")
    stopped = dataclasses.replace(outcome({0: 0.3, 500: 0.1}), stop=stop, skipped=(900, 2000))
    facts = {"documents": [900, 2000], "reason": stop.reason}
    assert the(stopped, "stop") == Statement("stop", "stopped", facts=facts)
    went_on = dataclasses.replace(stopped, skipped=())
    assert verdicts(went_on, "stop") == ["went_on"]
    half = dataclasses.replace(went_on, missing=("documents=1000 seed=0",))
    assert verdicts(half, "stop") == []


def test_the_margin_is_the_one_asked_for():
    enough = the(outcome({0: 0.3, 500: 0.15, 1000: 0.101, 2000: 0.1}, margin=0.5), "enough")
    assert enough.numbers["documents"].value == 500
    assert enough.facts == {"margin": 0.5}


def test_a_curve_is_followed_beyond_the_sizes_and_tested():
    sizes = {0: 0.3, 250: 0.25, 500: 0.2, 1000: 0.15, 2000: 0.12, 4000: 0.11, 8000: 0.105}
    found = outcome(sizes, best=8000)
    curve = analysis.learned(found)[0]["mae"]
    forecast = the(found, "forecast")
    assert forecast.facts == {"documents": [16_000, 40_000]}
    assert forecast.numbers["mae_with_16000"] == curve.forecasts[0].score
    backtest = the(found, "backtest")
    assert backtest.facts == {"documents": 4000}
    assert backtest.numbers["mae"] == curve.backtest.error
    assert (backtest.verdict == "holds") == (
        curve.backtest.error.low <= 0 <= curve.backtest.error.high
    )
    assert [each.facts["name"] for each in of_kind(found, "hypothesis")] == [
        "H1", "H2", "H3", "H4", "H4"
    ]  # fmt: skip
    tangible = of_kind(found, "hypothesis")[0]
    assert tangible.verdict == "holds"
    assert tangible.numbers["deciding"].value == pytest.approx(0.65)  # 0.3 to 0.105


def test_a_handful_of_test_rows_has_no_curve():
    few = of_rows(outcome({0: 0.3, 250: 0.25, 500: 0.2}), 14)
    curve = the(few, "curve")
    assert (curve.verdict, curve.action) == ("too_few_rows", "add_rows")
    assert curve.facts == {"test_rows": 14, "needed": 20}
    assert of_kind(few, "hypothesis") == []


def test_a_gain_that_is_worth_it_is_one_for_the_curve_too():
    for seed in range(8):
        random = np.random.default_rng(seed)
        found = outcome({0: 0.3, 250: 0.3, 500: 0.3, 1000: 0.3})
        noise = random.normal(0, 0.05, (1, 400))
        rows = [
            dataclasses.replace(
                row,
                predictions=found.prices
                + (row.predictions - found.prices) * (1 + noise - 0.005 * bool(row.documents)),
            )
            if row.documents
            else row
            for row in found.rows
        ]
        found = dataclasses.replace(found, rows=rows)
        if the(found, "gain").verdict == "worth_it":
            assert "no_gain" not in verdicts(found, "curve"), seed


def test_where_it_is_too_early_the_answer_says_which_corpus_would_tell():
    gain = the(noisy(), "gain")
    assert (gain.verdict, gain.action) == ("too_early", "add_rows")
    assert gain.facts["rows_if_nothing"] > sum(ABOUT.parts.values())
    assert gain.facts["seeds_needed"] >= gain.facts["seeds"] == 1
    assert "with 80 % power" in wording.sentence(gain)


def test_rows_in_groups_are_told_and_few_groups_doubted():
    found = outcome({0: 0.3, 500: 0.2}, parts_by="group_column=seller")
    few = dataclasses.replace(found, groups=np.arange(400) % 20)
    counts = {"test_rows": 400, "groups": 20, "groups_of": "groups"}
    assert the(few, "gain").facts.items() >= {"documents": 500, **counts}.items()
    (doubt,) = (each for each in of_kind(few, "doubt") if each.verdict == "few_groups")
    assert doubt.facts == {"groups": 20, "needed": 30, "parts_by": "group_column=seller"}
    many = dataclasses.replace(found, groups=np.arange(400) % 50)
    assert the(many, "gain").facts["groups"] == 50
    assert "few_groups" not in verdicts(many, "doubt")
    by_text = outcome({0: 0.3, 500: 0.2}, parts_by="text")
    repeated = dataclasses.replace(by_text, groups=np.arange(400) % 50)
    assert the(repeated, "gain").facts["groups_of"] == "texts"


def test_a_base_model_that_has_seen_held_out_texts_is_named():
    assert "base_saw_held_out_texts" not in verdicts(outcome({0: 0.3, 500: 0.2}), "doubt")
    seen = outcome({0: 0.3, 500: 0.2}, base_protocol="transductive")
    (doubt,) = (
        each for each in of_kind(seen, "doubt") if each.verdict == "base_saw_held_out_texts"
    )
    assert doubt.facts == {"base": "base"}


def test_learning_from_prices_is_compared_where_it_was_asked_for():
    found = with_supervised(outcome({0: 0.3, 500: 0.2}), 0.1)
    words, supervised = of_kind(found, "baseline")
    assert supervised.facts["baseline"] == "supervised"
    assert supervised.facts["role"] == "end_to_end"
    assert (supervised.verdict, supervised.action) == ("loses", "use_baseline")
    assert words.facts["role"] == "best_baseline"  # of those that cost little
    level = outcome({0: 0.3, 500: 0.2})
    key = arms.baseline("base", 640, 0, "supervised")
    same = dataclasses.replace(level.row("tuned on 500"), name="supervised", key=key)
    level = dataclasses.replace(level, rows=[*level.rows, same])
    supervised = of_kind(level, "baseline")[-1]
    assert (supervised.verdict, supervised.action) == ("no_difference", "none")


def test_what_is_missing_is_named():
    half = dataclasses.replace(outcome({0: 0.1, 500: 0.2}), missing=("documents=1000 seed=0",))
    (doubt,) = (each for each in of_kind(half, "doubt") if each.verdict == "unfinished")
    assert doubt.facts == {"missing": ["documents=1000 seed=0"]}
    choice = the(half, "choice")
    assert (choice.verdict, choice.facts["documents"]) == ("open", 0)
    assert choice.action == "finish_study"
    part = dataclasses.replace(outcome({0: 0.1, 500: 0.2}, seeds=1), about=TWO_SEEDS)
    (doubt,) = (each for each in of_kind(part, "doubt") if each.verdict == "seed_not_counted")
    assert doubt.facts == {"seed": 1}


def test_studies_are_compared_at_their_largest_size_on_the_same_rows():
    together = {"small": outcome({0: 0.3, 500: 0.2}), "large": outcome({0: 0.3, 500: 0.1})}
    difference = the(verdict.differences(together), "difference")
    ours, theirs = (each.row("tuned on 500") for each in together.values())
    mae = theirs.scores["mae"].value - ours.scores["mae"].value
    assert difference.facts == {
        "label": "large", "arm": "tuned on 500", "other_label": "small", "other_arm": "tuned on 500"
    }  # fmt: skip
    assert difference.verdict == "better"
    assert difference.numbers["mae"].value == pytest.approx(mae)
    assert difference.numbers["r2"].value > 0


def test_studies_are_paired_over_the_seeds_that_they_share():
    one, three = outcome({0: 0.3, 500: 0.2}), outcome({0: 0.3, 500: 0.1}, seeds=3)
    last = dataclasses.replace(
        one,
        seeds=(2,),
        rows=[dataclasses.replace(row, predictions=row.predictions[-1:]) for row in three.rows],
    )
    difference = verdict.differences({"one": last, "three": three})[0]
    assert difference.verdict == "no_difference"  # seed 2 of both is the same
    assert difference.numbers["mae"] == bootstrap.Interval(0.0, 0.0, 0.0)
    apart = dataclasses.replace(one, seeds=(7,))
    with pytest.raises(InputError, match="studies that share a seed"):
        verdict.differences({"one": apart, "three": three})


def test_a_comparison_says_what_is_missing():
    half = dataclasses.replace(outcome({0: 0.3, 500: 0.2}), missing=("documents=1000 seed=0",))
    together = {"whole": outcome({0: 0.3, 500: 0.1}), "half": half}
    said = terminal.comparison(together, verdict.differences(together))
    assert "half: Unfinished: documents=1000 seed=0" in said


def test_studies_of_different_rows_are_not_compared():
    one = outcome({0: 0.3, 500: 0.2})
    other = dataclasses.replace(one, prices=one.prices + 1)
    with pytest.raises(InputError, match="studies with the same held-out rows"):
        verdict.differences({"one": one, "other": other})


def test_a_verdict_that_no_reader_knows_is_refused():
    with pytest.raises(ValueError, match="'won' of gain; expected worth_it, not_worth_it"):
        Statement("gain", "won")


def test_the_documentation_lists_every_word():
    text = (Path(__file__).parents[2] / "docs" / "answer.md").read_text()
    listed = dict(re.findall(r"^\| `(\w+)`[^|]*\| ([^|]*) \|.*\|.*\|$", text, re.MULTILINE))
    assert set(listed) == set(verdict.VERDICTS) == set(get_args(verdict.Kind))
    for kind, words in verdict.VERDICTS.items():
        assert set(words) <= set(re.findall(r"`(\w+)`", listed[kind])), kind
    for action in get_args(verdict.Action):
        assert f"\n| `{action}` |" in text
    assert set(wording.SENTENCES) == set(verdict.VERDICTS)
    assert set(wording.DOUBTS) == set(verdict.VERDICTS["doubt"])


def additions(found):
    return [each for each in verdict.statements(found) if each.kind == "addition"]


def test_the_stack_says_what_an_embedding_adds_to_words_and_tuning_to_both():
    found = with_stacks(outcome({0: 0.3, 500: 0.2}, best=500), 0.2, 0.15, 0.12)
    embedding, tuning = additions(found)
    assert (embedding.facts["what"], embedding.verdict) == ("embedding", "worth_it")
    assert embedding.numbers["share"].value == pytest.approx(0.25)
    assert embedding.numbers["before_mae"].value == pytest.approx(
        np.abs(found.row("TF-IDF + ridge").predictions - found.prices).mean()
    )
    assert (tuning.facts["what"], tuning.facts["documents"]) == ("tuning", 500)
    assert tuning.numbers["share"].value == pytest.approx(0.2)
    assert tuning.facts["bare_verdict"] == "worth_it"


def test_a_gain_is_not_owed_to_the_embedding_alone_where_the_stack_reads_more_besides():
    uses = ("embedding", "numbers", "ridge on words")
    found = with_stacks(outcome({0: 0.3, 500: 0.2}), 0.2, 0.15, 0.12, uses=uses)
    embedding, _ = additions(found)
    assert embedding.facts["also"] == ["numbers"]
    said = "what it reads more (the embedding of the factory encoder and numbers)"
    assert said in wording.sentence(embedding)
    (ridge,) = [row for row in found.rows if row.key.predictor == "ridge"]
    key = ridge.key._replace(predictor="words")
    words = dataclasses.replace(ridge, key=key, name="words + numbers", uses=uses[1:])
    found = dataclasses.replace(found, rows=[*found.rows, words])
    embedding, _ = additions(found)
    assert (embedding.facts["other"], embedding.facts["also"]) == ("words + numbers", [])
    assert "Added to words + numbers, the embedding of" in wording.sentence(embedding)


def test_tuning_that_helps_alone_and_not_beside_words_is_called_just_that():
    found = with_stacks(outcome({0: 0.3, 500: 0.2}, best=500), 0.1, 0.1, 0.1)
    _, tuning = additions(found)
    assert (tuning.verdict, tuning.facts["bare_verdict"]) == ("not_worth_it", "worth_it")
    said = wording.sentence(tuning)
    assert "Tuning helps the bare embedding, but it is not shown to add anything beside" in said


def test_the_unit_of_the_target_stands_behind_errors_and_nothing_else():
    found = with_stacks(outcome({0: 0.3, 500: 0.2}, best=500), 0.2, 0.15, 0.12)
    about = dataclasses.replace(found.about, unit="USD")
    told = verdict.statements(dataclasses.replace(found, about=about))
    said = {each.kind: wording.sentence(each) for each in told}
    plain = {each.kind: wording.sentence(each) for each in verdict.statements(found)}
    assert {kind for kind in said if "USD" in said[kind]} >= {"gain", "served", "addition"}
    assert {kind: each.replace(" USD", "") for kind, each in said.items()} == plain
    assert not any("% USD" in each for each in said.values())
    lines = tables.table(dataclasses.replace(found, about=about))
    assert lines[0][1:5] == ["R²", "MAE (USD)", "MedAE (USD)", "R² of log price"]


def test_without_words_or_stacks_nothing_is_said_of_them():
    assert additions(outcome({0: 0.3, 500: 0.2})) == []
    found = with_stacks(outcome({0: 0.3, 500: 0.2}), 0.2, 0.15, 0.12)
    found = dataclasses.replace(found, served=found.best_pair)
    alone = dataclasses.replace(found, rows=[r for r in found.rows if r.key.predictor != "ridge"])
    assert [each.facts["what"] for each in additions(alone)] == ["tuning"]
    factory = [r for r in found.rows if not (r.is_stack and r.key.documents)]
    only = additions(dataclasses.replace(found, rows=factory))
    assert [each.facts["what"] for each in only] == ["embedding"]


def test_what_is_served_is_named_with_its_reason():
    found = with_stacks(outcome({0: 0.3, 500: 0.2}, best=500), 0.2, 0.15, 0.12)
    (told,) = [each for each in verdict.statements(found) if each.kind == "served"]
    assert (told.verdict, told.action) == ("best", "serve")
    assert told.facts["arm"] == "words + tuned on 500"
    assert told.facts["pair"] == "tuned on 500"
    mae = {
        name: found.row(name).scores["mae"].value for name in (told.facts["arm"], "tuned on 500")
    }
    expected = mae["words + tuned on 500"] - mae["tuned on 500"]
    assert told.numbers["mae_minus_pair"].value == pytest.approx(expected)
    words = Choice(found.row("TF-IDF + ridge").key, found.row("TF-IDF + ridge").predictions[0])
    cheap = dataclasses.replace(found, served=words)
    (told,) = [each for each in verdict.statements(cheap) if each.kind == "served"]
    assert told.verdict == "as_good"
    assert "It needs no encoder." in wording.sentence(told)
    stack = the(found, "served")
    assert stack.facts["uses"] == ["embedding", "ridge on words"]
    assert "It reads embedding and ridge on words." in wording.sentence(stack)
    bare = with_stacks(outcome({0: 0.3, 500: 0.2}), 0.2, 0.15, 0.12, uses=("ridge on words",))
    assert "It needs no encoder. It reads ridge on words." in wording.sentence(the(bare, "served"))
    left_out = "Cross-validation on the training rows left its embedding out of words + factory."
    assert left_out in wording.sentence(additions(bare)[0])
    assert left_out not in wording.sentence(additions(found)[0])
    for within, expected in ((20.0, "in_time"), (1.0, "too_slow")):
        about = dataclasses.replace(cheap.about, serve_within=within)
        limited = dataclasses.replace(cheap, about=about)
        (told,) = [each for each in verdict.statements(limited) if each.kind == "served"]
        assert told.verdict == expected
    unfinished = dataclasses.replace(cheap, missing=("documents=1000 seed=0",))
    assert not [each for each in verdict.statements(unfinished) if each.kind == "served"]
