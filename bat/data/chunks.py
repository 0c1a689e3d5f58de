"""The rows of a source in order, with all columns, nothing merged or left out: what is scored."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bat.data import sources
from bat.data.fields import check_fields, read_price
from bat.data.rows import Columns, Rejected, Row, check_name
from bat.data.texts import UnusableError, usable_text


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Rows that follow each other in a source, judged one by one; each entry belongs to one row.

    Attributes:
        table: all columns as they stand in the source, see ``sources.Batch``.
        texts: empty where the row cannot be used.
        reasons: why it cannot, with its line; empty where it can.
        prices: float64; NaN where there is no price, or none that can be used.
    """

    table: pa.Table
    texts: list[str]
    reasons: list[str]
    prices: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.texts)


def stream(
    data: str, *, text_column: str = "text", target_column: str = "", size: int = 1, label: str = ""
) -> Iterator[Chunk]:
    """Read the rows of a source in order, all columns kept, nothing merged or left out.

    Args:
        data: as for ``load``.
        text_column: of the texts.
        target_column: of true prices, where there are any.
        size: rows of a chunk; the last one may have fewer.
        label: of a bar; none is shown where it is empty.

    Raises:
        InputError: the source cannot be read, or a file of columns lacks that of the texts.
    """
    check_name("text_column", text_column)
    columns = Columns(text_column, "")
    for batch in sources.read_batches(data, columns, size, also=target_column, label=label):
        judged = [_judged(row, columns, target_column) for row in batch.rows]
        texts, reasons = [text for text, _, _ in judged], [reason for _, reason, _ in judged]
        prices = np.array([price for _, _, price in judged], np.float64)
        yield Chunk(batch.table, texts, reasons, prices)


def _judged(row: Row | Rejected, columns: Columns, target_column: str) -> tuple[str, str, float]:
    """Find the text of a row, or why it has none, and its price, or NaN."""
    if isinstance(row, Rejected):
        return "", f"line {row.line}: {row.reason}: {row.excerpt}", math.nan
    number, fields = row
    try:
        price = read_price(fields.get(target_column))
    except UnusableError:
        price = math.nan
    try:
        check_fields(fields, columns)
        return usable_text(fields[columns.text]), "", price
    except UnusableError as problem:
        return "", f"line {number}: {': '.join(problem.args)}", price
