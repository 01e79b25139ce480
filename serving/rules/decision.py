"""What a rule decides of a request."""

from dataclasses import dataclass

from serving.config.rules import Rule


@dataclass(frozen=True, slots=True)
class Ruled:
    """A rule's word: a text, or what answers in the usual version's place where it is None."""

    rule: Rule
    text: str | None = None
