"""Values of every type written as CSV cells, as JSON, or with one type a column, without loss."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
from pyarrow import types

from bat.data import text_lines

# What Python reads and JSON lacks, outside of strings.
CONSTANT = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")|-?Infinity|NaN')
ZERO_FRACTION = re.compile(r"\.0+(?=$|[Z+-])")


def cell(value: Any) -> str | None:
    """Write one plain value as a cell of a CSV file."""
    if value is None:
        return None
    if isinstance(value, dict | list | bool):
        return json.dumps(finite(value), ensure_ascii=False)
    return str(value)


def finite(value: Any) -> Any:
    """Put null for the numbers that JSON lacks, however deep."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def strict_json(written: str | None) -> str:
    """Put null for what Python reads and JSON lacks, and spell out half a surrogate pair."""
    if written is None:
        return "null"
    if written.startswith('"'):
        if "\\u" not in written:
            return written
        return json.dumps(text_lines.spell_out(json.loads(written)))
    return CONSTANT.sub(lambda found: found[1] or "null", written)


def text(written: str | None) -> str | None:
    """Write a value as text: a string as what it says, all else as JSON."""
    strict = strict_json(written)
    if strict == "null":
        return None
    return str(json.loads(strict)) if strict.startswith('"') else strict


def kinds_of(written: str | None) -> set[str]:
    """Say what a value is, and what would lose some of it."""
    if written is None or written == "null":
        return set()
    if written[0] in '"{[tf':
        return {{'"': "string", "{": "nested", "[": "nested"}.get(written[0], "truth")}
    if not re.fullmatch(r"-?\d+", written):
        return {"fraction"} if _is_exact(written) else {"fraction", "too fine"}
    if len(written) > len(str(2**64)) or not -(2**63) <= int(written) < 2**64:
        return {"whole", "too large"}
    number = int(written)
    return {
        "whole",
        *(["negative"] if number < 0 else []),
        *(["unsigned"] if number >= 2**63 else []),
        *(["too fine"] if int(float(number)) != number else []),
    }


def _is_exact(written: str) -> bool:
    """Say whether float64 gives a number back as it was written, zeros at its end aside."""
    number = float(written)
    if not math.isfinite(number):
        return CONSTANT.fullmatch(written) is not None
    return Decimal(repr(number)) == Decimal(written) or Decimal(number) == Decimal(written)


def type_of(kinds: set[str]) -> pa.DataType:
    """Choose the type of a column by the kinds of all its values."""
    if not kinds:
        return pa.null()
    if kinds == {"truth"}:
        return pa.bool_()
    if not kinds & {"string", "nested", "truth", "too large", "fraction"}:
        if "unsigned" not in kinds:
            return pa.int64()
        return pa.string() if "negative" in kinds else pa.uint64()
    if kinds <= {"whole", "fraction", "negative", "unsigned"}:
        return pa.float64()
    return pa.string()


def typed(written: Sequence[str | None], kind: pa.DataType) -> pa.Array:
    """Read the values of a column of JSON into its type."""
    if types.is_string(kind):
        return pa.array([text(each) for each in written], kind)
    values = [None if each is None else json.loads(each) for each in written]
    return pa.array(values, kind)


def plain(column: pa.Array) -> list[Any]:
    """Turn typed values into what JSON has, with nothing lost: numbers, truth, text, lists, dicts.

    Dates, times, decimals and durations become text with all their digits, bytes base64.
    """
    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        return plain(column.storage)
    if types.is_dictionary(kind):
        return plain(column.dictionary_decode())
    if types.is_struct(kind):
        return _dicts(column)
    if types.is_nested(kind):  # lists of every kind; a map is a list of its entries
        return [plain(each.values) if each.is_valid else None for each in column]
    if types.is_float16(kind) or types.is_float32(kind):  # the shortest number that comes back
        return [text if text is None else float(text) for text in _cast(column)]
    if types.is_null(kind) or types.is_boolean(kind) or _is_number(kind):
        return list(column.to_pylist())
    if types.is_duration(kind):
        counts = column.cast(pa.int64()).to_pylist()
        return [None if count is None else f"{count} {kind.unit}" for count in counts]
    if _is_bytes(kind):
        values = column.to_pylist()
        return [None if v is None else base64.b64encode(v).decode() for v in values]
    return _cast(column)


def _is_number(kind: pa.DataType) -> bool:
    return bool(types.is_integer(kind) or types.is_float64(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def _dicts(column: pa.Array) -> list[Any]:
    names = [each.name for each in column.type]
    parts = [plain(part) for part in column.flatten()]
    return [
        {name: part[place] for name, part in zip(names, parts, strict=True)} if valid else None
        for place, valid in enumerate(column.is_valid().to_pylist())
    ]


def _cast(column: pa.Array) -> list[str | None]:
    """Write values as text, as Arrow does: with all digits that are not zero."""
    kind = column.type
    if types.is_timestamp(kind) or types.is_time(kind):
        try:
            texts = column.cast(pa.string()).to_pylist()
        except pa.ArrowException:  # a zone that this machine does not know: the moment is the same
            texts = column.cast(pa.timestamp(kind.unit, "UTC")).cast(pa.string()).to_pylist()
        return [None if text is None else ZERO_FRACTION.sub("", text) for text in texts]
    try:
        return list(column.cast(pa.large_string()).to_pylist())
    except UnicodeDecodeError:  # bytes that are no text, in a column of text
        values = column.cast(pa.large_binary()).to_pylist()
        return [None if v is None else v.decode("utf-8", "backslashreplace") for v in values]
