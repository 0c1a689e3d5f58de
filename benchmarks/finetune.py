"""Tokens tuned a second: our loop against ``transformers.Trainer`` on the same blocks.

BAT_CORPORA=folder python -m benchmarks.finetune [--toy]

The peer is what the plain recipe gives: ``AutoModelForMaskedLM``, ``Trainer``,
``DataCollatorForLanguageModeling(mlm_probability=0.2)``, the checkpoint's dropout, float32, a new
head drawn at random. ``peer-warm`` is the same Trainer on our model, whose head starts as the
identity and was warmed: it shows what of the loss is due to the head. ``ours-fp32`` is our loop
without bfloat16. All take the same number of steps of 8 blocks over the same rows; the clock starts
at the end of the first step, which sets up the machine's libraries, and runs through ours' five
checks of the held-out loss. Held-out loss is of the same masked rows for all,
in the arm's own precision. Peak memory is that of the process; ``imports`` shows what a process
holds that opens the encoder and does nothing. Each measurement has a process of its own.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

BLOCKS_A_STEP = 8
LEARNING_RATE = 1e-4
MASK_SHARE = 0.2
FILE = "bat-10k.jsonl.gz"
TEXTS, HELD_OUT = 2_000, 200
ROUNDS = int(os.environ.get("BAT_ROUNDS", "3"))
TOY_TEXTS, TOY_HELD_OUT = 48, 4  # two steps at least: the first is not timed
ARMS = ("imports", "ours", "peer", "ours-fp32", "peer-warm")
TOY_ARMS = ("ours", "peer")


def corpus(count: int) -> list[str]:
    """The first texts of bat-10k, or of the built-in corpus where no folder is named."""
    if "BAT_CORPORA" in os.environ:
        with gzip.open(Path(os.environ["BAT_CORPORA"]) / FILE, "rt", encoding="utf-8") as lines:
            return [json.loads(line)["text"] for line in islice(lines, count)]
    from bat.data.auctions import generator

    return [document.text for document in generator.documents(count)]


def ours(opened: Any, texts: Sequence[str], held_out: Sequence[str], precision: str) -> dict:
    """One pass of our loop."""
    from bat.tuning import loop
    from bat.tuning.objective import Examples
    from bat.tuning.objectives import mlm

    recipe = mlm.Recipe(LEARNING_RATE, MASK_SHARE, blocks_a_step=BLOCKS_A_STEP, precision=precision)
    tokens: list[int] = []
    times: list[float] = []

    def step_done(count: int, loss: Any) -> None:
        tokens.append(count)
        times.append(time.perf_counter())

    examples = Examples(texts, [len(texts)], held_out)
    (tuned,) = loop.finetune(mlm.OBJECTIVE, opened, examples, recipe, progress=step_done)
    return {
        "rate": sum(tokens[1:]) / (times[-1] - times[0]),
        "held_out": tuned.held_out[-1][1],
        "steps": tuned.steps,
    }


def stock_trainer(model: Any, rows: list, words: Any, scratch: str) -> Any:
    """Make the ``Trainer`` that the plain recipe gives: one pass, its own defaults otherwise."""
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

    return Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=scratch,
            per_device_train_batch_size=BLOCKS_A_STEP,
            num_train_epochs=1,
            learning_rate=LEARNING_RATE,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=rows,
        data_collator=DataCollatorForLanguageModeling(words, mlm_probability=MASK_SHARE),
    )


def peer(opened: Any, texts: Sequence[str], held_out: Sequence[str], *, warm: bool) -> dict:
    """One pass of the Trainer over the same rows, and the loss on the same masked ones."""
    import torch
    from transformers import AutoModelForMaskedLM, TrainerCallback

    from bat.tuning import loop, masked_model, packing
    from bat.tuning.objective import Examples
    from bat.tuning.objectives import mlm

    recipe = mlm.Recipe(LEARNING_RATE, MASK_SHARE, blocks_a_step=BLOCKS_A_STEP, precision="fp32")
    words = opened.model.tokenizer
    if warm:
        run = loop.start(mlm.OBJECTIVE, opened, Examples(texts, [len(texts)]), recipe)
        loop.warm_head(run)
        model = run.model
    else:
        model = AutoModelForMaskedLM.from_pretrained(opened.folder)
    blocks = packing.pack(opened, texts, [len(texts)])
    rows = [
        {"input_ids": row.tolist(), "attention_mask": (row != words.pad_token_id).astype(int)}
        for row in np.asarray(blocks.tokens)
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = stock_trainer(model, rows, words, folder)
        times: list[float] = []

        class StepTimes(TrainerCallback):
            def on_step_end(self, *arguments: Any, **named: Any) -> None:
                times.append(time.perf_counter())

        trainer.add_callback(StepTimes())
        trainer.train()
    apart = packing.pack(opened, held_out, [len(held_out)])
    total = count = 0
    model.eval()
    for row in range(min(mlm.HELD_OUT_BLOCKS, len(apart.tokens))):
        batch = masked_model.stacked([mlm.masked(apart, row, 0, recipe, words)], words)
        with torch.no_grad():
            total += float(masked_model.summed_loss(model, batch, masked_only=False))
        count += len(batch["labels"])
    tokens = (len(rows) - BLOCKS_A_STEP) * blocks.tokens.shape[1]
    return {
        "rate": tokens / (times[-1] - times[0]),
        "held_out": total / count,
        "steps": trainer.state.global_step,
    }


def measure(arm: str, n_texts: int, n_held_out: int) -> None:
    """Run one arm, and print what it gave as JSON."""
    import torch
    import transformers

    from bat import cli
    from bat.models import encoder_opening
    from bat.tuning.objectives import mlm

    transformers.logging.set_verbosity_error()
    torch.set_float32_matmul_precision("highest")
    mlm.MIN_STEPS = 1
    everything = corpus(n_texts + n_held_out)
    texts, held_out = everything[:n_texts], everything[n_texts:]
    opened = encoder_opening.open_encoder(cli.DEFAULT_ENCODER)
    if arm == "imports":
        found = {"rate": float("nan"), "held_out": float("nan"), "steps": 0}
    elif arm.startswith("ours"):
        found = ours(opened, texts, held_out, "fp32" if arm == "ours-fp32" else "auto")
    else:
        found = peer(opened, texts, held_out, warm=arm == "peer-warm")
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))


def main() -> None:
    """Alternate the arms, and print the medians."""
    if sys.argv[1:] and sys.argv[1] in ARMS:
        measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
        return
    toy = "--toy" in sys.argv
    counts = (TOY_TEXTS, TOY_HELD_OUT) if toy else (TEXTS, HELD_OUT)
    arms = TOY_ARMS if toy else ARMS
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
    with tempfile.TemporaryDirectory() as home:
        for number in range(1 if toy else ROUNDS):
            for arm in arms if number % 2 == 0 else arms[::-1]:
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.finetune", arm, *map(str, counts)],
                    env=os.environ | {"BAT_HOME": home},
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                found[arm].append(json.loads(done.stdout.splitlines()[-1]))
                print(arm, found[arm][-1], flush=True)
    middle = {
        arm: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for arm, runs in found.items()
    }
    mine, theirs = middle["ours"], middle["peer"]
    if not toy:
        print(
            f"finetune-fp32: ours {middle['ours-fp32']['rate']:.0f} tokens/s "
            f"peer {theirs['rate']:.0f} tokens/s "
            f"ratio {middle['ours-fp32']['rate'] / theirs['rate']:.3f}"
        )
        print(
            f"finetune-held-out-warm: ours {mine['held_out']:.4f} nats "
            f"peer {middle['peer-warm']['held_out']:.4f} nats "
            f"ratio {mine['held_out'] / middle['peer-warm']['held_out']:.3f}"
        )
        print(f"imports and the encoder alone: {middle['imports']['peak']:.0f} MB")
    lines = [
        ("finetune-held-out", "held_out", "nats"),
        ("finetune-memory", "peak", "MB"),
        ("finetune", "rate", "tokens/s"),
    ]
    for name, key, unit in lines:
        print(
            f"{name}: ours {mine[key]:.4g} {unit} peer {theirs[key]:.4g} {unit} "
            f"ratio {mine[key] / theirs[key]:.3f}"
        )


if __name__ == "__main__":
    main()
