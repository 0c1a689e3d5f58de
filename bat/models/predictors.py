"""All ways to predict prices from texts: one protocol, one table, one way to save and load.

A predictor is a frozen dataclass made of parts (an encoder, a regressor, words, arrays, numbers),
so that ``save`` and ``load`` serve them all. To add one, write the function that fits it and give
it a line in ``PREDICTORS``: the command line takes its names from there.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from bat import drafts
from bat.cli import InputError
from bat.models import embedding, encoder, encoder_opening, explanation, regressor, stack, words
from bat.models.embedding import Embeddings
from bat.models.encoder import Encoder
from bat.models.explanation import Effect, WordLine
from bat.models.prediction import Predictor, Reading, lengths
from bat.models.regressor import Regressor
from bat.models.words import Words

PREDICTOR_FILE = "predictor.json"
TIMED_TEXTS = 20  # of which the median is taken: convention

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrainingData:
    """What a predictor is fitted to.

    The two long works are handed in: a study keeps what its search finds, and tuning an encoder
    belongs to a layer above. Both show their own bars.
    """

    texts: Sequence[str]  # n
    prices: Floats  # (n,), positive; those outside of ``train`` are not looked at
    groups: Rows  # (n,); rows of one group stay in one fold
    train: Rows  # (t,), indices of the training rows
    base: Encoder  # the factory encoder; it is not changed
    seed: int
    search: stack.Search
    tune: Callable[[], EndToEnd]  # fine-tunes a copy of ``base`` on the training prices

    @property
    def train_texts(self) -> list[str]:
        """The texts of the training rows, t of them."""
        return [self.texts[row] for row in self.train]

    def material(self, embeddings: Embeddings) -> stack.Material:
        """Lay out what a stack is made from, with the embeddings of all texts, (n, d)."""
        return stack.Material(self.texts, embeddings, self.prices, self.groups, self.seed)


@dataclass(frozen=True)
class Method:
    """A way to predict prices."""

    label: str  # what reports call it
    fit: Callable[[TrainingData], Predictor]
    kind: Callable[..., Predictor]  # the class of what ``fit`` returns; ``load`` makes it of parts
    searched: bool = False  # ``fit`` calls ``TrainingData.search``
    tunes: bool = False  # ``fit`` calls ``TrainingData.tune``
    candidate: bool = False  # a study may serve it: what reads texts well enough to compete
    holds_words: bool = False  # its files hold words of the texts

    @property
    def by_chance(self) -> bool:
        """Whether another seed would give other predictions."""
        return self.searched or self.tunes


# Predictors


def _embedded(
    opened: Encoder, texts: Sequence[str], factory: Encoder | None = None
) -> tuple[Embeddings, npt.NDArray[np.bool_]]:
    """Embed a few texts in memory, in as few batches as possible; tell which are too long."""
    begun = [encoder.beginning(opened, text) for text in texts]
    return embedding.read(opened, begun, factory)


@dataclass(frozen=True)
class Pair(Predictor):
    """Trees on the embedding of a text: what a study tunes, and what it serves."""

    encoder: Encoder
    regressor: Regressor
    factory: Encoder | None = None  # where its embedding is read too, before that of the other

    def predict(self, texts: Sequence[str]) -> Floats:
        """Embed all texts, each distinct one once."""
        return self.regressor.predict(embedding.features(self.encoder, self.factory, texts))

    def read(self, texts: Sequence[str]) -> Reading:
        """Embed in as few batches as possible; the interval reads the embedding."""
        features, truncated = _embedded(self.encoder, texts, self.factory)
        return Reading(self.regressor.predict(features), features, truncated)


@dataclass(frozen=True)
class Median(Predictor):
    """The median training price for every text."""

    price: float

    def predict(self, texts: Sequence[str]) -> Floats:
        """Repeat the price."""
        return np.full(len(texts), self.price)


@dataclass(frozen=True)
class Lengths(Predictor):
    """Trees on how long a text is: what needs no reading."""

    regressor: Regressor

    def predict(self, texts: Sequence[str]) -> Floats:
        """Count, and ask the trees."""
        return self.regressor.predict(lengths(texts))


@dataclass(frozen=True)
class WordTrees(Predictor):
    """Trees on word counts that are compressed like an embedding."""

    words: Words
    directions: Floats  # (d, v)
    regressor: Regressor

    def predict(self, texts: Sequence[str]) -> Floats:
        """Weigh, compress, and ask the trees."""
        return self.read(texts).prices

    def read(self, texts: Sequence[str]) -> Reading:
        """Let the interval read the compressed counts."""
        features = words.compress(self.words.weigh(texts), self.directions)
        return Reading(self.regressor.predict(features), features, np.zeros(len(texts), bool))


@dataclass(frozen=True)
class WordRidge(Predictor):
    """Ridge regression of log price on word counts; predicts medians."""

    words: Words
    weights: Floats  # (v,)
    offset: float

    def predict(self, texts: Sequence[str]) -> Floats:
        """Add up the words' weights: the exponential of a mean log price is a median."""
        return np.asarray(np.exp(self.words.weigh(texts) @ self.weights + self.offset), np.float64)

    @property
    def word_line(self) -> WordLine:
        """All of it."""
        return WordLine(self.words, self.weights)


