import re
from datetime import date
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.redaction import birth_dates
from serving.redaction.recognition import mark
from serving.redaction.surrogates import redact

TEXTS = st.lists(
    st.sampled_from(
        [
            "Order ID: 3348917502",
            "my order is INC0012-77",
            "phone (977) 625-2661",
            "977-625-2661 please",
            "mail jo.doe@mail.example.co.uk",
            "card 4111 1111 1111 1111 12/27",
            "DE89 3704 0044 0532 0130 00",
            "3348917502 ships for $94.00 on 2019-11-06",
        ]
    ),
    min_size=1,
    max_size=5,
)


def shape(text: str) -> str:
    """Return a text's form: which classes of characters it has where."""
    return re.sub("[a-z]", "a", re.sub("[A-Z]", "A", re.sub(r"\d", "9", text)))


@pytest.mark.parametrize(
    "value",
    ["(977) 625-2661", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "Order ID: 33489-A1"],
)
def test_a_surrogate_has_the_shape_of_the_value_and_is_another(value: str) -> None:
    (made,) = redact([value]).texts
    assert made != value
    assert shape(made) == shape(value)


@pytest.mark.parametrize(
    "text",
    [
        "ssn 123-45-6789",
        "cvv: 942",
        "PIN 4482",
        "password is Sommer!2024",
        "passport C01X00T47",
        "MAC 00:1a:2b:3c:4d:5e",
        "DOB 03/12/1985",
        "dob 3.12.85",
        "born 1985-10-23",
        "date of birth 12031985",
    ],
)
def test_every_kind_keeps_its_shape(text: str) -> None:
    (made,) = redact([text]).texts
    assert made != text
    assert shape(made) == shape(text)
    assert made.split()[0] == text.split()[0]


def test_a_birth_date_becomes_one_other_date_in_all_spellings() -> None:
    texts = [
        "DOB 03/23/1985",
        "born March 23rd, 1985",
        "geboren am 23. März 1985",
        "dob 1985-03-23",
    ]
    made = redact(texts).texts
    year, month, day = map(int, made[3].removeprefix("dob ").split("-"))
    assert date(year, month, day) != date(1985, 3, 23)
    assert made[0] == f"DOB {month:02}/{day:02}/{year}"
    assert re.fullmatch(rf"born [A-Z][a-z]+ {day}(st|nd|rd|th), {year}", made[1])
    assert re.fullmatch(rf"geboren am {day}\. [A-Z][a-zä]+ {year}", made[2])


def test_machines_get_addresses_that_nobody_has() -> None:
    made = redact(["from 84.12.7.201 and 2a02:8108:8ac0:5c::1f"]).texts[0].split()
    assert not ip_address(made[1]).is_global
    assert made[3].startswith("2001:db8::")


def test_an_address_spelled_in_words_becomes_an_address() -> None:
    (made,) = redact(["its jo_doe77 at web dot de"]).texts
    assert re.fullmatch(r"its [a-z]{2}_[a-z]{3}\d\d@example\.com", made)


def test_a_password_that_recurs_has_the_same_surrogate() -> None:
    asked, answered = redact(["my password is Sommer!2024", "Sommer!2024 was reset"]).texts
    assert answered == f"{asked.removeprefix('my password is ')} was reset"


def test_a_value_has_one_surrogate_however_it_is_written() -> None:
    prompt, target = redact(
        ["Order ID: 3348917502, phone (977) 625-2661", "3348917502 ships; we call 1-977-625-2661"]
    ).texts
    order, phone = re.findall(r"ID: (\d+), phone (.+)", prompt)[0]
    assert target.startswith(f"{order} ships")
    assert re.sub(r"\D", "", target.partition("call ")[2]) == "1" + re.sub(r"\D", "", phone)


def test_different_values_stay_different() -> None:
    texts = [f"order number {n}" for n in range(1000, 1100)]
    made = redact(texts).texts
    assert len(set(made)) == 100
    assert not set(made) & set(texts)


def test_an_address_goes_to_a_domain_that_nobody_has() -> None:
    (made,) = redact(["write to Jo.Doe@mail.bank.de"]).texts
    assert re.fullmatch(r"write to [a-z]{2}\.[a-z]{3}@example\.com", made)


@given(TEXTS)
def test_no_value_is_left_and_all_around_stays(texts: list[str]) -> None:
    made = redact(texts)
    assert made.counts == mark(texts).counts
    for value in ("3348917502", "INC0012", "625-2661", "jo.doe", "4111 1111", "0532 0130"):
        assert all(value not in text for text in made.texts)
    assert [shape(t).replace("aa.aaa@aaaa.aaaaaaa.aa.aa", "") for t in texts] == [
        shape(t).replace("aa.aaa@aaaaaaa.aaa", "") for t in made.texts
    ]


@given(TEXTS)
def test_the_same_texts_have_the_same_surrogates_and_nothing_leads_back(texts: list[str]) -> None:
    assert redact(texts) == redact(list(texts))
    other = [text.replace("3348917502", "5548917509") for text in texts]
    if mark(other).texts == mark(texts).texts:
        assert redact(other).texts == redact(texts).texts


@given(st.lists(st.text(max_size=120), max_size=4))
def test_any_text_is_taken(texts: list[str]) -> None:
    assert len(redact(texts).texts) == len(texts)


def test_a_superscript_is_no_date() -> None:
    assert birth_dates.key_of("²") is None
    assert birth_dates.key_of("03/12/²") is None
