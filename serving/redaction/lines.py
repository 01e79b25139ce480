"""The lines of a text that may hold a value: most of what people write has no digit."""

import re
from collections.abc import Iterator

Line = tuple[int, int]
"""Where a line of a text begins and ends; a pattern's `finditer(text, *line)` reads it alone."""

_DIGIT = re.compile(r"\d")


def lines_with_digits(text: str) -> Iterator[Line]:
    """Yield where the lines begin and end that hold a digit of any script, in order."""
    begin = 0
    while (found := _DIGIT.search(text, begin)) is not None:
        start = text.rfind("\n", begin, found.start()) + 1 or begin
        end = text.find("\n", found.end())
        if end < 0:
            yield start, len(text)
            return
        yield start, end
        begin = end + 1


def has_digit(text: str) -> bool:
    """Say whether a text holds a digit of any script."""
    return _DIGIT.search(text) is not None
