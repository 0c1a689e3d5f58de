"""Judge and normalise a text: one answer for studies, ``score``, the endpoint and ``Pricer``."""

from __future__ import annotations

import hashlib
import unicodedata

# A class of characters: Han and kana, written without spaces, where each counts as a word.
UNSPACED = r"\u3040-\u30ff\u3400-\u9fff"
EXCERPT = 80  # characters of a bad value that a message shows


class UnusableError(ValueError):
    """Why a value cannot serve as a text.

    Attributes:
        reason: the same words for all values of this kind, to count by.
        excerpt: the beginning of the value; not for those who may not see it.
    """

    def __init__(self, reason: str, excerpt: str) -> None:
        super().__init__(reason, excerpt)
        self.reason, self.excerpt = reason, excerpt


def usable_text(value: object) -> str:
    """Return the text that is embedded for a value: the string without the blanks around it.

    Raises:
        UnusableError: the value is no string, not valid Unicode, or without letter and digit.
    """
    if not isinstance(value, str):
        raise UnusableError("text is not a string", excerpt(repr(value)))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UnusableError("text is not valid Unicode", excerpt(ascii(value))) from None
    if not any(map(str.isalnum, value)):
        raise UnusableError("text is empty: no letter or digit", excerpt(repr(value)))
    return str(value.strip())  # numpy's strings become Python's


def normalise(text: str) -> str:
    """Return the form in which two spellings of the same text agree: NFKC, casefold, one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def text_key(text: str) -> bytes:
    """Identify a text by 16 bytes that are equal exactly for the same text."""
    return hashlib.sha256(normalise(text).encode(errors="surrogatepass")).digest()[:16]


def excerpt(text: str, most: int = EXCERPT) -> str:
    """Shorten a text to what a message shows, on one line."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def draw(purpose: bytes, key: bytes) -> int:
    """Draw 64 bits that are a function of purpose and key; purposes are independent."""
    return int.from_bytes(hashlib.sha256(purpose + b"\0" + key).digest()[:8], "big")
