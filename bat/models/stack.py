"""What one regressor reads of a text when it may read everything: words, numbers, an embedding.

Words are ahead of a bare embedding on many corpora, and both together are ahead of either. What is
learnt from prices enters as a column that is out of fold for the rows that trees learn from. A part
is left out where the cross-validated error on training rows is no worse without it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from bat.models import numbers, regressor, ridge_column, search, words
from bat.models.numbers import Numbers
from bat.models.regressor import Regressor, Settings
from bat.models.ridge_column import Columns, Embeddings, Floats, Line, Rows
from bat.models.words import Counts, Words

# The parts, in the order of their columns: what no price has a say in, and what is learnt from it.
FIXED = EMBEDDING, NUMBERS = "embedding", "numbers"
LEARNT = LINE, WORD_LINE, PIECE_LINE = (
    "ridge on the embedding",
    "ridge on words",
    "ridge on pieces of words",
)
ALL = FIXED + LEARNT
NO_NUMBERS = Numbers(())
INNER_FOLDS = 5  # convention
# From so many training rows on, what the stack takes beside a search is bounded: two inner folds,
# and no pieces of words, of which a text has ten times as many as words.
MANY_ROWS, FEWEST_FOLDS = 20_000, 2
CHOICE_FOLDS = search.FOLDS
CHOICE_SALT = 1_000  # added to the seed: the folds that choose parts are not those of the search
# Parts are judged by the settings that a search tries first, with its effort for a finalist.
JUDGE = Settings(4, search.FINAL_RATE, 3.0, 0.8, 0.2, 300.0)

STACK_FILE, WORDS_FOLDER, PIECES_FOLDER, NUMBERS_FILE = "stack.json", "words", "pieces", "numbers"
LINE_FILE, WORD_LINE_FILE, PIECE_LINE_FILE = "line.npy", "word_line.npy", "piece_line.npy"


class Search(Protocol):
    """Looks for the best trees on the training rows."""

    def __call__(self, features: Embeddings, columns: Columns | None = None) -> Regressor:
        """Search and fit.

        Args:
            features: of all rows, (n, d).
            columns: that go behind them and are learnt from prices, by numbers of all rows; if left
                out, that of ``ridge_column.Line``. With them the trees do without a line.
        """
        ...


@dataclass(frozen=True)
class Material:
    """Rows that a stack is made from; functions are told which of them to learn from."""

    texts: Sequence[str]  # n
    embeddings: Embeddings  # (n, d); (n, 0) where no encoder is read
    prices: Floats  # (n,), positive
    groups: npt.NDArray[np.int64]  # (n,); rows of one group stay in one fold
    seed: int

    @functools.cached_property
    def counts(self) -> Counts:
        """The words of all rows, counted once for all folds."""
        return words.count(self.texts, words.WHOLE)

    @functools.cached_property
    def piece_counts(self) -> Counts:
        """The pieces of words of all rows, counted once for all folds."""
        return words.count(self.texts, words.PIECES)


@dataclass(frozen=True)
class Chosen:
    """The parts that a stack uses, and why."""

    uses: tuple[str, ...]  # of ``ALL``, in its order
    errors: Mapping[str, float]  # mean absolute, cross-validated, of all sets of parts tried
    numbers: Numbers  # those of the training texts, used or not


@dataclass(frozen=True)
class Reader:
    """What turns texts and embeddings into what trees read; ``fit`` or ``load`` makes one."""

    uses: tuple[str, ...]  # of ``ALL``, in its order
    errors: Mapping[str, float] = field(default_factory=dict)  # as in ``Chosen``
    numbers: Numbers = NO_NUMBERS
    line: Line | None = None  # on the embedding
    words: Words | None = None
    word_line: Line | None = None
    pieces: Words | None = None  # of words
    piece_line: Line | None = None

    @property
    def embeds(self) -> bool:
        """Whether it reads embeddings."""
        return EMBEDDING in self.uses or LINE in self.uses

    def read(self, texts: Sequence[str], embeddings: Embeddings) -> Embeddings:
        """Give the columns that trees read.

        Args:
            texts: n strings.
            embeddings: theirs, (n, d); any where ``embeds`` is false.

        Returns:
            float32, shape (n, k); NaN where a text lacks a number.

        Raises:
            ValueError: an embedding that it reads is not finite.
        """
        if self.embeds and not np.isfinite(embeddings).all():
            raise ValueError("got embeddings that are not all finite")
        fixed = _fixed(self.uses, embeddings, self.numbers.read(texts))
        return ridge_column.append(fixed, self.learnt(texts, embeddings))

    def learnt(self, texts: Sequence[str], embeddings: Embeddings) -> Floats:
        """Give what is learnt from prices alone, (n, 0) to (n, 3), of n texts as for ``read``."""
        told = [np.empty((len(texts), 0))]
        if self.line is not None:
            told.append(self.line.numbers(embeddings)[:, None])
        for known, line in ((self.words, self.word_line), (self.pieces, self.piece_line)):
            if known is not None and line is not None:
                told.append(words.logs(known.weigh(texts), line)[:, None])
        return np.hstack(told)

    def first_number(self, k: int) -> int:
        """Tell where the columns of numbers begin among all k."""
        learnt = sum(name in self.uses for name in LEARNT)
        return k - learnt - len(self.numbers.anchors)


def features(material: Material, chosen: Chosen) -> Embeddings:
    """Give the columns of all rows that no price has a say in, (n, k): what a search is handed."""
    return _fixed(chosen.uses, material.embeddings, chosen.numbers.read(material.texts))


def columns(material: Material, chosen: Chosen) -> Columns:
    """Make the columns that are learnt from prices: what a search is handed too."""
    return _columns(material, chosen.uses)


def reader(material: Material, rows: Rows, chosen: Chosen) -> Reader:
    """Learn all parts from some rows, t of the n; ``columns`` of the same rows does so too."""
    known = chosen.numbers if NUMBERS in chosen.uses else NO_NUMBERS
    learnt, _ = _fit(material, rows, rows[:0], chosen.uses)
    return dataclasses.replace(learnt, numbers=known, errors=chosen.errors)


def _fixed(uses: Sequence[str], embeddings: Embeddings, said: Embeddings) -> Embeddings:
    """Put together what is used of embeddings (n, d) and numbers (n, m): (n, k)."""
    parts = [rows for name, rows in zip(FIXED, (embeddings, said), strict=True) if name in uses]
    return np.hstack([np.empty((len(said), 0), np.float32), *parts])


def _columns(material: Material, uses: Sequence[str]) -> Columns:
    return lambda learn, others: _fit(material, learn, others, uses)[1]


def _fit(
    material: Material, rows: Rows, others: Rows, uses: Sequence[str]
) -> tuple[Reader, tuple[Floats, Floats]]:
    """Learn from the prices of some rows, t of the n.

    Returns:
        A reader without numbers, which are learnt from no price; for each row what ``learnt`` of a
        reader gives that has not seen its group, (t, 0) to (t, 3); and what ``learnt`` of the first
        gives for each of v other rows.
    """
    targets, groups = material.prices[rows], material.groups[rows]
    wanted = INNER_FOLDS if len(rows) <= MANY_ROWS else FEWEST_FOLDS
    folds = min(wanted, np.unique(groups).size)
    fold_of = search.assign_folds(groups, folds=folds, seed=material.seed)
    found: dict[str, Any] = {}
    unseen, told = [np.empty((len(rows), 0))], [np.empty((len(others), 0))]
    if LINE in uses:
        line, column = ridge_column.fit(material.embeddings[rows], targets, fold_of=fold_of)
        found["line"] = line
        unseen.append(column[:, None])
        told.append(line.numbers(material.embeddings[others])[:, None])
    for part, of, name in ((WORD_LINE, "counts", "words"), (PIECE_LINE, "piece_counts", "pieces")):
        if part in uses:
            counts: Counts = getattr(material, of)
            known, kept = counts.fit(rows)
            line, column = words.line(counts.weigh(known, kept, rows), targets, fold_of=fold_of)
            found |= {name: known, f"{name.removesuffix('s')}_line": line}
            unseen.append(column[:, None])
            told.append(words.logs(counts.weigh(known, kept, others), line)[:, None])
    used = tuple(each for each in ALL if each in uses)
    return Reader(used, **found), (np.hstack(unseen), np.hstack(told))


# Which parts


def choose(material: Material, rows: Rows) -> Chosen:
    """Leave out, one after the other, the parts without which the error is no larger.

    Cross-validated over folds of their own, in which all that is learnt from prices is learnt anew.

    Args:
        material: the rows.
        rows: numbers of the training rows; no other price is looked at.
    """
    known = numbers.fit([material.texts[row] for row in rows])
    said = known.read(material.texts)
    errors: dict[str, float] = {}

    def error(uses: Sequence[str]) -> float:
        name = " + ".join(uses)
        if name not in errors:
            errors[name] = _error(material, said, divisions, uses)
        return errors[name]

    embedded = material.embeddings.shape[1] > 0
    offered = {EMBEDDING: embedded, LINE: embedded, NUMBERS: bool(known.anchors)}
    offered[PIECE_LINE] = len(rows) <= MANY_ROWS
    uses = tuple(each for each in ALL if offered.get(each, True))
    divisions = _laid_out(material, rows, uses)
    while len(uses) > 1:
        fewer = min((tuple(each for each in uses if each != out) for out in uses), key=error)
        if error(fewer) > error(uses):
            break
        uses = fewer
    return Chosen(uses, errors, known)


class _Division(NamedTuple):
    """One fold of the choice: its rows, and what is learnt from prices, by all ridges."""

    learn: Rows  # (t,)
    apart: Rows  # (v,)
    names: tuple[str, ...]  # of the ridges, k of ``LEARNT`` in its order
    unseen: Floats  # (t, k)
    told: Floats  # (v, k)


def _laid_out(material: Material, rows: Rows, uses: Sequence[str]) -> list[_Division]:
    """Fit all ridges that may be used once for each fold."""
    groups, found = material.groups[rows], []
    names = tuple(name for name in LEARNT if name in uses)
    folds = min(CHOICE_FOLDS, np.unique(groups).size)
    for division in search.splits(groups, folds=folds, seed=material.seed + CHOICE_SALT):
        learn, apart = (rows[part[: search.SCREEN_ROWS]] for part in division)
        found.append(_Division(learn, apart, names, *_columns(material, uses)(learn, apart)))
    return found


def _error(
    material: Material, said: Embeddings, divisions: Sequence[_Division], uses: Sequence[str]
) -> float:
    """Cross-validate trees on some parts; mean absolute error in price units."""
    features = _fixed(uses, material.embeddings, said)
    folds = []
    for learn, apart, names, unseen, told in divisions:
        places = [place for place, name in enumerate(names) if name in uses]
        learnt = unseen[:, places], told[:, places]
        fold = regressor.fold(features, material.prices, learn, apart, _given(learnt))
        folds.append(fold)
    found = regressor.cross_validate(
        folds,
        JUDGE,
        seed=material.seed,
        most_trees=search.FINAL_TREES,
        patience=search.FINAL_PATIENCE,
    )
    return found.mae


def _given(learnt: tuple[Floats, Floats]) -> Columns:
    """Make columns of numbers that are known already."""
    return lambda learn, others: learnt


# Saving and loading


def save(made: Reader, folder: Path) -> None:
    """Write what a reader uses as JSON, words and arrays; ``load`` gives the same bits."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"uses": made.uses, "errors": dict(made.errors)}
    (folder / STACK_FILE).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    numbers.save(made.numbers, folder / NUMBERS_FILE)
    for known, place in ((made.words, WORDS_FOLDER), (made.pieces, PIECES_FOLDER)):
        if known is not None:
            words.save(known, folder / place)
    for line, file in (
        (made.line, LINE_FILE),
        (made.word_line, WORD_LINE_FILE),
        (made.piece_line, PIECE_LINE_FILE),
    ):
        if line is not None:
            np.save(folder / file, np.append(line.weights, line.offset))