@dataclass(frozen=True)
class Static(Predictor):
    """Trees on the mean of the vectors that tokens have before any context."""

    encoder: Encoder  # all of it is kept, though its table and its tokenizer would do
    regressor: Regressor

    def predict(self, texts: Sequence[str]) -> Floats:
        """Average, and ask the trees."""
        return self.regressor.predict(static(self.encoder, texts))

    def read(self, texts: Sequence[str]) -> Reading:
        """Let the interval read the mean vectors."""
        features = static(self.encoder, texts)
        counts = encoder.token_counts(self.encoder, texts)
        return Reading(self.regressor.predict(features), features, counts > self.encoder.max_tokens)


@dataclass(frozen=True)
class EndToEnd(Predictor):
    """An encoder that was fine-tuned on prices, with its linear head; predicts medians."""

    encoder: Encoder
    weights: npt.NDArray[np.float32]  # (1, d)
    bias: npt.NDArray[np.float32]  # (1,)
    centre: float  # of the training rows' log prices
    scale: float  # their standard deviation
    least: float  # the smallest of them: nothing is predicted below it
    most: float  # the largest

    def predict(self, texts: Sequence[str]) -> Floats:
        """Embed in memory, and ask the head."""
        return self._prices(embedding.encode(self.encoder, texts))

    def read(self, texts: Sequence[str]) -> Reading:
        """Let the interval read the embedding."""
        features, truncated = _embedded(self.encoder, texts)
        return Reading(self._prices(features), features, truncated)

    def _prices(self, rows: Embeddings) -> Floats:
        head = [torch.from_numpy(each).to(encoder.device()) for each in (self.weights, self.bias)]
        with torch.no_grad():
            outputs = torch.nn.functional.linear(torch.from_numpy(rows).to(head[0].device), *head)
        logs = outputs.squeeze(1).cpu().numpy().astype(np.float64) * self.scale + self.centre
        return np.asarray(np.exp(np.clip(logs, self.least, self.most)), np.float64)


@dataclass(frozen=True)
class Stack(Predictor):
    """Trees on words, numbers and an embedding: on those of them that help on this corpus."""

    reader: stack.Reader  # its ``uses`` tell what the trees read
    regressor: Regressor
    encoder: Encoder | None = None  # none where no embedding is read
    factory: Encoder | None = None  # as of ``Pair``

    def predict(self, texts: Sequence[str]) -> Floats:
        """Embed all texts, each distinct one once, and read the rest of them."""
        rows = np.empty((len(texts), 0), np.float32)
        if self.encoder is not None:
            rows = embedding.features(self.encoder, self.factory, texts)
        return self.regressor.predict(self.reader.read(texts, rows))

    def read(self, texts: Sequence[str]) -> Reading:
        """Let the interval read the embedding, or lengths where there is none."""
        rows, truncated = self._embed(texts)
        prices = self.regressor.predict(self.reader.read(texts, rows))
        unread = truncated & (self.reader.words is None)  # words are read to the end
        return Reading(prices, lengths(texts) if self.encoder is None else rows, unread)

    @property
    def word_line(self) -> WordLine | None:
        """That of its reader: its trees draw on what it says."""
        if self.reader.words is None or self.reader.word_line is None:
            return None
        return WordLine(self.reader.words, self.reader.word_line.weights)

    def exact_effects(self, text: str, price: float) -> list[Effect]:
        """Add the numbers whose columns trees read."""
        row = self.reader.read([text], self._embed([text])[0])[0]
        first = self.reader.first_number(row.size)
        numbers = explanation.of_numbers(
            text, self.reader.numbers, row, first, self.regressor.predict
        )
        return [*super().exact_effects(text, price), *numbers]

    def _embed(self, texts: Sequence[str]) -> tuple[Embeddings, npt.NDArray[np.bool_]]:
        if self.encoder is None:
            return np.empty((len(texts), 0), np.float32), np.zeros(len(texts), bool)
        return _embedded(self.encoder, texts, self.factory)


