"""What a study consists of, what a task that is missing asks for, and how tasks are run."""

import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from bat import cli, units
from bat.models import embedding, encoder, encoder_opening
from bat.tuning.objective import Group
from bat.tuning.objectives import mlm, table
from bat.workflow import graph, local, preparation, spec, stages, tasks

RECIPE = mlm.Recipe()
KIND = units.Kind("kind", 1, (), (), ())


def context_for(tiny, texts, sizes=(0, 50, 100, 200), **changes):
    n = len(texts)
    loaded = SimpleNamespace(
        name="texts",
        texts=list(texts),
        prices=np.arange(1.0, n + 1),
        parts=np.array(["train", "held_out"] * (n // 2)),
        group_ids=np.arange(n),
        text_ids=np.arange(n),
        times=None,
    )
    counts = encoder.token_counts(tiny, loaded.texts)
    settings = {"baselines": ("median", "lengths", "supervised")} | changes
    wanted = spec.StudySpec(sizes, settings.pop("seeds", (0, 1)), 3, RECIPE, **settings)
    return tasks.Context(tiny, preparation.Prepared(loaded, counts, ()), wanted)


@pytest.fixture(scope="module")
def distinct(texts):
    return list(dict.fromkeys(texts))[:400]


def stages_of(listed):
    names = [task.run.__name__ for task in tasks.in_order(listed)]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def test_all_of_a_study_is_listed_once(tiny, distinct):
    listed = graph.graph(context_for(tiny, distinct))
    assert [(key.objective, key.documents, key.seed) for key in listed.arms] == [
        ("mlm" if size else "factory", size, seed) for seed in (0, 1) for size in (0, 50, 100, 200)
    ]
    assert {key.labels for key in listed.arms} == {200}
    # one embedding of the factory's for both seeds; and of each size and seed
    assert stages_of(listed.wanted) == {
        "embedding": 7, "evaluation": 8, "trunk": 6, "branch": 6, "predict": 3
    }  # fmt: skip
    everything = tasks.in_order(listed.wanted)
    assert len({task.unit for task in everything}) == len(everything)
    for place, task in enumerate(everything):
        assert {need.unit for need in task.needs} <= {each.unit for each in everything[:place]}


def test_each_objective_gets_a_curve_of_its_own(tiny, distinct, monkeypatch):
    other = dataclasses.replace(mlm.OBJECTIVE, version=2)
    monkeypatch.setitem(table.OBJECTIVES, "other", other)
    two = graph.graph(context_for(tiny, distinct, objectives=("mlm", "other"), seeds=(0,)))
    assert [(key.objective, key.documents) for key in two.arms] == [
        ("factory", 0), *(("mlm", n) for n in (50, 100, 200)),
        *(("other", n) for n in (50, 100, 200)),
    ]  # fmt: skip
    assert stages_of(two.wanted)["trunk"] == stages_of(two.wanted)["branch"] == 6
    one = graph.graph(context_for(tiny, distinct, seeds=(0,)))
    units_of = {key: arm.evaluation.unit for key, arm in two.arms.items()}
    assert len(set(units_of.values())) == len(units_of)
    assert {key: units_of[key] for key in one.arms} == {
        key: arm.evaluation.unit for key, arm in one.arms.items()
    }


def test_a_task_tunes_by_the_objective_of_its_curve(tiny, distinct, monkeypatch):
    """One that learns at a rate of 0 gives the factory encoder back; masked words do not."""
    monkeypatch.setattr(mlm, "MIN_STEPS", 1)
    still = dataclasses.replace(
        mlm.OBJECTIVE, groups=lambda model, recipe: [Group(list(model.parameters()), 0.0)]
    )
    monkeypatch.setitem(table.OBJECTIVES, "still", still)
    context = context_for(tiny, distinct, sizes=(50, 100), objectives=("mlm", "still"))
    factory = embedding.encode(tiny, distinct[:9])
    for objective in context.spec.objectives:
        made = graph.encoders(context, graph.Curve(objective, 0))
        list(local.execute(context, list(made.values())))
        folder = stages.read_tuned(made[100].unit.folder).folder
        moved = embedding.encode(encoder_opening.open_encoder(str(folder)), distinct[:9]) - factory
        assert (np.abs(moved).max() < 1e-6) == (objective == "still")


def test_an_unknown_objective_is_refused_before_any_work(tiny, distinct):
    with pytest.raises(cli.InputError, match=r"objective called 'mlmm'\n.*mlm, supervised"):
        graph.graph(context_for(tiny, distinct, objectives=("mlmm",)))


def test_an_objective_that_reads_targets_has_no_curve_over_documents(tiny, distinct):
    with pytest.raises(cli.InputError, match="instead: baselines=supervised"):
        graph.graph(context_for(tiny, distinct, objectives=("mlm", "supervised")))


def test_stacks_are_on_the_ends_of_the_curve_on_all_sizes_or_on_none(tiny, distinct):
    def stacked(visited=None, **changes):
        listed = graph.graph(context_for(tiny, distinct, seeds=(0,), **changes), visited)
        for key, arm in listed.stacks.items():
            pair = listed.pairs[key._replace(predictor="pair")]
            assert [each.unit for each in arm.own] == [each.unit for each in pair.own]
            assert arm.evaluation.unit != pair.evaluation.unit
        return [key.documents for key in listed.stacks]

    assert stacked() == []
    assert stacked(stack="auto") == [0, 200]
    assert stacked(stack="all") == [0, 50, 100, 200]
    assert stacked(visited=[0, 50], stack="auto") == [0, 50]  # of what stopping early has left
    assert stacked(stack="auto", sizes=(0,)) == [0]
    assert stacked(stack="auto", sizes=(50, 100)) == [100]


def test_a_recipe_of_another_objective_is_not_taken(tiny, distinct):
    @dataclasses.dataclass(frozen=True)
    class Recipe:
        seed: int = 0
        learning_rate: float = 3.0

    with pytest.MonkeyPatch.context() as patch:
        own = dataclasses.replace(mlm.OBJECTIVE, recipe=Recipe)
        patch.setitem(table.OBJECTIVES, "own", own)
        context = context_for(tiny, distinct)
        assert stages.recipe_of(context, "own", 7) == Recipe(seed=7)
        assert stages.recipe_of(context, "mlm", 7) == dataclasses.replace(RECIPE, seed=7)


def test_a_size_tuned_by_itself_has_no_trunk(tiny, distinct):
    alone = graph.graph(context_for(tiny, distinct, schedule="independent"))
    assert "trunk" not in stages_of(alone.wanted)
    single = graph.graph(context_for(tiny, distinct, sizes=(0, 100)))
    assert "trunk" not in stages_of(single.wanted)


def test_both_embeddings_are_read_the_factory_first(tiny, distinct):
    listed = graph.graph(context_for(tiny, distinct, features="factory+tuned"))
    factory, tuned, *_ = listed.arms.values()
    assert [len(arm.embeddings) for arm in (factory, tuned)] == [1, 2]
    (shared,) = tuned.embeddings[0]
    assert shared.unit == factory.own[0].unit
    assert tuned.evaluation.work["tree row"] == 2 * factory.evaluation.work["tree row"]


def changed(context, **changes):
    loaded = SimpleNamespace(**vars(context.prepared.corpus) | changes)
    prepared = preparation.Prepared(loaded, context.prepared.token_counts, ())
    return tasks.Context(context.base, prepared, context.spec)


def test_what_is_served_is_the_chosen_evaluation_fitted_again(tiny, distinct):
    context = context_for(tiny, distinct, features="factory+tuned", seeds=(0,))
    listed = graph.graph(context)
    (first, factory), *_, (last, tuned) = listed.arms.items()
    found = graph.fitted_again(context, listed, last)
    evaluation, *shards = found.needs
    assert evaluation.unit == tuned.evaluation.unit
    assert [each.unit for each in shards] == [
        *(each.unit for each in factory.own), *(each.unit for each in tuned.own)
    ]  # fmt: skip
    others = [graph.fitted_again(context, listed, first)]
    reversed_ = changed(context, prices=context.prepared.corpus.prices[::-1])
    others.append(graph.fitted_again(reversed_, graph.graph(reversed_), last))
    again = graph.graph(context_for(tiny, distinct, features="factory+tuned", seeds=(1,)))
    others.append(graph.fitted_again(context, again, last._replace(seed=1)))
    assert len({found.unit, *(each.unit for each in others)}) == 4
    # both embeddings are twice the columns
    assert found.work["tree row"] == 2 * others[0].work["tree row"]


def test_a_baseline_that_is_served_is_fitted_again_by_itself(tiny, distinct):
    context = context_for(tiny, distinct, baselines=("ridge",), seeds=(0,))
    listed = graph.graph(context)
    ((key, task),) = listed.baselines.items()
    found = graph.fitted_again(context, listed, key)
    assert [need.unit for need in found.needs] == [task.unit]
    assert found.arguments == {"predictor": "ridge", "seed": 0, "shards": 0}


def test_a_key_hangs_on_all_that_its_result_depends_on(tiny, distinct, monkeypatch):
    monkeypatch.setattr(tasks, "HELD_OUT_TEXTS", 50)
    context = context_for(tiny, distinct)
    usual = graph.graph(context)

    def same(other):
        """Names of the stages in which two studies share all their units."""
        theirs = {task.unit for task in tasks.in_order(graph.graph(other).wanted)}
        mine = tasks.in_order(usual.wanted)
        names = {task.run.__name__ for task in mine}
        return names - {task.run.__name__ for task in mine if task.unit not in theirs}

    assert same(context_for(tiny, distinct)) == set(graph_names())
    prices = context.prepared.corpus.prices[::-1]
    assert same(changed(context, prices=prices)) == {"trunk", "branch", "embedding"}
    # along time folds are others, and so is what is chosen by them
    times = np.arange(400.0)
    dated = changed(context, times=times)
    assert same(dated) == {"trunk", "branch", "embedding"}
    later = graph.graph(changed(context, times=times[::-1]))
    theirs = {task.unit for task in tasks.in_order(later.wanted)}
    assert {task.unit for task in graph.graph(dated).baselines.values()}.isdisjoint(theirs)
    texts = context.prepared.corpus.texts
    new = "a text that is new"
    assert same(changed(context, texts=[new, *texts[1:]])) == set()
    # tuning sees the texts of the training part alone, and looks at some of the held-out ones
    assert same(changed(context, texts=[*texts[:-1], new])) == {"trunk", "branch"}
    assert same(changed(context, texts=[texts[0], new, *texts[2:]])) == set()
    assert same(context_for(tiny, distinct, finetune_on="all")) == {"predict"}


def graph_names():
    return ("trunk", "branch", "embedding", "evaluation", "predict")


@pytest.mark.parametrize("batches", [1, 3, 50])
def test_every_shard_holds_texts(batches, monkeypatch):
    laid_out = [[place] * 600 for place in range(batches)]
    monkeypatch.setattr(graph, "SHARD_TEXTS", 100)
    count = graph.count_shards(600 * batches, batches)
    shards = [laid_out[number::count] for number in range(count)]
    assert all(shards)
    assert sorted(itertools.chain(*shards)) == laid_out


def test_shards_put_together_are_the_embedding(tiny, distinct, monkeypatch):
    monkeypatch.setattr(graph, "SHARD_TEXTS", 150)
    monkeypatch.setattr(embedding, "BATCH_TOKENS_CPU", 400)
    repeated = [*distinct[:300], *distinct[:100]]
    context = context_for(tiny, repeated, sizes=(0,))
    (arm, *_) = graph.graph(context).arms.values()
    assert len(arm.own) == 2
    assert len(list(local.execute(context, arm.own))) == 2
    rows = stages.joined(repeated, [[shard.unit.folder for shard in arm.own]])
    np.testing.assert_array_equal(rows, embedding.embed(tiny, repeated))


# Tasks of any kind.


def write(context, arguments, needs, folder):
    context.append(arguments["name"])
    assert all((need / "x").read_text() for need in needs)
    (folder / "x").write_text(arguments["name"])


def task(name, *needs, **more):
    return tasks.Task(units.unit(KIND, name=name), write, {"name": name}, needs, **more)


def test_what_a_finished_task_needs_is_not_asked_for():
    """Of three sizes the first is done with its piece of the trunk: the second goes on there."""
    pieces = [task("trunk 1", temporary=True)]
    pieces += [task("trunk 2", pieces[0], temporary=True)]
    pieces += [task("trunk 3", pieces[1], temporary=True)]
    branches = [task(f"branch {n}", piece) for n, piece in enumerate(pieces, 1)]
    stopped = local.execute([], branches)
    assert [next(stopped).task for _ in range(2)] == [pieces[0], branches[0]]
    stopped.close()
    assert tasks.missing(branches) == [pieces[1], branches[1], pieces[2], branches[2]]
    units.discard([pieces[0].unit])
    assert tasks.missing(branches)[0] == pieces[0]  # given up with its branch, and needed again
    assert tasks.missing(branches[:1]) == []


def test_tasks_are_run_once_in_order_and_no_sooner_than_they_are_asked_for():
    ran = []
    first = task("first", temporary=True)
    middle = [task(f"middle {n}", first) for n in range(2)]
    last = task("last", *middle)
    wanted = [middle[0], last, task("other")]
    found = local.execute(ran, wanted)
    assert next(found).task is first
    assert next(found).task is middle[0]
    assert ran == ["first", "middle 0"]
    assert units.find(first.unit)  # the other one still needs it
    assert [each.task for each in found] == [middle[1], last, wanted[-1]]
    assert not units.find(first.unit)
    assert ran == ["first", "middle 0", "middle 1", "last", "other"]
    assert [began for _, began in local.execute(ran, wanted)] == [None] * 3
    assert len(ran) == 5


def test_what_is_left_of_temporary_tasks_goes_in_the_end():
    kept = task("kept", task("first", temporary=True))
    units.build(kept.needs[0].unit, lambda folder: (folder / "x").write_text("x"))
    units.build(units.part(kept.unit, "half"), lambda folder: (folder / "x").write_text("x"))
    units.build(kept.unit, lambda folder: (folder / "x").write_text("x"))
    tasks.discard_temporary([kept])
    assert not units.find(kept.needs[0].unit)
    assert not units.parts(kept.unit)
    assert units.find(kept.unit)
