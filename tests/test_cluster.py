"""A study on a Ray cluster of two nodes on this machine ends as it does without one."""

import itertools
import os
import pickle
import signal
import sys
import time
from types import SimpleNamespace

import pytest

from bat import cli
from tests.place import Place

NODE = {"num_cpus": 1, "object_store_memory": 2 * 10**8}


def test_an_error_of_the_user_crosses_processes():
    error = pickle.loads(pickle.dumps(cli.InputError("a", "b", "c")))
    assert isinstance(error, cli.InputError)
    assert str(error) == "got a\n  expected: b\n  remedy:   c"


def test_without_ray_its_installation_is_asked_for(monkeypatch):
    from bat import cluster

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(cli.InputError, match=r"pip install '\.\[ray\]'"):
        cluster._connect()


def test_units_arrive_whole_and_those_that_are_there_stay(tmp_path, monkeypatch):
    from bat import cluster, units

    away = tmp_path / "away"
    for name, word in (("encoders/a/deep/x", "new"), ("encoders/b/x", "new"), ("rows/c.npy", "r")):
        (away / name).parent.mkdir(parents=True, exist_ok=True)
        (away / name).write_text(word)
    here = units.build("encoders", "b", lambda folder: (folder / "x").write_text("old"))
    cluster._arrive(cluster._packed(away))
    assert (units.folder("encoders", "a") / "deep" / "x").read_text() == "new"
    assert (here / "x").read_text() == "old"
    assert (units.home() / "rows" / "c.npy").read_text() == "r"
    assert not list(units.home().glob(".arrived-*"))


class Node(dict):
    """What Ray tells of a machine that lives."""

    def __init__(self, **resources):
        super().__init__(Alive=True, Resources=resources)


def test_a_cluster_without_room_for_a_unit_is_refused():
    from bat import cluster

    ray = SimpleNamespace(nodes=lambda: [Node(CPU=64), Node(CPU=2, GPU=1)])
    for needs in ({"CPU": 64, "GPU": 0}, {"CPU": 2, "GPU": 1}):
        cluster._refuse_small(ray, needs)
    with pytest.raises(cli.InputError, match="without a machine of 4 cores and 1 GPUs"):
        cluster._refuse_small(ray, {"CPU": 4, "GPU": 1})


@pytest.fixture
def ahead():
    """What is asked of a cluster is written down; values that are laid down stay what they are."""
    from bat import cluster

    corpus = SimpleNamespace(texts=[])
    asked = []
    made = cluster._Ahead(
        None, SimpleNamespace(corpus=corpus), None, {}, lambda *a: asked.append(a) or a, lambda v: v
    )
    return made, asked


@pytest.mark.parametrize("batches", [1, 3, 50])
def test_every_shard_holds_texts(batches, ahead, monkeypatch):
    from bat import cluster, encoder

    laid_out = [[(place, None)] * 600 for place in range(batches)]
    monkeypatch.setattr(encoder, "lay_out", lambda base, texts: laid_out)
    monkeypatch.setattr(cluster, "SHARD_TEXTS", 100)
    shards = cluster._shards(ahead[0])
    assert all(shards)
    assert sorted(itertools.chain(*shards)) == laid_out


def test_a_trunk_goes_on_from_a_piece_whose_encoder_is_done(ahead, monkeypatch, tmp_path):
    """Of three sizes the first is done with its piece of the trunk: the second goes on there."""
    from bat import cluster, mlm, study

    folders = {size: tmp_path / str(size) for size in (1, 2, 3)}
    (folders[1] / "encoder").mkdir(parents=True)
    (tmp_path / "t-1.pt").write_bytes(b"state")
    monkeypatch.setattr(study, "places", lambda base, one: (tmp_path / "t.pt", folders))
    monkeypatch.setattr(cluster, "_packed", lambda top, below="": b"encoder")
    one = study.Pass((), (1, 2, 3), mlm.Recipe(), ())
    sources = cluster._submit_pass(ahead[0], one)
    second = (cluster._trunk, one, 2, b"state")
    third = (cluster._trunk, one, 3, second)
    branches = {2: (cluster._branch, one, 2, second), 3: (cluster._branch, one, 3, third)}
    assert ahead[1] == [second, third, branches[2], branches[3]]
    assert sources == {1: b"encoder"} | branches


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
            events = [each for each in ray.timeline() if each.get("cat", "").startswith("task::_")]
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
    assert "units on the cluster" in place.said()
    done = tasks(cluster)
    names = [name for name, *_ in done]
    arms, tuned, searched_or_fitted = 3, 2, 3
    assert {name: names.count(name) for name in set(names)} == {
        "_trunk": tuned,
        "_branch": tuned,
        "_embedding": arms,
        "_evaluation": arms,
        "_baseline": searched_or_fitted,
    }
    assert any(
        a[1] != b[1] and a[2] < b[3] and b[2] < a[3] for a, b in itertools.combinations(done, 2)
    )


@pytest.mark.slow
def test_a_study_outlives_a_node_that_is_killed(cluster, place, command, undisturbed):
    third = cluster.add_node(**NODE)
    process = place.open([*command, "--executor=ray"])
    wait_for(process, place, "trunks/*.pt")
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
    assert not list((place.folder / "home").glob("trunks/*"))


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
