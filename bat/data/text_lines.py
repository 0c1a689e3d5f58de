"""The lines of a text file, packed or not, in UTF-8, UTF-16 or UTF-32, whatever it holds."""

from __future__ import annotations

import codecs
import gzip
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bat.cli import InputError
from bat.data.rows import Rejected, is_packed, reading_bar
from bat.data.texts import excerpt

HEAD_BYTES = 4096  # enough to meet a line end or a delimiter, which tells the encoding
MARKS = {  # the longer ones first: UTF-32's begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
UTF8 = "utf-8-sig"
STRUCTURE = re.compile(r'[\r\n,;\t|:"{}]')  # characters that hold files of rows together
BAR_LINES = 1_000  # between two looks at the bar: it costs more than a short line
NOT_UTF8 = "not UTF-8 (convert the file, for instance with `iconv -f CP1252 -t UTF-8`)"


def lines(path: Path, label: str) -> Iterator[str]:
    """Yield the lines of a text file, each with its line end, which a CSV field may hold.

    Bytes that the encoding lacks become lone surrogates, see ``is_decoded``.
    """
    size = path.stat().st_size
    with path.open("rb") as file, reading_bar(label, size, "B") as bar:
        stream: Any = gzip.GzipFile(fileobj=file) if is_packed(path) else file
        encoding = _encoding(stream.peek(HEAD_BYTES))
        errors = "surrogateescape" if encoding == UTF8 else "surrogatepass"
        text = io.TextIOWrapper(stream, encoding, errors, newline="")
        try:
            for number, line in enumerate(text):
                if number % BAR_LINES == 0:
                    bar.update(file.tell() - bar.n)
                yield line
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path.name}, {encoding.upper()} that breaks off ({error.reason})",
                "a whole file, best in UTF-8",
                "copy the file again, or save it as UTF-8",
            ) from None
        bar.update(size - bar.n)


def _encoding(head: bytes) -> str:
    """Tell the encoding of a text file by its mark or, without one, by where its zero bytes are.

    Text in UTF-8 hardly ever has a zero byte, and UTF-16 has one in each line end and delimiter.
    """
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    if b"\0" not in head:
        return UTF8
    return max((UTF8, "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"), key=_structured(head))


def _structured(head: bytes) -> Callable[[str], float]:
    """Make a function that says how much of a text, read in an encoding, is structure."""

    def share(encoding: str) -> float:
        decoder = codecs.getincrementaldecoder(encoding)(
            "replace" if encoding == UTF8 else "strict"
        )
        try:
            text = decoder.decode(head)
        except UnicodeDecodeError:
            return 0.0
        return len(STRUCTURE.findall(text)) / max(1, len(text))

    return share


def is_decoded(text: str) -> bool:
    """Say whether a decoded line held nothing that its encoding lacks."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def undecoded(line: int, text: str) -> Rejected:
    """Reject a line that its encoding lacks, and show its bytes."""
    bytes_shown = text.encode("utf-8", "surrogateescape" if _escaped(text) else "replace")
    return Rejected(line, NOT_UTF8, excerpt(bytes_shown.decode("utf-8", "backslashreplace")))


def _escaped(text: str) -> bool:
    """Say whether all lone surrogates of a text stand for bytes that were not UTF-8."""
    return not re.search("[\ud800-\udc7f\udd00-\udfff]", text)


def spell_out(text: str) -> str:
    """Write what UTF-8 cannot hold (half of a surrogate pair) as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()
