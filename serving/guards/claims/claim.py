"""A claim: what a piece of a text says, in a form in which the same is equal however written."""

from decimal import Decimal
from typing import NamedTuple

Meaning = tuple[str | int | Decimal, ...]
"""A name of what is compared and its values, such as `("day", 10, 3)`."""


class Claim(NamedTuple):
    """One claim.

    Args:
        kind: `number`, `amount`, `date`, `time`, `identifier` or `name`.
        span: Where it stands.
        meanings: What it may mean; one that is given supports it.
        given: What somebody who says it gives, `meanings` where empty: `$25` gives the number 25,
            too, and "by 10/03" either day.
        asserted: False for what only gives, such as the `one` of "one moment".
    """

    kind: str
    span: tuple[int, int]
    meanings: frozenset[Meaning]
    given: frozenset[Meaning] = frozenset()
    asserted: bool = True
