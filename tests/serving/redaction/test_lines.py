"""Lines that may hold a value are those that hold a digit."""

from hypothesis import given
from hypothesis import strategies as st

from serving.redaction.lines import has_digit, lines_with_digits


@given(st.text(alphabet="a1٣ \n\r\u2028", max_size=40))
def test_they_are_the_lines_with_a_digit(text: str) -> None:
    found = [text[begin:end] for begin, end in lines_with_digits(text)]
    assert found == [line for line in text.split("\n") if has_digit(line)]
    assert has_digit(text) == any(c.isdigit() for c in text)
