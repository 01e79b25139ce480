"""Surrogates that are the same within a conversation, across the calls that store its parts."""

from hypothesis import given
from hypothesis import strategies as st

from serving.redaction.conversation import conversation_key, redact
from serving.redaction.patterns import Kind
from serving.redaction.recognition import locate

KEY = conversation_key(b"k" * 32, "care/1")
TEXTS = [
    "My card is 4111 1111 1111 1111 and my order number 4471-AB is late.",
    "Your PIN?",
    "0000",
    "Write to jo.doe@mail.com. DOB: 03/12/1985, my password is Tiger!22",
]


def test_values_are_replaced_by_others_of_their_shape() -> None:
    stored = redact(TEXTS, KEY).texts
    for old, new in zip(TEXTS, stored, strict=True):
        assert old == new or len(old) == len(new) or "@" in old
    for value in ("4111 1111", "4471-AB", "0000", "jo.doe", "03/12/1985", "Tiger!22"):
        assert value not in "\n".join(stored)


def test_a_value_has_one_surrogate_in_a_conversation_and_another_in_the_next() -> None:
    first = redact([TEXTS[0]], KEY).texts[0]
    later = redact(["Card 4111-1111-1111-1111 was charged."], KEY).texts[0]
    digits = "".join(c for c in first if c.isdigit())[:16]
    assert digits in later.replace("-", "")
    assert redact([TEXTS[0]], conversation_key(b"k" * 32, "care/2")).texts[0] != first


def test_a_known_value_is_replaced_where_no_label_stands() -> None:
    before = redact(TEXTS, KEY)
    said = "4471-AB has been sent; Tiger!22 is reset; 12 March 1985 it is."
    (new,) = redact([said], KEY, before.known).texts
    for value in ("4471-AB", "Tiger!22", "12 March 1985"):
        assert value not in new
    assert redact([said], KEY).texts[0] == said, "without that, nothing tells it from prose"


def test_a_surrogate_stays_as_it_is_whoever_repeats_it() -> None:
    before = redact(TEXTS, KEY)
    again = redact([f"As you wrote: {text}" for text in before.texts], KEY, before.known)
    assert again.texts == tuple(f"As you wrote: {text}" for text in before.texts)


VALUES = st.one_of(
    st.from_regex(r"order number [1-9][0-9]{4,8}", fullmatch=True),
    st.from_regex(r"\+49 [1-9][0-9]{2} [1-9][0-9]{6}", fullmatch=True),
    st.from_regex(r"[a-z]{3,8}\.[a-z]{3,8}@mail\.com", fullmatch=True),
    st.from_regex(r"DOB: (0[1-9]|1[0-2])/1[0-9]/19[4-9][0-9]", fullmatch=True),
    st.from_regex(r"my PIN is [1-9][0-9]{3}", fullmatch=True),
    st.just("card 4111 1111 1111 1111"),
    st.just("192.168.7.9"),
    st.text("abc d.,?1", max_size=20),
)


@given(st.lists(st.lists(VALUES, max_size=4).map(", ".join), max_size=4))
def test_redacting_again_changes_nothing(texts: list[str]) -> None:
    once = redact(texts, KEY)
    twice = redact(once.texts, KEY, once.known)
    assert twice.texts == once.texts
    assert twice.known == once.known


@given(st.lists(VALUES, min_size=1, max_size=4).map(", ".join))
def test_no_value_that_is_recognised_is_left(text: str) -> None:
    (stored,) = redact([text], KEY).texts
    kinds, _ = locate([text])
    for key, kind in kinds.items():
        if kind is not Kind.IP and len(key) > 5:
            assert key not in stored.upper()
