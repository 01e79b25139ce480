"""The pieces of a sentence that a claim is made of: numbers, clock times, addresses, words.

Every quantifier is bounded or possessive, and a word is consumed whole, so the time is linear in
the length of the text whatever it holds.
"""

import re
import unicodedata
from typing import NamedTuple


class Token(NamedTuple):
    """One piece.

    Args:
        kind: The name of its group in `_TOKEN`.
        start: Offset of its first character in the text.
        end: Offset after its last.
        text: As written, digits and quotes in ASCII.
        lower: The same in small letters.
        gap: What stands between it and the piece before.
    """

    kind: str
    start: int
    end: int
    text: str
    lower: str
    gap: str


_TOKEN = re.compile(
    r"""
    (?P<placeholder>\[[A-Z]{2,20}(?:_[0-9]{1,4})?\])
  | (?P<email>(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8})
  | (?P<url>(?:https?://|www\.)[^\s<>"')\]]{0,500}[^\s<>"')\].,;:!?]
        |(?<![\w.-])[\w-]{1,63}(?:\.[\w-]{1,63}){0,4}\.(?:com|org|net|io|info|edu|gov|co\.uk)\b)
  | (?P<grouped>(?<![\w.,$€£/-])(?:
        (?:\+?1[ -]?)?\([0-9]{3}\)[ ]?[0-9]{3}[ .-]?[0-9]{4}
        |(?:\+?1[ -])?[0-9]{3}[ .-][0-9]{3}[ .-][0-9]{4}
        |\+[0-9]{1,3}(?:[ -]?[0-9]{2,5}){2,5}
        |[0-9]{3,5}(?:-[0-9]{3,8}){1,5}
        |[0-9]{3,4}(?:[ ][0-9]{3,4}){2,5})(?![\w/-]))
  | (?P<date>(?<![\w.,/-])[0-9]{1,4}(?P<sep>[/.-])[0-9]{1,2}(?P=sep)[0-9]{2,4}(?![\w/-])
        |(?<![\w.,/-])[0-9]{1,2}/[0-9]{1,2}(?![\w/-]))
  | (?P<clock>(?<![\w:.,])[0-9]{1,2}(?:[:.][0-9]{2})?[ ]?(?:[ap]\.m\.|[ap]\.?m\b)
        |(?<![\w:.,])[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?(?![\w:]))
  | (?P<ordinal>(?<!\w)[0-9]{1,4}(?:st|nd|rd|th)\b)
  | (?P<code>(?<![\w-])(?![0-9]{1,6}(?:-?(?-i:[a-z]{1,12})|[km])\b)(?=[A-Za-z_-]{0,40}[0-9])
        (?=[0-9_-]{0,40}[A-Za-z])[A-Za-z0-9_]++(?:-[A-Za-z0-9_]++)*+)
  | (?P<number>[0-9]{1,3}(?:,[0-9]{3})++(?![0-9])(?:\.[0-9]++)?|[0-9]++(?:\.[0-9]++)?)
  | (?P<word>[^\W\d_]++(?:['-][^\W\d_]++)*+)
  | (?P<sign>[$€£¥%\#])
    """,
    re.VERBOSE | re.IGNORECASE,
)
_ODD = re.compile(r"[^\x00-\x7f]")
_SAME = {"\u2019": "'", "\u2018": "'", "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-"}
_SAME |= {"\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u201c": '"', "\u201d": '"'}


def plain(text: str) -> str:
    """Return the text with digits, dashes, blanks and quotes in ASCII, character for character."""
    return text if text.isascii() else _ODD.sub(_in_ascii, text)


def scan(text: str, start: int, end: int) -> list[Token]:
    """Return the pieces between two offsets.

    Args:
        text: What `plain` returned.
        start: Where to begin.
        end: Where to stop.
    """
    found = []
    before = start
    for match in _TOKEN.finditer(text, start, end):
        kind = match.lastgroup or ""
        written = match[0]
        gap = text[before : match.start()]
        found.append(Token(kind, match.start(), match.end(), written, written.lower(), gap))
        before = match.end()
    return found


def _in_ascii(match: re.Match[str]) -> str:
    char = match[0]
    digit = unicodedata.decimal(char, None)
    return _SAME.get(char, char) if digit is None else str(digit)
