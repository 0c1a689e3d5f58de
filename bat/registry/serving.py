"""The file that MLflow runs to load a pricer: models from code, no pickle."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import math
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    DEADLINE_EXCEEDED,
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    RESOURCE_EXHAUSTED,
)
from mlflow.pyfunc import PythonModel

from bat.data.texts import UnusableError, usable_text
from bat.models import explanation, pricer
from bat.models.pricer import PRICES, Priced
from bat.models.turns import MOST_TURNS, Turns

# What one request may hold. With the default encoder two cores read 33 listings of 176 tokens a
# second, so the largest request takes half a minute.
MAX_TEXTS = 1_000
MAX_CHARACTERS = 2_000_000  # of all texts: twice what the encoder reads of 1,000
MAX_EXPLAINED = 10  # texts: with each some 20 more are read, some six seconds of two cores

# A request of more texts is *large*: it keeps one of the server's threads for over a second of two
# cores (33 texts, see above), by itself, and for some seconds beside others.
LARGE_TEXTS = 32
FREE_THREADS = 2  # that no large request may take: one to work, one to answer meanwhile

SERVER = "mlflow.pyfunc.scoring_server"  # a module that is loaded where requests are read
UNNAMED = ([0], ["0"])  # columns of a table with one column without a name, in pandas and in Spark
WHY = "why"  # one more, on request: in JSON a list of objects, since the server answers in JSON

# How long a thread may keep the interpreter while others wait. The encoder asks for it between any
# two of its products, and threads that read requests would each keep it for Python's usual 5 ms:
# 26 requests/s became 28 to 32 (32 clients, two cores), and a lone one took 39 ms instead of 48.
SWITCH_SECONDS = 2e-4


class PricerModel(PythonModel):  # type: ignore[misc]
    """Answers a column of texts with prices and the ends of their intervals."""

    def load_context(self, context: Any) -> None:
        """Open the pair that was logged with this model."""
        if SERVER in sys.modules:
            _read_requests_as_they_are(sys.modules[SERVER])
        self.patience, most_large = math.inf, None
        # In any other process nobody stops waiting, and threads are not ours to count or to hurry.
        if f"{SERVER}.app" in sys.modules:
            sys.setswitchinterval(SWITCH_SECONDS)
            self.patience = MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get()
            most_large = max(1, server_threads() - FREE_THREADS)
        self.turns, self.large = Turns(), LargeRequests(most_large)
        self.pricer = pricer.load(Path(context.artifacts["pricer"]))

    # No type hints: with them MLflow's server refuses the dataframe forms of a request.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        """Predict a price for each row of ``text``; ``params`` may hold ``coverage``, ``explain``.

        Returns:
            A table with the columns of ``PRICES``, and the index of ``model_input`` if it has one;
            with ``explain`` also ``why``: for each text a list of effects as dictionaries.
        """
        deadline = time.monotonic() + self.patience
        column, asked = _column(model_input), params or {}
        texts = checked_texts(column)
        coverage, explain = asked.get("coverage"), bool(asked.get("explain"))
        most = self.pricer.interval.most_coverage
        if coverage is not None and not 0 < coverage <= most:
            raise _refusal(f"coverage {coverage:g}", f"a share above 0 and at most {most:.4g}")
        if explain and len(texts) > MAX_EXPLAINED:
            expected = f"at most {MAX_EXPLAINED} in a request with explain; send them in parts"
            raise _refusal(f"{len(texts)} rows to explain", expected)
        with self.large.counted(len(texts) * (explanation.MOST_READ if explain else 1)):
            found = self._priced(texts, coverage, deadline)
            whys = self._reasons(texts, deadline) if explain else None
        columns = map(np.concatenate, zip(*found, strict=True))
        answer = pd.DataFrame(dict(zip(PRICES, columns, strict=True)), index=column.index)
        return answer if whys is None else answer.assign(**{WHY: whys})

    def _priced(
        self, texts: Sequence[str], coverage: float | None, deadline: float
    ) -> list[Priced]:
        """Price texts one by one, in turns with other requests.

        So a price hangs on its text alone, not on the others of its request.
        """
        found = []
        for done, text in enumerate(texts):
            with self._turn(len(texts) - done, deadline), _told_to_the_log():
                found.append(self.pricer.predict([text], coverage))
        return found

    def _reasons(self, texts: Sequence[str], deadline: float) -> list[list[dict[str, Any]]]:
        """Say what moves each price, in turns too: others wait for a few of the texts read."""
        turn = functools.partial(self._turn, MOST_TURNS, deadline)
        with _told_to_the_log():
            found = self.pricer.explain(texts, turn)
        return [[effect._asdict() for effect in effects] for effects in found]

    @contextlib.contextmanager
    def _turn(self, needed: int, deadline: float) -> Iterator[None]:
        """Hold a turn while the block lasts, unless nobody waits for the answer any more."""
        with self.turns.turn(needed):
            if time.monotonic() > deadline:  # MLflow's server has answered 504 meanwhile
                raise _RefusalError("the server took too long", error_code=DEADLINE_EXCEEDED)
            yield


@contextlib.contextmanager
def _told_to_the_log() -> Iterator[None]:
    """Keep what goes wrong for the server's own log: MLflow would send the client a stack trace."""
    try:
        yield
    except _RefusalError:
        raise
    except Exception:
        traceback.print_exc()
        message = "the server could not price this request; its log says why"
        raise _RefusalError(message, error_code=INTERNAL_ERROR) from None