# Features without context


def static(opened: Encoder, texts: Sequence[str]) -> Embeddings:
    """Average the vectors that an encoder has for the tokens of a text before any context.

    Args:
        opened: the factory encoder.
        texts: n strings; tokens beyond what the encoder reads are left out here too.

    Returns:
        float32, shape (n, d) with d the width of the token vectors.
    """
    table = encoder.transformer(opened.model).get_input_embeddings().weight.detach().cpu().numpy()
    ids = encoder.token_ids(opened, texts, special=False, max_tokens=opened.max_tokens)
    rows = [table[row].mean(axis=0) if row else np.zeros(table.shape[1]) for row in ids]
    return np.asarray(rows, np.float32)


# How each is fitted


def fit_pair(data: TrainingData) -> Pair:
    """Search trees on the embedding of the encoder as it is."""
    return Pair(data.base, data.search(embedding.embed(data.base, data.texts)))


def fit_median(data: TrainingData) -> Median:
    """Take the median of the training prices."""
    return Median(float(np.median(data.prices[data.train])))


def fit_lengths(data: TrainingData) -> Lengths:
    """Search trees on lengths and digits."""
    return Lengths(data.search(lengths(data.texts)))


def fit_word_trees(data: TrainingData) -> WordTrees:
    """Learn words and directions from the training rows, and search trees on them."""
    known = words.fit(data.train_texts)
    directions = words.directions(known.weigh(data.train_texts), seed=data.seed)
    features = words.compress(known.weigh(data.texts), directions)
    return WordTrees(known, directions, data.search(features))


def fit_word_ridge(data: TrainingData) -> WordRidge:
    """Learn words, their weights and the penalty from the training rows."""
    known, train = words.fit(data.train_texts), data.train
    weights, offset = words.ridge(
        known.weigh(data.train_texts), data.prices[train], groups=data.groups[train]
    )
    return WordRidge(known, weights, offset)


def fit_static(data: TrainingData) -> Static:
    """Search trees on the mean token vectors."""
    return Static(data.base, data.search(static(data.base, data.texts)))


def fit_words(data: TrainingData) -> Stack:
    """Stack what words, their pieces and numbers say, without any encoder."""
    nothing = np.empty((len(data.texts), 0), np.float32)
    return stacked(data.material(nothing), data.train, data.search, None)


def fit_stack(data: TrainingData) -> Stack:
    """Stack what words and numbers say on the embedding of the encoder as it is."""
    material = data.material(embedding.embed(data.base, data.texts))
    return stacked(material, data.train, data.search, data.base)


def stacked(
    material: stack.Material,
    train: Rows,
    search: stack.Search,
    opened: Encoder | None,
    factory: Encoder | None = None,
) -> Stack:
    """Choose the parts of a stack, search trees on them, and fit all of it to the training rows.

    Args:
        material: n rows; their embeddings as ``embedding.features`` gives them, (n, 0) for a stack
            without an encoder.
        train: (t,), numbers of the rows to learn from.
        search: looks for trees on them.
        opened: the encoder of the last columns.
        factory: of the columns before, if there are any.
    """
    chosen = stack.choose(material, train)
    trees = search(stack.features(material, chosen), stack.columns(material, chosen))
    return put_together(stack.reader(material, train, chosen), trees, opened, factory)


def put_together(
    reader: stack.Reader, trees: Regressor, opened: Encoder | None, factory: Encoder | None
) -> Stack:
    """Make a stack of its parts, without the encoders where it reads no embedding."""
    return Stack(reader, trees, *((opened, factory) if reader.embeds else (None, None)))


PAIR = "pair"  # what a served folder holds that does not say what it holds
STACK, WORDS = "stack", "words"  # on an embedding, and without one
# From the cheapest to serve to the dearest: of equally good ones the first is served.
PREDICTORS: Mapping[str, Method] = {
    "median": Method("median price", fit_median, Median),
    "lengths": Method("length and digits", fit_lengths, Lengths, searched=True),
    "ridge": Method("TF-IDF + ridge", fit_word_ridge, WordRidge, candidate=True, holds_words=True),
    WORDS: Method(
        "words + numbers", fit_words, Stack, searched=True, candidate=True, holds_words=True
    ),
    "tfidf": Method("TF-IDF + SVD", fit_word_trees, WordTrees, searched=True, holds_words=True),
    "static": Method("static embeddings", fit_static, Static, searched=True),
    PAIR: Method("encoder and regressor", fit_pair, Pair, searched=True, candidate=True),
    "supervised": Method(
        "supervised", lambda data: data.tune(), EndToEnd, tunes=True, candidate=True
    ),
    STACK: Method(
        "words + numbers + embedding",
        fit_stack,
        Stack,
        searched=True,
        candidate=True,
        holds_words=True,
    ),
}


