"""What fits a corpus is chosen, what does not is refused before work starts, and no plan lies."""

import contextlib
import datetime
import itertools
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

from bat.cli import InputError
from bat.data import corpus, near_duplicates, subsets
from bat.data.texts import text_key
from bat.models import encoder, predictors, words
from bat.tuning import packing
from bat.tuning.objectives import mlm
from bat.workflow import baselines, feasible, graph, local, plan, preparation, spec, stages, tasks
from entrypoints import finetune, scaling_study
from tests.conftest import sentences

RECIPE = mlm.Recipe()


def write(path, texts, **columns):
    """A file of these texts with prices that follow from their words, and of more columns."""
    draw = random.Random(0)
    rows = []
    for at, text in enumerate(texts):
        price = round(1000 * (1 + len(text.split()[-1])) * draw.lognormvariate(0, 0.4)) + 1
        more = {name: values[at] for name, values in columns.items()}
        rows.append(json.dumps({"text": text, "price": price} | more))
    path.write_text("\n".join(rows))
    return path


def short(n):
    """Different texts of some four tokens: two numbers of one or two digits."""
    return [f"{at // 100} arrow {at % 100}" for at in range(n)]


@pytest.fixture
def said(monkeypatch):
    """What the command says to a person."""
    lines = []
    monkeypatch.setattr("bat.cli.say", lines.append)
    return lines


def config(tiny_folder, data, **changes):
    settings = {"base_model": str(tiny_folder), "data": str(data), "trials": 1}
    return scaling_study.StudyConfig(**settings | {"baselines": "median"} | changes)


# Sizes


@pytest.mark.parametrize("least", [256, 300, 700])
def test_sizes_left_to_the_program_fit_any_corpus(least):
    for available in range(0, 4000, 7):
        sizes = subsets.fitting_sizes(available, least)
        assert sizes[0] == 0
        assert all(size >= least for size in sizes[1:])
        assert all(b >= 1.25 * a for a, b in itertools.pairwise(sizes))
        assert sizes[-1] == (available if available >= least else 0)
        usual = (0, *(round(share * available) for share in (0.25, 0.5, 1.0)))
        assert sizes == usual or usual[1] < least


def test_a_large_corpus_gets_the_sizes_it_always_had(tiny):
    texts = sentences(1200)
    assert feasible.sizes(tiny, [texts], RECIPE, "auto") == subsets.parse_sizes(
        "0,0.25,0.5,1.0", 1200
    )