def load(folder: Path) -> Reader:
    """Read what ``save`` wrote.

    Raises:
        ValueError: a file is missing, damaged, or does not belong to the others.
    """
    try:
        told = json.loads((folder / STACK_FILE).read_text(encoding="utf-8"))
        uses = tuple(map(str, told["uses"]))
        found = Reader(
            uses,
            {str(name): float(error) for name, error in told["errors"].items()},
            numbers.load(folder / NUMBERS_FILE),
            _load_line(folder / LINE_FILE) if LINE in uses else None,
            words.load(folder / WORDS_FOLDER) if WORD_LINE in uses else None,
            _load_line(folder / WORD_LINE_FILE) if WORD_LINE in uses else None,
            words.load(folder / PIECES_FOLDER) if PIECE_LINE in uses else None,
            _load_line(folder / PIECE_LINE_FILE) if PIECE_LINE in uses else None,
        )
    except (OSError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"got no stack in {folder}: {error!r}; expected {STACK_FILE} and what it names, as "
            "save() writes them"
        ) from None
    for known, line, file in (
        (found.words, found.word_line, WORD_LINE_FILE),
        (found.pieces, found.piece_line, PIECE_LINE_FILE),
    ):
        if known is not None and line is not None and len(known.vocabulary) != line.weights.size:
            raise ValueError(
                f"got {line.weights.size} weights in {folder / file}; expected one for each of the "
                f"{len(known.vocabulary)} words"
            )
    return found


def _load_line(file: Path) -> Line:
    values = np.load(file, allow_pickle=False)
    return Line(values[:-1], float(values[-1]))