def baselines() -> tuple[str, ...]:
    """List what a study may compare its encoders with: all that does not read one of its arms."""
    return tuple(name for name in PREDICTORS if name not in (PAIR, STACK))


def named(name: str) -> Method:
    """Look a method up.

    Raises:
        InputError: there is none of this name.
    """
    if name not in PREDICTORS:
        raise InputError(
            f"a predictor called {name!r}",
            f"one of {', '.join(PREDICTORS)}",
            "correct the name, or use the version of bat that knows it",
        )
    return PREDICTORS[name]


# Saving and loading


def _save_array(values: npt.NDArray[Any], place: Path) -> None:
    np.save(place.with_suffix(".npy"), values)


def _load_array(place: Path) -> npt.NDArray[Any]:
    return np.asarray(np.load(place.with_suffix(".npy"), allow_pickle=False))


# How each part is written to and read from a place: a folder, or a file by its name.
PARTS: Mapping[str, tuple[Callable[[Any, Path], None], Callable[[Path], Any]]] = {
    "Encoder": (encoder.save, lambda place: encoder_opening.open_encoder(str(place))),
    "Regressor": (regressor.save, regressor.load),
    "Words": (words.save, words.load),
    "Reader": (stack.save, stack.load),
    "ndarray": (_save_array, _load_array),
}


def save(name: str, predictor: Predictor, folder: Path) -> None:
    """Write a predictor into an empty folder, without pickle: each part under its name.

    Args:
        name: of its method in ``PREDICTORS``.
        predictor: by that method.
        folder: where to; it is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, str | float] = {}
    for field in dataclasses.fields(predictor):  # type: ignore[arg-type]
        value = getattr(predictor, field.name)
        if isinstance(value, float):
            parts[field.name] = value
        elif value is not None:
            parts[field.name] = type(value).__name__
            PARTS[type(value).__name__][0](value, folder / field.name)
    contents = {"name": name, "parts": parts}
    (folder / PREDICTOR_FILE).write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> Predictor:
    """Read what ``save`` wrote, or the pair that version 0.1 wrote.

    Raises:
        InputError: a version wrote it that knows other predictors, or an encoder is missing.
        ValueError: another part is missing or damaged.
    """
    name, parts = _contents(folder)
    kind = named(name).kind
    try:
        return kind(
            **{
                field: PARTS[part][1](folder / field) if isinstance(part, str) else part
                for field, part in parts.items()
            }
        )
    except (OSError, EOFError, KeyError, TypeError) as error:
        raise ValueError(f"got no {named(name).label} in {folder}: {error}") from None


def _contents(folder: Path) -> tuple[str, dict[str, Any]]:
    """Tell the name of a saved predictor, and its parts."""
    try:
        contents = json.loads((folder / PREDICTOR_FILE).read_text(encoding="utf-8"))
        return str(contents["name"]), dict(contents["parts"])
    except FileNotFoundError:
        parts = {"encoder": "Encoder", "regressor": "Regressor"}
        return PAIR, parts | ({"factory": "Encoder"} if (folder / "factory").is_dir() else {})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"got no predictor in {folder / PREDICTOR_FILE}: {error!r}; expected what save() writes"
        ) from None


class Cost(NamedTuple):
    """What a predictor costs to serve."""

    milliseconds_a_text: float  # of texts that are priced alone, the median
    megabytes: float  # of its files


def cost(predictor: Predictor, texts: Sequence[str], folder: Path) -> Cost:
    """Measure what a saved predictor costs, on the first of some texts."""
    times = []
    for text in texts[:TIMED_TEXTS]:
        began = time.perf_counter()
        predictor.read([text])
        times.append(time.perf_counter() - began)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Cost(1e3 * float(np.median(times)), size / 1e6)


def cost_unsaved(name: str, predictor: Predictor, texts: Sequence[str]) -> Cost:
    """Measure what a predictor would cost, by saving it for a moment."""
    with drafts.draft() as top:
        save(name, predictor, top / name)
        return cost(predictor, texts, top / name)