def steps(opened, texts, size, recipe):
    """The definition: lay out the steps of the blocks that tuning would pack."""
    blocks = packing.pack(opened, texts, [size])
    count = mlm.blocks_a_step(blocks, recipe)
    return recipe.passes * -(-blocks.ends[0] // count)


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("words", [short, sentences])
def test_the_fewest_documents_are_exactly_those_that_the_schedule_takes(tiny, words, passes):
    texts, recipe = list(words(400)), mlm.Recipe(passes=passes)
    fewest, told = mlm.fewest_documents(tiny, texts, recipe)
    assert steps(tiny, texts, fewest, recipe) >= mlm.MIN_STEPS
    assert steps(tiny, texts, fewest - 1, recipe) < mlm.MIN_STEPS
    assert told >= mlm.MIN_STEPS
    assert mlm.fewest_documents(tiny, texts[: fewest - 1], recipe)[0] is None
    mlm.schedule(packing.pack(tiny, texts, [fewest]), [fewest], recipe)
    with pytest.raises(InputError, match="steps"):
        mlm.schedule(packing.pack(tiny, texts, [fewest - 1]), [fewest - 1], recipe)


def test_a_size_of_too_few_steps_is_refused_and_the_remedy_works(tiny):
    texts = short(600)
    with pytest.raises(InputError, match=r"256 documents in sizes=0,256,1.0, which are \d+ steps"
    ) as refused:  # fmt: skip
        feasible.sizes(tiny, [texts], RECIPE, "0,256,1.0")
    (remedy,) = re.findall(r"smallest size (\d+) documents", str(refused.value))
    assert feasible.sizes(tiny, [texts], RECIPE, f"0,{remedy},1.0") == (0, int(remedy), 600)
    with pytest.raises(InputError, match="smallest size"):
        feasible.sizes(tiny, [texts], RECIPE, f"0,{int(remedy) - 1},1.0")
    assert feasible.sizes(tiny, [texts], RECIPE, "auto")[1] == int(remedy)


def test_where_all_texts_are_too_few_passes_are_counted(tiny):
    texts = short(260)
    with pytest.raises(InputError, match=r"at least (\d+) passes") as refused:
        feasible.sizes(tiny, [texts], RECIPE, "1.0")
    passes = int(re.findall(r"at least (\d+) passes", str(refused.value))[0])
    assert feasible.sizes(tiny, [texts], mlm.Recipe(passes=passes), "1.0") == (260,)
    assert feasible.sizes(tiny, [texts], RECIPE, "auto") == (0,)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("0,half", "'half' in sizes"),
        ("0,0.5,0.5", "'0.5' twice"),
        ("0,300,300.0", "'300.0' twice"),
        ("0,-1", "size of -1"),
        ("0,100", "size of 100 documents"),
        ("0,300.5", "size of 300.5"),
    ],
)
def test_sizes_are_checked_before_data_are_read(sizes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        scaling_study.StudyConfig(data=str(tmp_path / "none.jsonl"), sizes=sizes)


@pytest.mark.parametrize("documents", ["some", "0", "-3", "100", "0.5,1.0", "nan"])
def test_documents_are_checked_before_data_are_read(documents, tmp_path):
    with pytest.raises(InputError, match="documents"):
        finetune.FinetuneConfig(data=str(tmp_path / "none.jsonl"), documents=documents)


def test_ray_is_missed_before_data_are_read(store, tmp_path, monkeypatch, tiny_folder):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InputError, match="executor=ray without Ray"):
        scaling_study.run(config(tiny_folder, tmp_path / "none.jsonl", executor="ray"))


# What is too small, and what no encoder of the texts can read


def sellers(part, n):
    """Name n groups that lie in one part."""
    names = (f"seller {at}" for at in itertools.count())
    return list(
        itertools.islice((name for name in names if corpus.part_of(text_key(name)) == part), n)
    )


