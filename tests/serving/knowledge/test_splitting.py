"""Documents become short passages, each under the headings above it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.knowledge import splitting
from serving.knowledge.splitting import Section

PAGE = """Read this first.

# Returns
Within 30 days.

## Electronics
Within 14 days.

```sh
# no heading
```

Shipping
========
Three days.

### Empty
"""


def test_markdown_is_split_at_its_headings_and_not_in_code() -> None:
    assert splitting.markdown(PAGE) == [
        Section("", "Read this first."),
        Section("Returns", "Within 30 days."),
        Section("Returns > Electronics", "Within 14 days.\n\n```sh\n# no heading\n```"),
        Section("Shipping", "Three days."),
    ]


def test_html_is_split_at_its_headings_without_scripts() -> None:
    page = """<html><head><title>T</title><style>p {}</style></head><body><p>First.</p>
    <h1>Returns <b>&amp; refunds</b></h1><ul><li>30   days</li><li>14 days</li></ul>
    <script>alert("no")</script><h2>How</h2>By post.</body></html>"""
    found = splitting.html(page)
    assert [one.title for one in found] == ["", "Returns & refunds", "Returns & refunds > How"]
    assert found[0].text == "First."
    assert [line for line in found[1].text.split("\n") if line.strip()] == ["30 days", "14 days"]
    assert found[2].text == "By post."


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("one two", ["one two"]),
        ("  ", []),
        ("aaaa bbbb\n\ncccc dddd", ["aaaa bbbb", "cccc dddd"]),
        ("aaaa bbbb.\ncccc dddd", ["aaaa bbbb.", "cccc dddd"]),
        ("aaaa. bb cccc dddd", ["aaaa.", "bb cccc dddd"]),
        ("aaaa bbbb cccc dddd", ["aaaa bbbb", "cccc dddd"]),
        ("a" * 15, ["a" * 12, "a" * 3]),
    ],
)
def test_a_long_text_is_split_where_it_pauses(text: str, pieces: list[str]) -> None:
    assert splitting.bounded(text, 12) == pieces


@given(st.text(alphabet="ab .\n", max_size=200), st.integers(4, 30))
def test_pieces_are_short_and_lose_no_letter(text: str, limit: int) -> None:
    pieces = splitting.bounded(text, limit)
    assert all(0 < len(piece) <= limit for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())
