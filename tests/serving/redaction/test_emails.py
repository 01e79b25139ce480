"""E-mail addresses are found however they are spelled, and each way only where it is."""

import pytest

from serving.redaction import emails


@pytest.mark.parametrize(
    "address",
    [
        "jo.doe@mail.com",
        "jo @ mail.co.uk",
        "jo [at] mail.com",
        "jo(AT)mail(DOT)com",
        "jo {ät} mail.de",
        "jo DOT doe AT mail DOT com",
        "jo@mail dot com",
        "jo at mail punkt de",
        "jo at mail pun\u212at de",
        "jo.doe At GMAIL.com",
    ],
)
def test_an_address_is_found_whole(address: str) -> None:
    text = f"Write to {address}, please."
    assert address in {text[slice(*where)] for where in emails.find(text)}


@pytest.mark.parametrize(
    "text",
    [
        "Meet me at noon (or later).",
        "The dot is at the end.",
        "Look at example.com",
        "5 at shop.com",
    ],
)
def test_prose_is_no_address(text: str) -> None:
    assert list(emails.find(text)) == []
