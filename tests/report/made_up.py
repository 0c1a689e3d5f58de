"""Studies made up for the tests of the report: arms that miss each price by a given share."""

import dataclasses

import numpy as np

from bat.data import checks, corpus
from bat.models import predictors
from bat.models.explanation import StrongWord
from bat.stats import bootstrap, stopping
from bat.workflow import arms
from bat.workflow import outcome as outcomes
from bat.workflow.choice import Choice

ABOUT = outcomes.About(
    corpus="theirs.csv",
    digest="d" * 64,
    parts={"train": 640, "held_out": 360},
    findings=(),
    ceiling=None,
    base="base",
    finetune_on="train",
    sizes=(0, 500, 1000, 2000),
    seeds=(0,),
    baselines=("tfidf",),
    margin=0.1,
    protocol=corpus.PROTOCOL,
)


STRONGEST = [StrongWord("<mint>", 12, 1.5, 11_000.0), StrongWord("project", 1_234, 0.8, -4_400.0)]
TWO_SEEDS = dataclasses.replace(ABOUT, seeds=(0, 1))


def outcome(errors, *, best=0, seeds=1, **about):
    """A study whose arms miss each price by the given share, some more, some less."""
    random = np.random.default_rng(0)
    prices = random.lognormal(10, 0.5, 400)
    sides = random.choice([-1.0, 1.0], (seeds, 400)) * random.uniform(0.5, 1.5, (seeds, 400))
    rows = []
    for documents, error in errors.items():
        predictions = prices * (1 + error * sides)
        rows.append(
            outcomes.Row(
                key=ABOUT.key("mlm", documents, 0),
                name=f"tuned on {documents:,}" if documents else "factory",
                predictions=predictions,
                scores=bootstrap.bootstrap(prices, predictions, draws=200),
                train_mae=1000.0,
                seconds={"search": 1.0},
            )
        )
    words = dataclasses.replace(
        rows[0],
        key=arms.baseline("base", 640, 0, "tfidf"),
        name="TF-IDF + SVD",
        strongest=STRONGEST,
    )
    chosen = next((row for row in rows if row.documents == best), rows[0])
    choice = Choice(ABOUT.key("mlm", best, 0), chosen.predictions[0])
    return outcomes.Outcome(
        about=dataclasses.replace(ABOUT, **about),
        prices=prices,
        rows=[*rows, words],
        seeds=tuple(range(seeds)),
        best_pair=choice,
        served=choice,
        seconds={"search": 2.0},
    )


def with_supervised(found, error):
    """The study with one more baseline, which misses each price by the same share."""
    row = dataclasses.replace(
        found.rows[-1],
        key=arms.baseline("base", 640, 0, "supervised"),
        name="supervised",
        predictions=(found.prices * (1 + error))[None],
        scores=bootstrap.bootstrap(found.prices, found.prices * (1 + error), draws=200),
        train_mae=1.0,
    )
    return dataclasses.replace(found, rows=[*found.rows, row])


def noisy():
    """A study whose tuned encoder errs otherwise than the factory's, and a little less."""
    found = outcome({0: 0.3, 500: 0.295})
    noise = np.exp(np.random.default_rng(0).normal(0, 0.02, (1, 400)))
    rows = [
        dataclasses.replace(row, predictions=row.predictions * noise) if row.documents else row
        for row in found.rows
    ]
    return dataclasses.replace(found, rows=rows)


def of_rows(found, count):
    """The study on its first test rows alone."""
    rows = [dataclasses.replace(row, predictions=row.predictions[:, :count]) for row in found.rows]
    choice = Choice(found.served.key, found.served.predictions[:count])
    return dataclasses.replace(
        found, prices=found.prices[:count], rows=rows, best_pair=choice, served=choice
    )


def with_stacks(found, words, factory, tuned, uses=("embedding", "ridge on words")):
    """The study with ridge regression on words and two stacks that miss by the given shares."""
    sides = found.rows[0].predictions / found.prices - 1
    sides /= np.abs(sides).mean()
    largest = found.tuned[-1].key.documents
    made = []
    for key, name, error in (
        (ABOUT.key("mlm", 0, 0, "stack"), "words + factory", factory),
        (ABOUT.key("mlm", largest, 0, "stack"), f"words + tuned on {largest:,}", tuned),
        (arms.baseline("base", 640, 0, "ridge"), "TF-IDF + ridge", words),
    ):
        predictions = found.prices * (1 + error * sides)
        row = dataclasses.replace(
            found.rows[0],
            key=key,
            name=name,
            predictions=predictions if name != "TF-IDF + ridge" else predictions[:1],
            scores=bootstrap.bootstrap(found.prices, predictions, draws=200),
            cost=predictors.Cost(12.3, 98.7),
            by_chance=name != "TF-IDF + ridge",
            uses=uses if key.predictor == "stack" else (),
        )
        made.append(row)
    best = min(made, key=lambda row: row.scores["mae"].value)
    served = Choice(best.key, best.predictions[0])
    rows = [*found.rows[:-1], *made[:2], found.rows[-1], made[2]]
    return dataclasses.replace(found, rows=rows, served=served)


