"""The file that MLflow runs to load a pricer: models from code, no pickle."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel

from bat import pricer

# What one request may hold. With the default encoder two cores read 33 listings of 176 tokens a
# second, so the largest request takes half a minute.
MAX_TEXTS = 1_000
MAX_CHARACTERS = 2_000_000  # of all texts: twice what the encoder reads of 1,000

# How long a thread may keep the interpreter while others wait. The encoder asks for it between any
# two of its products, and threads that read requests would each keep it for Python's usual 5 ms:
# 26 requests/s became 28 to 32 (32 clients, two cores), and a lone one took 39 ms instead of 48.
SWITCH_SECONDS = 2e-4


class PricerModel(PythonModel):  # type: ignore[misc]
    """Answers a column of texts with prices and the ends of their intervals."""

    def load_context(self, context: Any) -> None:
        """Open the pair that was logged with this model."""
        # In any other process how long threads keep the interpreter is not ours to say.
        if "mlflow.pyfunc.scoring_server.app" in sys.modules:
            sys.setswitchinterval(SWITCH_SECONDS)
        self.pricer = pricer.load(Path(context.artifacts["pricer"]))

    # No type hints: with them MLflow's server refuses the dataframe forms of a request.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        """Predict a price for each row of ``text``; ``params`` may hold a ``coverage``."""
        texts = checked_texts(model_input)
        coverage = (params or {}).get("coverage")
        most = self.pricer.interval.most_coverage
        if coverage is not None and not 0 < coverage <= most:
            raise _refusal(f"coverage {coverage:g}", f"a share above 0 and at most {most:.4g}")
        try:
            found = self.pricer.predict(texts, coverage)
        except Exception:  # MLflow's server would send the client a stack trace
            traceback.print_exc()  # to the server's own log
            said = "the server could not price this request; its log says why"
            raise _RefusalError(said, error_code=INTERNAL_ERROR) from None
        return pd.DataFrame(
            {
                "price": found.price,
                "price_low": found.low,
                "price_high": found.high,
                "truncated": found.truncated,
            }
        )


def checked_texts(rows: Any) -> list[str]:
    """Read the texts of a request, or refuse it with the number of the first bad row.

    Raises:
        MlflowException: no column ``text``, no row or too many, or a text that is missing, no
            string, empty or too long; the server answers with status 400 and no stack trace.
    """
    if isinstance(rows, pd.DataFrame):
        if "text" not in rows.columns:
            raise _refusal("no column 'text'", "rows with the field 'text'")
        rows = rows["text"]
    texts = list(rows)
    if len(texts) == 1 and isinstance(texts[0], list) and all(isinstance(t, str) for t in texts[0]):
        texts = texts[0]  # how MLflow hands over {"inputs": {"text": ["...", "..."]}}
    if not texts:
        raise _refusal("no rows", "at least one text")
    if len(texts) > MAX_TEXTS:
        raise _refusal(f"{len(texts)} rows", f"at most {MAX_TEXTS} in a request")
    for number, text in enumerate(texts):
        _check_text(number, text)
    if sum(map(len, texts)) > MAX_CHARACTERS:
        raise _refusal(f"{sum(map(len, texts))} characters", f"at most {MAX_CHARACTERS} in all")
    return texts


def _check_text(number: int, text: Any) -> None:
    """Refuse one text that cannot be priced."""
    if not isinstance(text, str):
        # NaN is pandas' other null; an array would compare item by item.
        is_null = text is None or text is pd.NA or (isinstance(text, float) and text != text)
        kind = "null" if is_null else type(text).__name__
        raise _refusal(f"row {number}: text is {kind}", "a string")
    if not text.strip():
        raise _refusal(f"row {number}: text is empty", "a string with words in it")
    if text.encode("utf-8", "ignore").decode() != text:
        raise _refusal(f"row {number}: text is not valid Unicode", "no lone surrogates")


class _RefusalError(MlflowException):  # type: ignore[misc]
    """A refusal whose words stay ours: MLflow's server would put the request before them."""

    @property
    def message(self) -> str:
        """What the client is told."""
        return self._said

    @message.setter
    def message(self, text: str) -> None:
        self._said = getattr(self, "_said", text)


def _refusal(got: str, expected: str) -> MlflowException:
    return _RefusalError(f"got {got}; expected {expected}", error_code=INVALID_PARAMETER_VALUE)


mlflow.models.set_model(PricerModel())
