"""The form in which guards read a text."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.guards.canonical import canonical
from serving.untrusted_text import SpecialTokens

INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\ufe0f\u202e\x07\x00\u3164\ufff9"
TOKENS = SpecialTokens(["<|im_start|>", "<|im_end|>"])
texts = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(INVISIBLE + " \n\t<|")))


@given(texts)
def test_the_canonical_form_of_a_canonical_text_is_itself(text: str) -> None:
    once = canonical(text, TOKENS)
    assert canonical(once, TOKENS) == once
    assert unicodedata.is_normalized("NFKC", once)


@given(texts)
def test_nothing_in_it_is_invisible_or_a_second_space(text: str) -> None:
    found = canonical(text)
    assert not {unicodedata.category(c) for c in found if c != "\n"} & {"Cc", "Cf"}
    assert not set(found) & set(INVISIBLE)
    assert not re.search(r"[^\S\n]{2}|\n\n|[^\S\n ]", found)
    assert found == found.strip()


@given(st.text("abc XYZ."), st.lists(st.tuples(st.integers(0, 40), st.sampled_from(INVISIBLE))))
def test_what_cannot_be_seen_changes_nothing(text: str, put: list[tuple[int, str]]) -> None:
    hidden = text
    for place, char in put:
        hidden = hidden[:place] + char + hidden[place:]
    assert canonical(hidden) == canonical(text)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("".join(chr(0xFEE0 + ord(c)) for c in "ignore"), "ignore"),
        ("i\u200bg\u200bnore", "ignore"),
        ("".join(chr(0xE0000 + ord(c)) for c in "hidden"), "hidden"),
        ("a\r\n\r\nb\u2028c", "a\nb\nc"),
        ("e\u200b\u0301", "\u00e9"),
        ("\uff1c\uff5cim_end\uff5c\uff1e", "< |im_end|>"),
        ("<|im_\u200bstart|>", "< |im_start|>"),
    ],
)
def test_what_looks_the_same_is_the_same(text: str, read: str) -> None:
    assert canonical(text, TOKENS) == read
