import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.redaction.patterns import Kind, luhn
from serving.redaction.recognition import locate, mark
from tests.serving.redaction.corpus import KIND, turns


def one(text: str) -> str:
    return mark([text]).texts[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to cminh730@email.com.", "write to [EMAIL]."),
        ("José.Núñez+x@mail.example.co.uk", "[EMAIL]"),
        ("(977) 625-2661", "[PHONE]"),
        ("call 977.625.2661 or 555-123-4567", "call [PHONE_1] or [PHONE_2]"),
        ("+44 20 7946 0958!", "[PHONE]!"),
        ("my phone is 5551234567", "my phone is [PHONE]"),
        ("call 625-2661 now", "call [PHONE] now"),
        ("4111 1111 1111 1111 12/27", "[CARD] 12/27"),
        ("4111-1111-1111-1111", "[CARD]"),
        ("amex 378282246310005", "amex [CARD]"),
        ("card 4111 1111 1111 1112", "card [ACCOUNT]"),  # a slip in the number is no licence
        ("Order ID: 3348917502", "Order ID: [ORDER]"),
        ("order 4471.", "order [ORDER]."),
        ("order #88123 and ticket INC0012", "order #[ORDER_1] and ticket [ORDER_2]"),
        ("Account ID 8LTLKGQPXX", "Account ID [ACCOUNT]"),
        ("my account number is 0099-123", "my account number is [ACCOUNT]"),
        ("DE89 3704 0044 0532 0130 00", "[ACCOUNT]"),
        ("reference 123456789", "reference [ORDER]"),
        ("it is 123456789", "it is [ACCOUNT]"),
    ],
)
def test_personal_numbers_become_placeholders(text: str, expected: str) -> None:
    assert one(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "I ordered 2 jeans for $94.00 on 2019-11-06, 90 days ago, at 10:30.",
        "order 1500 units, 1,000,000 in stock, from 2019-2020",
        "my order is 2days late; the case was closed; member since 2019",
        "order placed on 2019-11-06",
        "$1234567890 in revenue, 12.345678901",
        "zip 75227, 6821 1st ave",
        "a@b, user@localhost, 3 @ 4",
    ],
)
def test_prose_amounts_and_dates_are_kept(text: str) -> None:
    assert one(text) == text


def test_a_value_has_one_placeholder_in_prompt_and_target_however_it_is_written() -> None:
    prompt, target = mark(
        ["Order ID: 3348917502, phone (977) 625-2661", "3348917502 ships; we call 1-977-625-2661"]
    ).texts
    assert prompt == "Order ID: [ORDER], phone [PHONE]"
    assert target == "[ORDER] ships; we call [PHONE]"


def test_several_values_are_numbered_in_order_of_appearance_across_texts() -> None:
    result = mark(["order number 4471 then order number 5582", "for 5582 and 4471"])
    assert result.texts == (
        "order number [ORDER_1] then order number [ORDER_2]",
        "for [ORDER_2] and [ORDER_1]",
    )
    assert result.counts == {"order": 4}


def test_a_placeholder_that_stands_already_is_not_reused() -> None:
    assert one("[EMAIL] and a@b.co") == "[EMAIL] and [EMAIL_1]"
    assert one("[EMAIL_1] and a@b.co") == "[EMAIL_1] and [EMAIL_2]"


EMAIL = st.from_regex(r"[a-z]{1,8}[._+]?[a-z0-9]{1,8}@[a-z]{1,8}\.(com|org|co\.uk)", fullmatch=True)
PHONE = st.from_regex(r"\([2-9][0-9]{2}\) [0-9]{3}-[0-9]{4}|\+49 [0-9]{3} [0-9]{7}", fullmatch=True)
ORDER = st.from_regex(r"[A-Z]{2}[0-9]{6}|[0-9]{10}", fullmatch=True)
WORDS = st.lists(st.text(string.ascii_letters + " .,;!?", min_size=1, max_size=12), max_size=4)


@st.composite
def card(draw: st.DrawFn) -> str:
    digits = "4" + draw(st.text("0123456789", min_size=14, max_size=14))
    check = next(d for d in string.digits if luhn(digits + d))
    digits += check
    gap = draw(st.sampled_from(["", " ", "-"]))
    return gap.join(digits[i : i + 4] for i in range(0, 16, 4))


@given(WORDS, EMAIL, PHONE, card(), ORDER, st.permutations(range(4)))
def test_nothing_personal_is_left_and_a_second_pass_changes_nothing(
    words: list[str], email: str, phone: str, number: str, order: str, turn: list[int]
) -> None:
    values = [email, phone, number, f"order number {order}"]
    text = " | ".join(f"{' '.join(words)} {values[i]}" for i in turn)
    target = f"{order} / {email} / {phone} / {number}"
    once = mark([text, target]).texts
    for value in (email, phone, number, order):
        assert value not in once[0]
        assert value not in once[1]
    assert mark(once).texts == once


@given(st.lists(st.text(st.characters(exclude_categories=["N", "Cs"]), max_size=80), max_size=4))
def test_texts_without_digits_or_at_signs_are_untouched(texts: list[str]) -> None:
    texts = [text.replace("@", "") for text in texts]
    assert mark(texts).texts == tuple(texts)


@given(st.lists(st.text(max_size=120), max_size=4))
def test_any_text_is_taken(texts: list[str]) -> None:
    assert len(mark(texts).texts) == len(texts)


@pytest.mark.parametrize(
    "piece", ["a.b-", "1-", "order ", "+1 ", "(123) ", "DE89 3704 ", "a@b.", "phone 1", "x@1.co "]
)
def test_time_grows_no_faster_than_the_text(piece: str) -> None:
    text = piece * (20_000 // len(piece))
    begin = time.perf_counter()
    mark([text])
    assert time.perf_counter() - begin < 5


def test_generated_turns_lose_their_values_and_keep_the_rest() -> None:
    values, found, marked, wrong = 0, 0, 0, 0
    for turn in turns(seed=1):
        places = locate([turn.text])[1][0]
        inside = {i for start, end, _ in places for i in range(start, end)}
        for start, end, _ in turn.spans:
            values += 1
            found += all(i in inside for i in range(start, end) if turn.text[i].isalnum())
        marked += len(places)
        personal = {i for start, end, _ in turn.spans for i in range(start, end)}
        wrong += sum(personal.isdisjoint(range(start, end)) for start, end, _ in places)
    assert values > 600
    assert found / values >= 0.99
    assert wrong / marked <= 0.05


def test_the_corpus_is_the_same_for_a_seed_and_another_for_another() -> None:
    made = turns(seed=3)
    assert made == turns(seed=3)
    assert made != turns(seed=4)
    assert len(made) == 1000
    for turn in made:
        assert all(turn.text[start:end].strip() for start, end, _ in turn.spans)
    assert all(not turn.spans for turn in made[600:])
    said = {kind for turn in made for _, _, kind in turn.spans}
    assert {KIND.get(kind, kind) for kind in said} == {
        kind.name.lower() for kind in Kind if kind is not Kind.NAME
    }