class LargeRequests:
    """Counts the large requests at work, and has room for so many."""

    def __init__(self, most: int | None) -> None:
        """Have room for ``most`` of them; None: for any number."""
        self._most = math.inf if most is None else most
        self._door = threading.Lock()
        self._inside = 0

    @contextlib.contextmanager
    def counted(self, texts: int) -> Iterator[None]:
        """Count a request while the block lasts, if it is large.

        Raises:
            MlflowException: there is no room for it; the server answers with status 429.
        """
        large = texts > LARGE_TEXTS
        with self._door:
            if large and self._inside >= self._most:
                raise _RefusalError(
                    f"the server is working on {self._inside} requests of over {LARGE_TEXTS} texts "
                    f"(one to explain counts as {explanation.MOST_READ}) and takes no more of them "
                    "at once; send this one again later, or fewer texts",
                    error_code=RESOURCE_EXHAUSTED,
                )
            self._inside += large
        try:
            yield
        finally:
            with self._door:
                self._inside -= large


def server_threads() -> int:
    """Count the requests on which MLflow's server works at once; others wait unseen.

    It hands each to ``asyncio.to_thread``, whose pool is made without a size.
    """
    with ThreadPoolExecutor() as like_it:  # starts no thread before it has work
        return like_it._max_workers


def checked_texts(rows: Any) -> list[str]:
    """Read the texts of a request, or refuse it with the number of the first bad row.

    Args:
        rows: a table with a column ``text`` or one column without a name; a column of any name;
            strings; or records with the field ``text``.

    Returns:
        The texts without blanks around them.

    Raises:
        MlflowException: no column ``text``, no row or too many, or a text that is missing, no
            string, empty or too long; the server answers with status 400 and no stack trace.
    """
    values = [
        value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value
        for value in _column(rows)  # MLflow's reader makes such arrays
    ]
    if not values:
        raise _refusal("no rows", "at least one text")
    if len(values) > MAX_TEXTS:
        raise _refusal(f"{len(values)} rows", f"at most {MAX_TEXTS} in a request")
    texts = [_checked(number, value) for number, value in enumerate(values)]
    if sum(map(len, values)) > MAX_CHARACTERS:
        raise _refusal(f"{sum(map(len, values))} characters", f"at most {MAX_CHARACTERS} in all")
    return texts


def _column(rows: Any) -> pd.Series:
    """Find the column of texts in whatever form a request has."""
    if isinstance(rows, pd.Series):
        return rows
    if not isinstance(rows, pd.DataFrame):
        rows = _table(rows)
    if list(rows.columns) in UNNAMED:
        return rows.iloc[:, 0]
    if "text" not in rows.columns:
        raise _refusal("no column 'text'", "rows with the field 'text'")
    column = rows["text"]
    if isinstance(column, pd.DataFrame):
        raise _refusal("more than one column 'text'", "one")
    return column


