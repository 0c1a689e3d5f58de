"""The corpus of a command: loaded, looked over for what could make its numbers untrue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bat import cli
from bat.data import checks, corpus
from bat.data.corpus import Corpus
from bat.models import encoder
from bat.models.encoder import Encoder


@dataclass(frozen=True)
class Prepared:
    """A corpus that has passed the checks, and what they found."""

    corpus: Corpus
    token_counts: npt.NDArray[np.int64]  # (n,), of the whole texts
    findings: tuple[checks.Finding, ...]
    unknown_share: float = 0.0  # of the texts' tokens, those that the vocabulary lacks

    def rows(self, part: str) -> npt.NDArray[np.int64]:
        """Indices of one part's rows."""
        return corpus.rows(self.corpus, part)

    def times(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64] | None:
        """When some rows stand in time, shape of ``rows``; None without a time column."""
        times = self.corpus.times
        return None if times is None else times[rows]


def load(config: cli.DataConfig) -> Corpus:
    """Load the corpus that a command names.

    Raises:
        InputError: the corpus cannot be used; the message says why.
    """
    return corpus.load(
        config.data,
        text_column=config.text_column,
        target_column=config.target_column,
        group_column="" if config.group_column == "none" else config.group_column,
        time_column="" if config.time_column == "none" else config.time_column,
        limit=config.limit,
        max_rejected=config.max_rejected,
        show_texts=config.show_texts,
    )


def prepare(loaded: Corpus, opened: Encoder) -> Prepared:
    """Look for what could make a corpus's numbers untrue, before anything is computed with it.

    Raises:
        InputError: setting near repeats aside leaves too little of a part.
    """
    checked, findings = checks.run(loaded)
    with cli.bar("counting tokens", len(checked.texts), "text") as bar:
        counts, unknown = encoder.count_tokens(opened, checked.texts, progress=bar.update)
    findings += checks.long_texts(checked, counts, opened.max_tokens)
    special = opened.model.tokenizer.num_special_tokens_to_add()
    share = float(unknown.sum() / max(1, (counts - special).sum()))
    findings += checks.unknown_tokens(checked, unknown, share)
    return Prepared(checked, counts, tuple(findings), share)


def protocol(opened: Encoder, prepared: Prepared) -> str:
    """Tell whether an encoder has seen held-out texts: inductive, transductive or unknown."""
    seen = encoder.rows_seen(opened.folder)
    if seen is None:
        return "unknown"
    texts = [prepared.corpus.texts[row] for row in prepared.rows("held_out")]
    return "transductive" if seen & set(corpus.row_digests(texts)) else "inductive"
