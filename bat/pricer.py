"""The name under which version 0.1 had ``bat.models.pricer``; it goes away with version 0.3."""

from __future__ import annotations

import warnings
from pathlib import Path

from bat.models import pricer
from bat.models.pricer import Pricer


def load(folder: Path) -> Pricer:
    """Open a served folder, as ``bat.models.pricer.load`` does."""
    warnings.warn("bat.pricer.load is now bat.models.pricer.load", DeprecationWarning, stacklevel=2)
    return pricer.load(folder)