@pytest.mark.parametrize(("part", "fewest"), [("train", 5), ("held_out", 10)])
def test_a_part_of_too_few_groups_is_refused(tmp_path, part, fewest):
    draw = random.Random(0)

    def load(groups):
        wanted = {"train": (12, 10), "held_out": (12, 10)} | {part: (groups, 120 // groups)}
        rows = [
            (" ".join(draw.choices([f"word{at}" for at in range(3000)], k=30)), seller)
            for each, (count, size) in wanted.items()
            for seller in sellers(each, count)
            for _ in range(size)
        ]
        texts, names = zip(*rows, strict=True)
        path = write(tmp_path / "few.jsonl", texts, seller=names)
        return corpus.load(str(path), group_column="seller")

    assert len(corpus.rows(load(fewest), part)) == 120 // fewest * fewest
    with pytest.raises(InputError, match=rf"{fewest - 1} groups of rows in the {part} part") as no:
        load(fewest - 1)
    assert f"at least {fewest}: folds and intervals are made of whole groups" in str(no.value)


def test_the_fewest_groups_are_enough_for_folds_along_time_and_for_every_baseline(tiny, tmp_path):
    draw = random.Random(0)
    words = [f"word{at}" for at in range(300)]
    texts = [" ".join(draw.choices(words, k=9)) for _ in range(105)]
    # Five texts lie before the cut alone, each at many prices; the others stand on both sides.
    rows = [(texts[at % 5], 900 + at, at) for at in range(100)]
    rows += [(text, 500 + 7 * at, 100 + at) for at, text in enumerate(texts[5:])]
    rows += [(text, 400 + 9 * at, 300 + at) for at, text in enumerate(texts[5:])]
    path = tmp_path / "few.jsonl"
    named = [dict(zip(("text", "price", "day"), row, strict=True)) for row in rows]
    path.write_text("\n".join(map(json.dumps, named)))
    loaded = corpus.load(str(path), time_column="day")
    prepared = preparation.Prepared(loaded, encoder.token_counts(tiny, loaded.texts), ())
    assert len(set(loaded.group_ids[prepared.rows("train")])) == 5
    wanted = spec.StudySpec((0,), (0,), 1, RECIPE)
    context = tasks.Context(tiny, prepared, wanted)
    for name in ("median", "ridge", "tfidf"):
        task = graph.baseline(context, name)
        list(local.execute(context, [task]))
        assert np.isfinite(baselines.read(name, task.unit.folder).train_mae)


def test_a_vocabulary_of_one_word_is_compressed_to_one_column():
    texts = [f"item {chr(97 + at % 26)}" for at in range(40)]
    weights = words.fit(texts[:30]).weigh(texts)
    rows = words.compress(weights, words.directions(weights[:30], seed=0))
    assert rows.shape == (40, 1)
    assert np.isfinite(rows).all()


def test_unknown_tokens_are_counted_as_the_tokenizer_does(tiny):
    texts = ["red arrow", "赤い車 red", "сервис", "arrow coupe in red"]
    counts, unknown = encoder.count_tokens(tiny, texts)
    tokenizer = tiny.model.tokenizer
    words = [tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) for text in texts]
    assert counts.tolist() == [len(each) for each in words]
    assert unknown.tolist() == [each.count("[UNK]") for each in words]
    assert unknown.tolist()[0] == 0 < unknown.tolist()[1]


@pytest.mark.parametrize("architecture", ["roberta", "modernbert"])
def test_vocabularies_of_bytes_know_every_text(encoder_of, architecture):
    assert encoder.count_tokens(encoder_of(architecture), ["赤い車", "red"])[1].tolist() == [0, 0]


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_a_corpus_that_the_encoder_cannot_read_is_warned_of(tmp_path, tiny, share):
    cars = sentences(400)
    other = list("赤い車を東京で売ります")
    draw = random.Random(0)
    texts = [
        " ".join(draw.choices(other, k=9)) + " 車" * (at % 3) if draw.random() < share else text
        for at, text in enumerate(cars)
    ]
    loaded = corpus.load(str(write(tmp_path / "mixed.jsonl", texts)))
    if share == 1.0:
        with pytest.raises(InputError, match="knows no token"):
            preparation.prepare(loaded, tiny)
        return
    prepared = preparation.prepare(loaded, tiny)
    warnings = [f.message for f in prepared.findings if f.check == "unknown tokens"]
    assert bool(warnings) == (share > 0)
    assert all("paraphrase-multilingual" in message for message in warnings)
    assert (prepared.unknown_share > 0.05) == (share > 0)


# Time


def test_the_cut_of_a_time_column_is_named(tmp_path, tiny):
    texts = list(sentences(500))
    first = datetime.date(2020, 1, 1)
    days = [first + datetime.timedelta(days=at) for at in range(500)]
    random.Random(0).shuffle(days)
    path = write(tmp_path / "dated.jsonl", texts, day=[day.isoformat() for day in days])
    loaded = corpus.load(str(path), time_column="day")
    # 64 % of 500 days are train, the rest is held out.
    assert loaded.cut == (
        (first + datetime.timedelta(days=319)).isoformat(),
        (first + datetime.timedelta(days=320)).isoformat(),
    )
    prepared = preparation.Prepared(loaded, encoder.token_counts(tiny, texts), ())
    (line,) = plan._cut_line(prepared)
    assert "train ends with 2020-11-15 (320 rows), held out begins with 2020-11-16 (180 rows)" in (
        line
    )


def test_numbers_and_times_of_day_are_shown_as_they_are(tmp_path):
    texts = list(sentences(500))
    numbers = write(tmp_path / "numbers.jsonl", texts, at=[1.6e9 + at for at in range(500)])
    assert corpus.load(str(numbers), time_column="at").cut == ("1600000319", "1600000320")
    hours = [f"2024-05-{1 + at // 24:02}T{at % 24:02}:00:00+00:00" for at in range(500)]
    dated = write(tmp_path / "hours.jsonl", texts, at=hours)
    assert corpus.load(str(dated), time_column="at").cut == (
        "2024-05-14 07:00:00",
        "2024-05-14 08:00:00",
    )


# The plan


def test_a_range_of_time_is_written_in_one_unit():
    spans = {
        (230, 540): "4 to 9 minutes",
        (0.2, 0.9): "0 to 1 seconds",
        (59, 59): "59 seconds",
        (95, 200): "1.6 to 3 minutes",
        (3000, 7200): "0.8 to 2.0 hours",
        (86400, 4 * 86400): "1.0 to 4 days",
    }
    for (low, high), said in spans.items():
        assert plan.between(plan.Span(low, low, high)) == said


def test_no_stage_takes_no_time_and_ranges_are_ranges(tiny, sales):
    prepared = preparation.prepare(corpus.load(str(sales)), tiny)
    wanted = spec.StudySpec((0, 256), (0,), 3, RECIPE, baselines=("supervised",), keep="all")
    planned = plan.make(tasks.Context(tiny, prepared, wanted))
    assert set(planned.seconds) == {
        "tuning", "embedding", "search", "supervised", "serving", "logging"
    }  # fmt: skip
    for span in planned.seconds.values():
        assert 0 < span.low <= span.usual <= span.high
    total = planned.total
    assert total.high == pytest.approx(sum(span.high for span in planned.seconds.values()))


def test_the_limit_that_a_plan_proposes_is_the_smallest_that_works(
    tiny_folder, tiny, tmp_path, said, monkeypatch
):
    path = write(tmp_path / "cars.jsonl", sentences(3000))
    asked = config(tiny_folder, path, sizes="0,0.25,1.0", plan_only=True)
    monkeypatch.setattr(plan, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(plan, "SHORT_SECONDS", 0.0)
    scaling_study.run(asked)
    (limit,) = re.findall(r"limit=(\d+)", "\n".join(said))
    loaded = corpus.load(str(path))

    def works(n):
        wanted = {"sizes": asked.sizes, "seeds": asked.seeds, "recipe": asked.recipe}
        return spec.sizes_at(tiny, loaded, n, **wanted) is not None

    assert works(int(limit))
    assert not any(works(n) for n in range(100, int(limit), 100))
    said.clear()
    scaling_study.run(
        config(tiny_folder, path, sizes="0,0.25,1.0", plan_only=True, limit=int(limit))
    )
    assert "Documents tuned on: 0 (the factory encoder), 2" in said[0]


# Bars and figures


def test_bars_of_the_checks_come_to_their_end(tiny):
    texts = list(sentences(1200))
    counted = []
    encoder.count_tokens(tiny, texts, progress=counted.append)
    assert sum(counted) == 1200
    assert len(counted) > 1
    looked = []
    near_duplicates.links(texts, looked.append)
    assert sum(looked) == pytest.approx(near_duplicates.STAGES * 1200)
    assert len(looked) > near_duplicates.PASSES


def test_a_search_shows_its_trials_and_its_finals_apart(monkeypatch):
    shown = []

    class Bar:
        def __init__(self, what, total):
            self.what, self.total, self.n, self.best = what, total, 0, []
            shown.append(self)

        def update(self, n):
            self.n += n

        def set_postfix_str(self, text, refresh=True):
            self.best.append(float(text.split()[-1].replace(",", "")))

    monkeypatch.setattr(
        "bat.cli.bar", lambda what, total, unit: contextlib.nullcontext(Bar(what, total))
    )
    with contextlib.ExitStack() as bars:
        show = stages._shown_trials(bars, "factory", 4)
        errors = [50.0, 40.0, 40.0, 30.0, 60.0, 45.0]  # of finals the best rises above the trials'
        for done, best in enumerate(errors, 1):
            show(done, 6, best)
    assert [(bar.n, bar.total) for bar in shown] == [(4, 4), (2, 2)]
    assert shown[0].what != shown[1].what
    assert all(bar.best == sorted(bar.best, reverse=True) for bar in shown)


def test_a_study_of_one_encoder_draws_no_curve(tiny_folder, sales, store, said, tmp_path):
    scaling_study.run(config(tiny_folder, sales, sizes="0", baselines="median,ridge"))
    runs = store.search_runs(["0"])
    (run,) = (each for each in runs if "mlflow.parentRunId" not in each.data.tags)
    files = {item.path for item in store.list_artifacts(run.info.run_id)}
    assert {"arms_r2.svg", "arms_mae.png"} <= files
    assert not any(name.startswith("curve") for name in files)
    page = store.download_artifacts(run.info.run_id, "report.html", str(tmp_path))
    shown = Path(page).read_text()
    assert "fine-tuned" not in shown
    assert "documents tuned on" not in shown
    assert "of each arm" in shown


# Whatever a plan lets through runs to the end


def case(number):
    """One drawn study: rows, sizes, passes, schedule, groups, trials."""
    draw = random.Random(number)
    rows = draw.choice([100, 130, 200, 300, 420, 450, 600])
    words = draw.choice([short, sentences, lambda n: [f"item {at}" for at in range(n)]])
    changes = {
        "sizes": draw.choice(
            ["auto", "auto", "0", "0,256,1.0", "256", "0,1.0", "0,256,257,258,0.9"]
        ),
        "seeds": draw.choice(["0", "0", "3,1"]),
        "trials": draw.choice([1, 2, 4]),
        "baselines": ",".join(draw.sample(predictors.baselines(), draw.randint(1, 3))),
        "stop_when_enough": draw.random() < 0.2,
        "keep": draw.choice(["all", "best", "none"]),
    }
    recipe = draw.choice(
        ["halfway", "plain", "schedule=independent", "passes=4,schedule=independent",
         "finetune_on=all", "features=factory+tuned", "whole_words=true", "mask_share=0.01"]
    )  # fmt: skip
    columns = {}
    kind = draw.choice(["texts", "texts", "groups", "few groups", "times", "ties"])
    if kind.endswith("groups"):
        n = rows // 4 if kind == "groups" else 18
        columns["seller"] = [f"s{draw.randrange(n)}" for _ in range(rows)]
        changes["group_column"] = "seller"
    elif kind in ("times", "ties"):
        columns["day"] = [draw.randrange(rows if kind == "times" else 9) for _ in range(rows)]
        changes["time_column"] = "day"
    return words(rows), columns, changes | {"recipe": recipe}


def sweep(numbers, tiny_folder, tmp_path, said):
    finished = 0
    for number in numbers:
        texts, columns, changes = case(number)
        path = write(tmp_path / f"{number}.jsonl", texts, **columns)
        try:
            scaling_study.run(config(tiny_folder, path, plan_only=True, **changes))
        except InputError:
            continue
        said.clear()
        try:
            scaling_study.run(config(tiny_folder, path, **changes))
        except BaseException as error:
            raise AssertionError(f"case {number}: {changes} {len(texts)} rows") from error
        assert "Registered as" in "\n".join(said)
        finished += 1
    return finished


def test_some_studies_that_a_plan_lets_through_run_to_the_end(tiny_folder, store, tmp_path, said):
    assert sweep(range(4), tiny_folder, tmp_path, said)


@pytest.mark.slow
def test_all_studies_that_a_plan_lets_through_run_to_the_end(tiny_folder, store, tmp_path, said):
    assert sweep(range(4, 60), tiny_folder, tmp_path, said) > 20
