"""Damage to the cache, of any kind and at any byte, costs time and changes no number."""

import os
import random
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from bat import cache, home, locks, units
from bat.models import embedding, predictors, regressor
from bat.registry import score, scored_file
from bat.tuning import loop
from bat.tuning.objectives import mlm
from bat.workflow import baselines, graph, local, preparation, refit, stages
from tests.conftest import MAX_TOKENS, context_of, tuned_by

KIND = units.Kind("kind", 1, (), (), ())
UNIT = units.Unit(KIND, "0" * 32)


def fill(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "numbers").write_bytes(bytes(range(40)))
    (folder / "empty").touch()


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_bit_of_every_file_of_a_unit_is_watched(capsys):
    done = units.build(UNIT, fill)
    for path in [path for path in done.rglob("*") if path.is_file()]:
        for bit in range(8 * path.stat().st_size):
            flip(path, bit)
            assert units._damage(UNIT, done), f"bit {bit} of {path.name}"
            flip(path, bit)
            assert not units._damage(UNIT, done)


def emptied(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def linked(folder):
    elsewhere = folder.with_name("elsewhere")
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)


def a_link_inside(folder):
    path = folder / "deep" / "numbers"
    path.rename(folder.parent / "numbers")
    path.symlink_to(folder.parent / "numbers")


DAMAGE = {
    "truncated": lambda f: (f / "deep" / "numbers").write_bytes(bytes(range(39))),
    "emptied file": lambda f: (f / "deep" / "numbers").write_bytes(b""),
    "longer": lambda f: (f / "empty").write_bytes(b"x"),
    "missing": lambda f: (f / "deep" / "numbers").unlink(),
    "missing empty": lambda f: (f / "empty").unlink(),
    "junk": lambda f: (f / "junk").touch(),
    "junk folder": lambda f: (f / "junk").mkdir(),
    "renamed": lambda f: (f / "empty").rename(f / "void"),
    "no seal": lambda f: (f / units.SEAL).unlink(),
    "empty seal": lambda f: (f / units.SEAL).write_bytes(b""),
    "seal a folder": lambda f: ((f / units.SEAL).unlink(), (f / units.SEAL).mkdir()),
    "emptied": emptied,
    "a file in its place": lambda f: (shutil.rmtree(f), f.touch()),
    "a dangling link in its place": lambda f: (shutil.rmtree(f), f.symlink_to("nowhere")),
    "a link in its place": linked,
    "a link inside": a_link_inside,
    "its kind a file": lambda f: (shutil.rmtree(f.parent), f.parent.touch()),
    "its kind a dangling link": lambda f: (shutil.rmtree(f.parent), f.parent.symlink_to("no")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("unit", [UNIT, units.part(UNIT, "a")], ids=["whole", "part"])
def test_what_is_damaged_is_set_aside_named_once_and_made_again(damage, unit, capsys):
    done = units.build(unit, fill)
    good = contents(done)
    damage(done)
    assert units.find(unit) is None
    again = units.build(unit, fill)
    assert contents(again) == good
    assert units.find(unit) == units.build(unit, lambda folder: pytest.fail("made twice")) == done
    said = capsys.readouterr().err
    assert said.count("is damaged: ") == 1
    assert len(said.splitlines()) == 1
    aside = [*home.folder().glob(f"{home.DAMAGED}*"), *home.folder().glob(f"*/{home.DAMAGED}*")]
    assert len(aside) == 1
    assert aside[0].name in said


def test_a_unit_under_the_name_of_another_is_not_believed(capsys):
    other = units.Unit(KIND, "1" * 32)
    units.build(UNIT, fill).rename(other.folder)
    assert units.find(other) is None


# Every kind of work, through what a study calls.


@pytest.fixture
def prepared(texts):
    prices = [1000.0 + 90 * sum(map(ord, text)) % 7001 for text in texts[:300]]
    n = len(prices)
    loaded = SimpleNamespace(
        name="prepared",
        texts=list(texts[:n]),
        prices=np.array(prices),
        parts=np.array(["train"] * 240 + ["held_out"] * 60),
        group_ids=np.arange(n),
        times=None,
    )
    return preparation.Prepared(loaded, np.full(n, 9), ())


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(mlm, "MIN_STEPS", 5)
    monkeypatch.setattr(mlm, "WARMUP_STEPS", 2)
    monkeypatch.setattr(mlm, "HEAD_STEPS", 2)
    monkeypatch.setattr(embedding, "BATCH_TOKENS_CPU", 4 * MAX_TOKENS)


PASS_SIZES = (100, 200)


def one_pass(tiny, texts, prepared=None):
    recipe = mlm.Recipe(blocks_a_step=4)
    return context_of(tiny, texts[:200], PASS_SIZES, recipe, texts[400:420], prepared=prepared)


def outcome(tiny, prepared, texts):
    """All that the stages of a study find, as plain arrays."""
    found = []
    context = one_pass(tiny, texts, prepared)
    listed = graph.graph(context)
    for arm in listed.pairs.values():
        task = arm.encoder
        list(local.execute(context, [*arm.wanted, *arm.own]))
        tuned = stages.read_tuned(task.unit.folder)
        rows = stages.joined(prepared.corpus.texts, [[each.unit.folder for each in arm.own]])
        evaluation = stages.read_evaluation(arm.evaluation.unit.folder)
        found += [np.array(rows), evaluation.predictions, evaluation.out_of_fold]
        found.append(evaluation.fitted.predict(rows))
        found.append(np.array(tuned.story["losses"]))
        found.append(np.array(tuned.story["held_out"]))
    again = graph.fitted_again(context, listed, list(listed.pairs)[-1])
    list(local.execute(context, [again]))
    served = refit.read_refit(again.unit.folder)
    found += [regressor.load(served.folder).predict(rows), served.calibrated.scores, served.inside]
    found.append(served.calibrated.spreads(rows))
    for name in ("median", "ridge", "lengths"):
        assert name in predictors.PREDICTORS
        task = graph.baseline(context, name)
        list(local.execute(context, [task]))
        found.append(baselines.read(name, task.unit.folder).predictions)
    return found


def same(ours, theirs):
    return len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))


