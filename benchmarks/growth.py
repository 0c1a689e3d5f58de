"""Time and memory of each stage of a study as the corpus grows; each should grow at most linearly.

python -m benchmarks.growth [--toy] [--documents 10000,30000,100000,300000]      (Linux)

The built-in corpus, and a drawn encoder of two narrow layers with the default one's vocabulary, so
that what is measured is the work around the encoder. Each size runs in a process of its own, stage
by stage as a study does; the peak of memory is reset before each stage. Last: the exponent b of
time ~ documents^b between the first and the last size, of processor time, which holds still when
other work or the host of a virtual machine takes the processor away (OMP_NUM_THREADS=1 keeps
threads from waiting for each other in it).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from bat import cli
from bat.data import corpus
from bat.models import encoder, encoder_opening
from bat.tuning.objectives import mlm
from bat.workflow import feasible, graph, local, preparation, tasks
from bat.workflow.spec import StudySpec

DOCUMENTS, TOY = "10000,30000,100000,300000", "600,1200"
TRIALS = 3
WIDTH, LAYERS, HEADS = 32, 2, 2
Found = TypeVar("Found")


def drawn_encoder(folder: Path) -> Path:
    """Save a small BERT with drawn weights as a sentence encoder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel

    words = encoder_opening.open_encoder(cli.DEFAULT_ENCODER).model.tokenizer
    config = BertConfig(
        vocab_size=len(words), hidden_size=WIDTH, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, intermediate_size=2 * WIDTH,
    )  # fmt: skip
    with encoder.quiet():
        BertModel(config).save_pretrained(folder / "inside")
        words.save_pretrained(folder / "inside")
        modules = [Transformer(str(folder / "inside")), Pooling(WIDTH, "mean")]
        whole = SentenceTransformer(modules=modules, device="cpu")
        whole.max_seq_length = 256
        whole.save(str(folder / "encoder"))
    return folder / "encoder"


def peak_mb() -> float:
    """Most memory that this process has had since the last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def stage(name: str, documents: int, work: Callable[[], Found]) -> Found:
    """Do one stage, and print its seconds and its peak of memory."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    began, used = time.perf_counter(), processor_seconds()
    found = work()
    seconds, used = time.perf_counter() - began, processor_seconds() - used
    said = f"{used:.4g} s of a processor, {seconds:.4g} s in all, {peak_mb():.0f} MB"
    print(f"{documents} documents, {name}: {said}", flush=True)
    return found


def processor_seconds() -> float:
    """Processor time of this process and of those it has started and seen end."""
    return sum(os.times()[:4])


def stages(documents: int) -> None:
    """Run a study's stages one after the other."""
    with tempfile.TemporaryDirectory() as top:
        os.environ["BAT_HOME"] = f"{top}/home"
        opened = encoder_opening.open_encoder(str(drawn_encoder(Path(top))))
        loaded = stage("loading", documents, lambda: corpus.load(f"auctions:{documents}"))
        prepared = stage("checks", documents, lambda: preparation.prepare(loaded, opened))
        orders = feasible.orders(prepared.corpus, [0], "train")
        sizes = [len(orders[0]) // 2, len(orders[0])]
        wanted = StudySpec(sizes, [0], TRIALS, mlm.Recipe(), baselines=("ridge",), stack="auto")
        context = tasks.Context(opened, prepared, wanted)
        listed = graph.graph(context)
        *_, (key, best) = listed.pairs.items()
        *_, stacked = listed.stacks.values()
        (words,) = listed.baselines.values()
        tuned = [arm.encoder for arm in listed.pairs.values() if arm.encoder]

        def run(*some: tasks.Task) -> None:
            for _ in local.execute(context, some):
                pass

        stage("tuning", documents, lambda: run(*tuned))
        stage("embedding", documents, lambda: run(*best.own))
        stage("search", documents, lambda: run(best.evaluation))
        stage("serving", documents, lambda: run(graph.fitted_again(context, listed, key)))
        stage("TF-IDF + ridge", documents, lambda: run(words))
        stage("stack", documents, lambda: run(stacked.evaluation))


def main() -> None:
    """Run each size in a process of its own, and print how time grows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--documents", default=DOCUMENTS)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        stages(asked.one)
        return
    times: dict[str, list[tuple[int, float]]] = {}
    sizes = [int(word) for word in (TOY if asked.toy else asked.documents).split(",")]
    for documents in sizes:
        command = [sys.executable, "-m", "benchmarks.growth", "--one", str(documents)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        print(done, end="", flush=True)
        own = [line for line in done.splitlines() if line.startswith(f"{documents} documents, ")]
        for line in own:  # a study's own words stand between them
            name, _, told = line.partition(", ")[2].partition(": ")
            times.setdefault(name, []).append((documents, float(told.split()[0])))
    for name, points in times.items() if len(set(sizes)) > 1 else ():
        (few, fast), (many, slow) = points[0], points[-1]
        print(f"growth: {name}, time ~ documents^{np.log(slow / fast) / np.log(many / few):.2f}")


if __name__ == "__main__":
    main()
