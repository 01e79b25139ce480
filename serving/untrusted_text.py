"""What people wrote, made so that it cannot pass for the form around it.

A conversation's turns are lines that begin with a role, and a chat's messages are set apart by the
tokenizer's special tokens. A customer may write both. So a text's further lines are marked, and a
special token that stands in a text is broken up; serving, training and the judge use these same
functions, since a model must learn from the form in which it is asked.
"""

import re
from collections.abc import Iterable
from typing import Any

MARK = "| "
"""Begins each further line of a text; no role and no delimiter does."""

_LINE_ENDS = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def continued(text: str) -> str:
    """A text whose lines after the first are marked; a text of one line stays as it is."""
    return _LINE_ENDS.sub(f"\n{MARK}", text)


def quoted(text: str) -> str:
    """A text whose lines are all marked."""
    return MARK + continued(text)


class SpecialTokens:
    """A tokenizer's special tokens, to be broken up where they stand in a text.

    A space goes in after a token's first character: a zero-width character would be seen less, but
    tokenizers that normalize text drop it and find the token again.

    Args:
        tokens: The tokens, as text; those of a single character stay.
    """

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        self._tokens = sorted({t for t in tokens if len(t) > 1}, key=lambda t: (-len(t), t))
        self._pattern = re.compile("|".join(map(re.escape, self._tokens)))

    @classmethod
    def of(cls, tokenizer: Any) -> "SpecialTokens":
        """Those of a tokenizer of the transformers library."""
        added = getattr(tokenizer, "added_tokens_decoder", {})
        named = [str(token) for token in added.values() if token.special]
        return cls([*named, *tokenizer.all_special_tokens])

    def broken(self, text: str) -> str:
        """A text in which no special token stands."""
        if not self._tokens:
            return text
        while self._pattern.search(text):  # again, should breaking one have made another
            text = self._pattern.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
        return text

    def broken_in(self, value: Any) -> Any:
        """A JSON value, such as a list of chat messages, in none of whose texts one stands.

        What points to media stays as it is.
        """
        if isinstance(value, str):
            return self.broken(value)
        if isinstance(value, list):
            return [self.broken_in(one) for one in value]
        if isinstance(value, dict):
            return {
                self.broken(key): one if key in _MEDIA else self.broken_in(one)
                for key, one in value.items()
            }
        return value


_MEDIA = frozenset({"image_url", "audio_url", "video_url", "input_audio"})
