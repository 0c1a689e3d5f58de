"""How much data is enough for fine-tuning a text embedder, and is it worth it at all?

From Python: ``bat.study`` measures it on a table or a file, ``bat.load`` opens a registered
predictor, ``bat.TextRegressor`` is its best kind as a scikit-learn regressor (docs/python.md).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bat.interface.estimator import TextRegressor
    from bat.interface.loaded import load
    from bat.interface.results import study

__all__ = ["TextRegressor", "load", "study"]
# Where each lies; imported when it is asked for, since they bring torch and MLflow along.
_HOMES = {"TextRegressor": "estimator", "load": "loaded", "study": "results"}


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"bat.interface.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List what there is to use."""
    return sorted(__all__)