def damage_all(damage):
    """Damage a file of every finished unit; the kinds that there were."""
    kinds = set()
    for kind in [path for path in home.folder().iterdir() if path.name != locks.LOCKS]:
        for each in [path for path in kind.glob("*") if not path.name.startswith(".")]:
            files = sorted(path for path in each.rglob("*") if path.is_file())
            if files:
                damage(files)
                kinds.add(kind.name)
    return kinds


def flip_one(files):
    path = random.Random(str(len(files))).choice([each for each in files if each.stat().st_size])
    flip(path, random.Random(path.name).randrange(8 * path.stat().st_size))


@pytest.mark.parametrize(
    "damage",
    [
        flip_one,
        pytest.param(
            lambda files: [each.write_bytes(b"") for each in files], marks=pytest.mark.slow
        ),
        pytest.param(lambda files: [each.unlink() for each in files], marks=pytest.mark.slow),
        pytest.param(
            lambda files: files[-1].write_bytes(files[-1].read_bytes()[:-1]),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["a bit", "emptied", "missing", "cut"],
)
def test_a_study_finds_the_same_whatever_was_damaged(damage, tiny, texts, prepared, short, capsys):
    wanted = outcome(tiny, prepared, texts)
    kinds = damage_all(damage)
    assert kinds == {"blocks", "encoders", "embeddings", "evaluations", "refits", "baselines"}
    assert same(outcome(tiny, prepared, texts), wanted)
    assert "is damaged" in capsys.readouterr().err
    assert same(outcome(tiny, prepared, texts), wanted)
    assert "is damaged" not in capsys.readouterr().err  # it was made again


def interrupted(call, *arguments, **options):
    with pytest.raises(KeyboardInterrupt):
        call(*arguments, **options)


@pytest.mark.parametrize("bit", [0, 20_000])
def test_a_damaged_state_of_a_trunk_is_not_gone_on_from(
    bit, tiny, texts, short, monkeypatch, capsys
):
    def losses():
        return [np.array(each.story["losses"]) for each in tuned_by(one_pass(tiny, texts))]

    with monkeypatch.context() as patch:
        patch.setenv("BAT_HOME", str(home.folder().with_name("undamaged")))
        wanted = losses()
    taken = []

    def killed(bar, tokens, loss):
        taken.append(tokens)
        if len(taken) == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(stages, "_show_loss", killed)
        interrupted(losses)
    (state,) = home.folder().glob("trunks-parts/*/step-*/*.pt")
    flip(state, bit)
    assert same(losses(), wanted)
    assert "state.pt is not what was written" in capsys.readouterr().err


def stop_joining(*arguments, **named):
    raise KeyboardInterrupt


def test_damaged_chunks_of_a_scored_file_are_made_again(
    saved_pair, texts, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(score, "CHUNK", 4)
    data = tmp_path / "rows.csv"
    data.write_text("text\n" + "\n".join(f'"{text}"' for text in texts[:12]) + "\n")
    score.score(saved_pair, str(data), tmp_path / "wanted.csv")
    with monkeypatch.context() as patch:
        patch.setattr(scored_file, "join", stop_joining)
        interrupted(score.score, saved_pair, str(data), tmp_path / "found.csv")
    chunks = sorted(home.folder().glob("scores-parts/*/*/rows.arrow"))
    assert len(chunks) == 3
    flip_one(chunks[:1])
    chunks[1].write_bytes(b"")
    chunks[2].unlink()
    score.score(saved_pair, str(data), tmp_path / "found.csv")
    assert (tmp_path / "found.csv").read_text() == (tmp_path / "wanted.csv").read_text()
    assert capsys.readouterr().err.count("is damaged") == 3


# Killed at any instant.


class Kill:
    """An audit hook that ends its process, as SIGKILL does, at the n-th touch of the cache."""

    def __init__(self, moment):
        self.left, self.home = moment, str(home.folder())

    def __call__(self, event, arguments):
        if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "fcntl.flock") and (
            event == "fcntl.flock" or any(self.home in str(each) for each in arguments)
        ):
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


def in_a_fork(work, moment=None):
    """Do some work in a process of its own, killed at a moment; whether it came to its end."""
    child = os.fork()
    if not child:
        try:
            if moment is not None:
                import sys

                sys.addaudithook(Kill(moment))
            work()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status == 0


def test_a_unit_is_whole_or_not_there_whenever_its_process_was_killed():
    place, moment, ended = home.folder(), 0, False
    while not ended:
        os.environ["BAT_HOME"] = str(place / str(moment))
        ended = in_a_fork(lambda: units.build(UNIT, fill), moment)
        if found := units.find(UNIT):
            assert len(contents(found)) == 3
        assert len(contents(units.build(UNIT, fill))) == 3
        moment += 1
    assert moment > 8


def in_parts():
    """Make a unit out of three parts, as long work does."""

    def join(folder):
        for number in range(3):
            part = units.build(units.part(UNIT, str(number)), fill)
            shutil.copytree(part / "deep", folder / str(number))

    done = units.build(UNIT, join)
    units.drop(UNIT)
    return done


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_work_in_parts_is_right_whenever_its_process_was_killed(step):
    place, moment, ended = home.folder(), 0, False
    while not ended:
        os.environ["BAT_HOME"] = str(place / str(moment))
        ended = in_a_fork(in_parts, moment)
        with cache.in_use():
            assert len(contents(in_parts())) == 4, f"killed at touch {moment}"
        assert not list(home.folder().rglob(".*")), f"killed at touch {moment}"
        assert not list(home.folder().glob("kind-parts/*"))
        moment += step
    assert moment > 30


def test_work_in_parts_that_is_killed_again_and_again_comes_to_its_end():
    attempts = 0
    while not in_a_fork(in_parts, 60):  # of 92 touches
        attempts += 1
        assert attempts < 50
    assert attempts > 1
    assert len(contents(in_parts())) == 4
