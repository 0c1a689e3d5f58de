"""What it is worth to warm a masked-language head that the checkpoint lacks.

BAT_CORPORA=folder python -m benchmarks.head [--toy]

One pass over all training texts of bat-10k (of the built-in corpus where no folder is named), three
times: with the head that starts as the identity and is warmed while the encoder is frozen; with the
identity as it is; and with the head that transformers draws. For each the loss on held-out texts
before and after, and what one fixed regressor scores on the held-out part with its embeddings.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import numpy as np

from bat import cli
from bat.data import corpus, subsets
from bat.data.corpus import Corpus
from bat.models import encoder_opening
from bat.models.encoder import Encoder
from bat.stats import bootstrap
from bat.tuning import loop, masked_model
from bat.tuning.objective import Examples
from bat.tuning.objectives import mlm
from benchmarks.one_pass import embedded, predictions

FILE, BUILT_IN, TOY = "bat-10k.jsonl.gz", "auctions:3000", "auctions:300"
HELD_OUT = 200
ARMS = ("warmed", "identity", "drawn")


def tuned(opened: Encoder, loaded: Corpus, arm: str) -> loop.Tuned:
    """Tune once, with one kind of head."""
    texts = [loaded.texts[index] for index in subsets.tuning_texts(loaded, seed=0)]
    unseen = [loaded.texts[index] for index in corpus.rows(loaded, "held_out")[:HELD_OUT]]
    steps, start = mlm.HEAD_STEPS, masked_model.start_as_identity
    if arm != "warmed":
        mlm.HEAD_STEPS = 0
    if arm == "drawn":
        masked_model.start_as_identity = lambda parameter, is_weight: None
    try:
        examples = Examples(texts, [len(texts)], unseen)
        (found,) = loop.finetune(mlm.OBJECTIVE, opened, examples, mlm.Recipe(tuned_share=1.0))
    finally:
        mlm.HEAD_STEPS, masked_model.start_as_identity = steps, start
    return found


def predicted(opened: Encoder, loaded: Corpus) -> np.ndarray:
    """Predict the held-out rows' prices from the embeddings of one encoder."""
    return predictions(loaded, embedded(opened, loaded), 0)


def main() -> None:
    """Tune with each kind of head, and print losses and scores."""
    toy = "--toy" in sys.argv
    folder = os.environ.get("BAT_CORPORA")
    data = TOY if toy else str(Path(folder) / FILE) if folder else BUILT_IN
    if toy:
        mlm.MIN_STEPS = mlm.HEAD_STEPS = 2
    opened = encoder_opening.open_encoder(cli.DEFAULT_ENCODER)
    loaded = corpus.load(data)
    prices = loaded.prices[corpus.rows(loaded, "held_out")]
    factory = predicted(opened, loaded)
    print("factory", bootstrap.scores(prices, factory))
    for arm in ARMS:
        found = tuned(opened, loaded, arm)
        scored = predicted(dataclasses.replace(opened, model=found.model), loaded)
        losses = [loss for _, loss in found.held_out]
        print(f"{arm}: held-out loss {losses[0]:.3f} -> {losses[-1]:.3f}, {found.steps} steps")
        for name, score in bootstrap.bootstrap(prices, scored).items():
            gain = bootstrap.paired(prices, scored, factory)[name]
            print(f"  {name} {score}, minus factory {gain}", flush=True)


if __name__ == "__main__":
    main()