def limited(found, serve_within):
    """The study of a user who has no more time for a text than this, in milliseconds."""
    return dataclasses.replace(
        found, about=dataclasses.replace(found.about, serve_within=serve_within)
    )


def words_served(found):
    """The study with ridge regression on words as what is served."""
    row = found.row("TF-IDF + ridge")
    return dataclasses.replace(found, served=Choice(row.key, row.predictions[0]))


def studies():
    """Studies that together say everything that a study can say, by what they show."""
    tried = "the 1,000 further documents can take at most 1 off"
    stop = stopping.Stop(True, 1.0, 2.0, tried)
    steady = {0: 0.3, 250: 0.25, 500: 0.2, 1000: 0.15, 2000: 0.12, 4000: 0.11, 8000: 0.105}
    law = {size: 0.1 + 0.15 * 250 / size for size in steady if size}
    rising = (*range(0, 4000, 500), *range(4000, 8001, 1000))
    late = {size: 0.3 - 0.15 * (size / 8000) ** 2 for size in rising}
    large = {0: 0.3, 3000: 0.2, 5000: 0.15, 6000: 0.13, 7000: 0.12, 8000: 0.115}
    stopped = dataclasses.replace(outcome({0: 0.3, 500: 0.1}), stop=stop, skipped=(900, 2000))
    part = dataclasses.replace(ABOUT, seeds=(0, 1))
    warned = checks.Finding("one price", "warning", 40, "10 % of the rows have the price 1,000")
    grouped = outcome(
        {0: 0.1, 500: 0.2},
        seeds=2,
        finetune_on="all",
        base_protocol="transductive",
        features="factory+tuned",
        parts_by="group_column=seller",
        findings=(warned, dataclasses.replace(warned, severity="note")),
    )
    return {
        "gain": outcome({0: 0.3, 500: 0.11, 1000: 0.101, 2000: 0.1}, best=2000),
        "curve": outcome(steady, best=8000, seeds=2),
        "power law": outcome({0: 0.3} | law, best=8000),
        "late gain": outcome(late, best=8000),
        "large sizes alone": outcome(large, best=8000),
        "no difference": outcome({0: 0.2, 500: 0.2, 2000: 0.2}),
        "no difference over seeds": outcome({0: 0.2, 500: 0.2}, seeds=6),
        "too early": noisy(),
        "harm": outcome({0: 0.1, 500: 0.2, 2000: 0.3}),
        "factory alone": outcome({0: 0.2}),
        "stopped": stopped,
        "went on": with_supervised(dataclasses.replace(stopped, skipped=()), 0.05),
        "few rows": of_rows(outcome({0: 0.3, 250: 0.25, 500: 0.2}), 14),
        "unfinished": dataclasses.replace(
            outcome({0: 0.1, 500: 0.2}, best=500),
            about=part,
            missing=("documents=1000 seed=0", "baseline=ridge"),
        ),
        "stack pays": with_stacks(outcome({0: 0.3, 500: 0.2}, best=500), 0.2, 0.15, 0.1),
        "words are enough": with_stacks(
            outcome({0: 0.3, 500: 0.2}, best=500), 0.1, 0.1, 0.1, uses=("numbers", "ridge on words")
        ),
        "stack harms": with_stacks(outcome({0: 0.3, 500: 0.3}), 0.1, 0.12, 0.15),
        "stack too early": with_stacks(noisy(), 0.1, 0.0975, 0.0975),
        "served in time": limited(with_stacks(outcome({0: 0.3, 500: 0.2}), 0.1, 0.1, 0.1), 20.0),
        "nothing in time": limited(with_stacks(outcome({0: 0.3, 500: 0.2}), 0.1, 0.1, 0.1), 1.0),
        "words as good": words_served(with_stacks(outcome({0: 0.3, 500: 0.2}), 0.1, 0.099, 0.1)),
        "doubts": dataclasses.replace(grouped, groups=np.arange(400) % 20),
    }
