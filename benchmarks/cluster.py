"""What a Ray cluster costs on one machine, and how a large study's time falls with more of them.

python -m benchmarks.cluster [--toy] [--rounds 1]

The same study with ``executor=local`` and ``executor=ray``, in turn, each from an empty cache; the
clock holds all of each command. Then what larger studies would cost, and how a plan of 120,000
documents and eleven sizes is laid out on 1 to 16 machines like this one: its tasks, as
``bat.workflow.graph`` lists them, take what the local study's took, by their work, and each machine
takes one at a time, first the one with the longest way to the end. Baselines, checks, the fit that
is served and logging are left out. No cluster of that size was at hand: these times are computed,
and leave out what the network takes.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import mlflow
import numpy as np
import pandas as pd

from bat import cli
from bat.data import corpus
from bat.models import encoder_opening
from bat.tuning.objectives import mlm
from bat.workflow import graph, preparation, tasks
from bat.workflow.spec import StudySpec
from benchmarks.study import timed

STUDY = ["--data=auctions:3000", "--sizes=0,0.25,0.5,1.0", "--trials=30"]
TOY = ["--data=auctions:450", "--sizes=0,1.0", "--trials=2", "--baselines=median"]
PLANNED, TUNED_SHARE, STEPS = 120_000, 0.64, 10
TOKENS, TRIALS = 45, 30  # of a text; the same in what is measured and what is planned
# Of each stage the kind of work that its time goes by.
MAIN = {
    "tuning": graph.TUNED_TOKEN,
    "embedding": graph.EMBEDDED_TOKEN,
    "search": graph.TREE_ROW,
}
WORKERS = (1, 2, 4, 8, 16)
COSTS = ((3_000, 3), (10_000, 5), (30_000, 10), (120_000, 10), (300_000, 10))
Units = Mapping[str, tuple[float, tuple[str, ...]]]  # seconds, and the units that come before


def measured(folder: Path) -> dict[str, float]:
    """Read from a local study the seconds that each stage takes for one unit of its work."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (run,) = client.search_runs(["0"], "tags.`bat.command` = 'scaling_study'")
    table = pd.read_csv(client.download_artifacts(run.info.run_id, "results.csv"))
    arms = table[table["documents"].notna()].sort_values("documents")
    documents = int(run.data.params["config.data"].rpartition(":")[2])
    sizes = tuple(int(size) for size in arms["documents"])
    work: dict[str, float] = {}
    for task in tasks.in_order(study_of(documents, sizes).wanted):
        work[task.stage] = work.get(task.stage, 0.0) + task.work[MAIN[task.stage]]
    return {stage: float(arms[f"{stage}_seconds"].sum()) / n for stage, n in work.items()}


def study_of(documents: int, sizes: Sequence[int]) -> graph.Graph:
    """List the tasks of a study of as many documents, all alike, without their texts."""
    base = encoder_opening.open_encoder(cli.DEFAULT_ENCODER)
    texts = [str(number) for number in range(documents)]
    n_train = round(documents * TUNED_SHARE)
    loaded = SimpleNamespace(
        name="planned",
        texts=texts,
        prices=np.ones(documents),
        parts=np.array(["train"] * n_train + ["held_out"] * (documents - n_train)),
        group_ids=np.arange(documents),
        times=None,
    )
    counts = np.full(documents, TOKENS)
    wanted = StudySpec(sizes, (0,), TRIALS, mlm.Recipe())
    prepared = preparation.Prepared(cast(corpus.Corpus, loaded), counts, ())
    return graph.graph(tasks.Context(base, prepared, wanted, {0: texts[:n_train]}))


def planned(seconds: Mapping[str, float], documents: int, steps: int) -> Units:
    """List the units of a study with as many linear steps, what each takes and waits for."""
    top = round(documents * TUNED_SHARE)
    sizes = [top * number // steps for number in range(steps + 1)]
    return {
        task.unit.name: (
            seconds[task.stage] * task.work[MAIN[task.stage]],
            tuple(need.unit.name for need in task.needs),
        )
        for task in tasks.in_order(study_of(documents, sizes).wanted)
    }


def ways(units: Units) -> dict[str, float]:
    """Tell how long it takes from the beginning of each unit to the end of all that follows it."""
    after: dict[str, list[str]] = {name: [] for name in units}
    for name, (_, before) in units.items():
        for other in before:
            after[other].append(name)
    found: dict[str, float] = {}
    for name in reversed(list(units)):  # what follows a unit stands below it
        found[name] = units[name][0] + max((found[other] for other in after[name]), default=0.0)
    return found


def laid_out(units: Units, workers: int) -> float:
    """Give each free worker the unit with the longest way to the end; when all is done."""
    way = ways(units)
    waits = {name: set(before) for name, (_, before) in units.items()}
    ready = [(-way[name], name) for name, before in waits.items() if not before]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            _, name = heapq.heappop(ready)
            heapq.heappush(running, (now + units[name][0], name))
        now, done = heapq.heappop(running)
        for name, before in waits.items():
            if done in before:
                before.remove(done)
                if not before:
                    heapq.heappush(ready, (-way[name], name))
    return now


def main() -> None:
    """Time both executors, print the plan, and last the ratio of the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    took: dict[str, list[float]] = {"local": [], "ray": []}
    for _ in range(asked.rounds):
        for executor, seconds in took.items():
            with tempfile.TemporaryDirectory() as top:
                words = [*(TOY if asked.toy else STUDY), f"--executor={executor}"]
                seconds.append(timed(["entrypoints.scaling_study", *words], Path(top)))
                print(f"executor={executor}: {seconds[-1]:.0f} s", flush=True)
                if executor == "local":
                    rates = measured(Path(top))
    for stage, seconds_each in rates.items():
        print(f"{stage}: {seconds_each:.3g} s a {MAIN[stage]} on this machine")
    print("| documents | sizes | hours of this machine |")
    for documents, steps in COSTS:
        hours = laid_out(planned(rates, documents, steps), 1) / 3600
        print(f"| {documents:,} | {steps + 1} | {hours:.1f} |")
    units = planned(rates, PLANNED, STEPS)
    alone = laid_out(units, 1)
    for workers in WORKERS:
        time = laid_out(units, workers)
        print(
            f"{PLANNED:,} documents, {workers} machines: {time / 3600:.2f} h, {alone / time:.1f}x"
        )
    print(f"critical path: {max(ways(units).values()) / 3600:.2f} h of {alone / 3600:.2f} h")
    mine, theirs = (float(np.median(took[name])) for name in ("ray", "local"))
    print(f"cluster: ours {mine:.0f} s peer {theirs:.0f} s ratio {mine / theirs:.3f}")


if __name__ == "__main__":
    main()
