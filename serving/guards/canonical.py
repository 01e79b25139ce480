"""A text as guards read it: what looks the same, or what a model may read the same, is the same.

Unicode's compatibility forms are folded (NFKC, UAX #15), what cannot be seen is removed, and tag
characters, which cannot be seen either but which models read as letters, become the letters that
they stand for. Runs of white space are one space, or one line's end.
"""

import re
import unicodedata

from serving.untrusted_text import SpecialTokens

_LINE_ENDS = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_SPACES = re.compile(r"[^\S\n]+")
_EDGES = re.compile(" ?\n[ \n]*")
_TAGS = range(0xE0020, 0xE007F)
# Default_Ignorable_Code_Point of the Unicode database that no category names.
_IGNORABLE = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff"
)
_FORMAT = "".join(
    re.escape(chr(code))
    for code in range(0x20000)
    if unicodedata.category(chr(code)) in {"Cc", "Cf"} and chr(code) not in "\t\n"
)
_INVISIBLE = re.compile(f"[{_FORMAT}{_IGNORABLE}]")
_AS_LETTERS = {code: code - 0xE0000 for code in _TAGS}
_NONE = SpecialTokens()


def canonical(text: str, special_tokens: SpecialTokens = _NONE) -> str:
    """Return a text in the form in which guards read it; of that form, itself.

    Args:
        text: As it was sent.
        special_tokens: The base's, which are broken up as the engine gets them.
    """
    while True:
        folded = _once(text, special_tokens)
        if folded == text:  # else removing something may have made something new to fold
            return text
        text = folded


def _once(text: str, special_tokens: SpecialTokens) -> str:
    if not (text.isascii() and text.replace("\n", "").isprintable()):  # nearly all texts are
        text = _LINE_ENDS.sub("\n", text)
        text = text.translate(_AS_LETTERS) if _TAGGED.search(text) else text
        text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
        text = _SPACES.sub(" ", _INVISIBLE.sub("", text))
    text = special_tokens.broken(text)
    while "  " in text:
        text = text.replace("  ", " ")
    return (_EDGES.sub("\n", text) if "\n" in text else text).strip()


_TAGGED = re.compile(f"[{chr(_TAGS.start)}-{chr(_TAGS.stop - 1)}]")
