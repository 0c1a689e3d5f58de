"""A study on a Ray cluster of two nodes on this machine ends as it does without one."""

import itertools
import os
import pickle
import re
import signal
import sys
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from bat import cli
from tests.place import Place

NAMES = ("trunk", "branch", "embedding", "evaluation", "predict", "refit")
NODE = {"num_cpus": 1, "object_store_memory": 2 * 10**8}


def test_an_error_of_the_user_crosses_processes():
    error = pickle.loads(pickle.dumps(cli.InputError("a", "b", "c")))
    assert isinstance(error, cli.InputError)
    assert str(error) == "got a\n  expected: b\n  remedy:   c"


def test_without_ray_its_installation_is_asked_for(monkeypatch):
    from bat.workflow import cluster

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(cli.InputError, match=r"pip install '\.\[ray\]'"):
        cluster._connect()


def test_units_arrive_whole_and_those_that_are_there_stay(tmp_path, monkeypatch):
    from bat import home, units
    from bat.workflow import cluster

    def fill(folder, word):
        (folder / "deep").mkdir()
        (folder / "deep" / "x").write_text(word)
        (folder / "empty").mkdir()

    def made(kind, word):
        return units.build(units.Unit(kind, word[0]), lambda folder: fill(folder, word))

    new = ((units.ENCODERS, "a new"), (units.ENCODERS, "b new"), (units.EVALUATIONS, "c new"))
    with monkeypatch.context() as patch:
        patch.setenv("BAT_HOME", str(tmp_path / "away"))
        away = [
            (units.Unit(kind, word[0]), cluster._packed(made(kind, word))) for kind, word in new
        ]
    here = made(units.ENCODERS, "b old")
    for unit, packed in away:
        cluster._arrive(unit, packed)
    for kind, name in ((units.ENCODERS, "a"), (units.EVALUATIONS, "c")):
        folder = units.find(units.Unit(kind, name))
        assert (folder / "deep" / "x").read_text() == f"{name} new"
        assert (folder / "empty").is_dir()
    assert (units.find(units.Unit(units.ENCODERS, "b")) / "deep" / "x").read_text() == "b old"
    assert here.exists()
    assert not list(home.folder().glob(".*"))


def test_a_unit_that_was_damaged_on_its_way_is_refused(tmp_path, monkeypatch):
    from bat import units
    from bat.workflow import cluster

    unit = units.Unit(units.ENCODERS, "a")
    with monkeypatch.context() as patch:
        patch.setenv("BAT_HOME", str(tmp_path / "away"))
        made = units.build(unit, lambda folder: (folder / "x").write_text("1"))
        (made / "x").write_text("2")
        away = cluster._packed(made)
    with pytest.raises(RuntimeError, match="arrived damaged: x is not what was written"):
        cluster._arrive(unit, away)
    assert units.find(unit) is None


class Node(dict):
    """What Ray tells of a machine that lives."""

    def __init__(self, **resources):
        super().__init__(Alive=True, Resources=resources)


def test_a_cluster_without_room_for_a_unit_is_refused():
    from bat.workflow import cluster

    ray = SimpleNamespace(nodes=lambda: [Node(CPU=64), Node(CPU=2, GPU=1)])
    for needs in ({"CPU": 64, "GPU": 0}, {"CPU": 2, "GPU": 1}):
        cluster._refuse_small(ray, needs)
    with pytest.raises(cli.InputError, match="without a machine of 4 cores and 1 GPUs"):
        cluster._refuse_small(ray, {"CPU": 4, "GPU": 1})


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one processor core each; more can be added and taken away."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args=NODE)
    nodes.add_node(**NODE)
    yield nodes
    nodes.shutdown()


@pytest.fixture
def place(cluster, tmp_path, migrated, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    return Place(tmp_path / "place", migrated)


def wait_for(process, place, pattern):
    """Wait until a study's cache holds something."""
    place.wait(process, lambda: list((place.folder / "home").glob(pattern)))


def tasks(cluster):
    """What the cluster has run: name, worker, begin and end of each task, in microseconds."""
    import ray

    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    try:
        counts, events = [], []
        while len(counts) < 2 or (counts[-1] != counts[-2] and len(counts) < 10):
            time.sleep(3)  # workers tell of what they did with some delay
            events = [each for each in ray.timeline() if each.get("cat", "")[6:] in NAMES]
            counts.append(len(events))
    finally:
        ray.shutdown()
    return [(e["cat"][6:], e["tid"], e["ts"], e["ts"] + e["dur"]) for e in events]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_a_study_on_a_cluster_has_equal_numbers_and_runs_units_at_once(
    cluster, place, command, undisturbed
):
    assert place.run([*command, "--executor=ray"]) == 0, place.said()
    assert place.result() == undisturbed[0]
    arms, tuned, searched_or_fitted = 3, 2, 3
    most = {
        "trunk": tuned,
        "branch": tuned,
        "embedding": arms,
        "evaluation": arms,
        "predict": searched_or_fitted,
        "refit": 1,
    }
    # Two rounds: all that the study compares, and what is fitted again to be served.
    sent = set(re.findall(r"units on the cluster +: 100%\|█+\| ([\d.]+)/\1 ", place.said()))
    assert sorted(map(float, sent)) == [1, sum(most.values()) - 1]
    done = tasks(cluster)
    # What a worker did last may never be heard of: it ends with the study.
    heard = Counter(name for name, *_ in done)
    assert heard <= Counter(most)
    assert heard.total() > sum(most.values()) / 2
    assert any(
        a[1] != b[1] and a[2] < b[3] and b[2] < a[3] for a, b in itertools.combinations(done, 2)
    )


@pytest.mark.slow
def test_a_study_outlives_a_node_that_is_killed(cluster, place, command, undisturbed):
    third = cluster.add_node(**NODE)
    process = place.open([*command, "--executor=ray"])
    wait_for(process, place, "trunks/[0-9a-f]*")
    cluster.remove_node(third, allow_graceful=False)
    assert process.wait() == 0, place.said()
    assert place.result() == undisturbed[0]


@pytest.mark.slow
def test_a_driver_that_is_killed_goes_on_from_what_has_arrived(place, command, undisturbed):
    process = place.open([*command, "--executor=ray"])
    wait_for(process, place, "encoders/[0-9a-f]*")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (first, *_) = (place.folder / "home").glob("encoders/[0-9a-f]*")
    made = first.stat().st_mtime_ns
    assert place.run([*command, "--executor=ray"]) == 0, place.said()
    assert place.result() == undisturbed[0]
    assert first.stat().st_mtime_ns == made
    assert not list((place.folder / "home").glob("trunks*/[0-9a-f]*"))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_what_has_been_done_here_is_not_done_there(cluster, place, command, tmp_path, migrated):
    more = [*command, "--seeds=0,1", "--recipe=schedule=independent,features=factory+tuned"]
    assert place.run(more) == 0, place.said()
    before = len(tasks(cluster))
    assert place.run([*more, "--executor=ray"]) == 0, place.said()
    assert len(tasks(cluster)) == before
    elsewhere = Place(tmp_path / "elsewhere", migrated)
    assert elsewhere.run([*more, "--executor=ray"]) == 0, elsewhere.said()
    assert len(tasks(cluster)) > before
    assert elsewhere.result() == place.result()