def _table(rows: Any) -> pd.DataFrame:
    """Lay out what JSON can hold: records, a list of texts, columns, or one text."""
    rows = rows.tolist() if isinstance(rows, np.ndarray) else rows
    rows = rows if isinstance(rows, list | tuple | dict) else [rows]
    if isinstance(rows, dict):
        if not any(isinstance(v, list | dict | np.ndarray | pd.Series) for v in rows.values()):
            rows = [rows]
    elif not any(isinstance(row, dict) for row in rows):
        return pd.DataFrame({"text": pd.Series(rows, dtype=object)})
    try:
        return pd.DataFrame(rows, dtype=object)
    except Exception:  # of many kinds, some of which repeat the data
        raise _refusal("rows that are no table", "rows or columns of one length") from None


def _checked(number: int, value: Any) -> str:
    """Return one text, or say why it cannot be priced without repeating it."""
    try:
        return usable_text(value)
    except UnusableError as problem:
        reason = problem.reason.partition(":")[0]
    if not isinstance(value, str):
        # NaN is pandas' other null; an array would compare item by item.
        is_null = value is None or value is pd.NA or (isinstance(value, float) and value != value)
        reason = f"text is {'null' if is_null else type(value).__name__}"
    raise _refusal(f"row {number}: {reason}", "a string with words in it")


def _read_requests_as_they_are(server: Any) -> None:
    """Let MLflow's server hand over what a request holds, where a model has no schema.

    MLflow 3.17 makes numpy arrays of JSON, which turns 5 beside texts into "5"; and of CSV what
    pandas guesses: years become numbers, and the words NA, null and None are missing.
    """
    if getattr(server, "reads_as_it_is", False):
        return
    server.reads_as_it_is = True
    server.parse_csv_input = _without_schema(csv_table, server.parse_csv_input)
    server.parse_tf_serving_input = _without_schema(
        lambda request: next(iter(request.values())),  # of "inputs" or "instances"
        server.parse_tf_serving_input,
    )


def _without_schema(ours: Callable[[Any], Any], theirs: Callable[..., Any]) -> Callable[..., Any]:
    def read(held: Any = None, schema: Any = None, csv_input: Any = None) -> Any:
        held = csv_input if held is None else held
        return ours(held) if schema is None else theirs(held, schema=schema)

    return read


def csv_table(source: Any) -> pd.DataFrame:
    """Read a CSV body with a header; every field is text, as ``score`` reads a file.

    Args:
        source: a stream of text, or a path.

    Raises:
        MlflowException: it is broken; the number of the first bad row is named.
    """
    text = source.read() if hasattr(source, "read") else Path(source).read_text("utf-8")
    # Without this a field may have 131,072 characters.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    records = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    rows: list[list[str]] = []
    try:
        for fields in records:
            if not fields:  # a blank line is no row
                continue
            rows.append(fields)
            if len(fields) != len(rows[0]):
                found = f"row {len(rows) - 2}: fields: {len(fields)}, in the header: {len(rows[0])}"
                raise _refusal(found, "as many, those with commas in quotes")
    except csv.Error:
        found = f"row {max(len(rows) - 1, 0)}: broken CSV quotes"
        raise _refusal(found, "quoted fields closed, quotes inside doubled") from None
    return pd.DataFrame(rows[1:], columns=rows[0] if rows else None, dtype=object)


class _RefusalError(MlflowException):  # type: ignore[misc]
    """A refusal whose words stay ours: MLflow's server would put the request before them."""

    @property
    def message(self) -> str:
        """What the client reads."""
        return self._text

    @message.setter
    def message(self, text: str) -> None:
        self._text = getattr(self, "_text", text)


def _refusal(got: str, expected: str) -> MlflowException:
    return _RefusalError(f"got {got}; expected {expected}", error_code=INVALID_PARAMETER_VALUE)


mlflow.models.set_model(PricerModel())
