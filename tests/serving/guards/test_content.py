"""A line's lists: words whole and in any case, phrases by regular expression."""

import pytest

from serving.config.guards import Content
from serving.guards.content import content
from serving.guards.verdict import GuardContext

LISTS = Content(competitors=["Acme Mobile", "O2"])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("That is bullshit.", "profanity"),
        ("ACME  mobile is cheaper", "competitors"),
        ("Try O2.", "competitors"),
        ("It's your own fault.", "blame"),
        ("You should sue them.", "legal_advice"),
    ],
)
def test_each_list_finds_its_kind(text: str, kind: str) -> None:
    (found,) = content(LISTS)(" ".join(text.split()), GuardContext())
    assert found.kind == kind
    assert text.split()[0] not in found.reason


@pytest.mark.parametrize(
    "text", ["Scunthorpe, shitake", "CO2 and acme mobiles", "It is our fault."]
)
def test_parts_of_words_are_no_words(text: str) -> None:
    assert content(LISTS)(text, GuardContext()) == []
