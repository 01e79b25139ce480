"""A line's guards: which are asked, and what follows from what they find.

`Action` lies here, below the guards themselves (`serving.guards`), since the configuration names
it and imports only what stands below.
"""

from collections.abc import Collection
from enum import StrEnum
from typing import Annotated, Any, Literal

import regex
from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from serving.config.base import Section

PATTERN_LIMIT = 300
"""Characters of one pattern."""
PATTERNS_LIMIT = 100
REPEAT_LIMIT = 1000
"""The largest number in a pattern's `{m,n}`."""


class Action(StrEnum):
    """What follows from a finding, from the mildest on; `off` is: the guard is not asked."""

    OFF = "off"
    FLAG = "flag"
    REVIEW = "review"
    BLOCK = "block"


def _word(value: Any) -> Any:
    return "off" if value is False else value  # as YAML reads `off`


Consequence = Annotated[Action, BeforeValidator(_word)]


def compiled(pattern: str) -> "regex.Pattern[str]":
    """Compile a line's pattern as guards use it: anywhere in a text, in any case."""
    return regex.compile(pattern, regex.IGNORECASE)


def _pattern(pattern: str) -> str:
    """Refuse a pattern that does not compile, or whose time may grow exponentially."""
    try:
        found = compiled(pattern)
    except (regex.error, OverflowError, RecursionError) as exc:
        raise ValueError(f"no regular expression: {exc}") from None
    if found.search(""):
        raise ValueError("it matches the empty text, so every text")
    if reason := _runs_away(pattern):
        raise ValueError(f"{reason}: a text could keep it busy for hours")
    return pattern


def _runs_away(pattern: str) -> str | None:
    """Why a pattern is refused: a repetition of what itself repeats, such as `(a+)+`.

    A repeated group with a choice, such as `(a|ab)*`, is refused with it. What slips through ends
    at run time (`serving.guards.patterns.TIMEOUT_S`).
    """
    open_groups = [False]  # whether each group so far repeats something or chooses
    closed = False  # the same of the group that ended just before
    place = 0
    while place < len(pattern):
        char = pattern[place]
        width = 1
        if char == "\\":
            width, closed = 2, False
        elif char == "[":
            width, closed = _class_width(pattern, place), False
        elif char == "(":
            open_groups.append(False)
            if pattern.startswith("(?", place):
                width = 2  # not an optional group
            closed = False
        elif char == ")" and len(open_groups) > 1:
            closed = open_groups.pop()
            open_groups[-1] |= closed
        elif char == "|":
            open_groups[-1] = True
            closed = False
        elif char in "*+{":
            most, width = _repeats(pattern, place)
            if most is None:
                closed = False
            elif most > REPEAT_LIMIT and most != _UNBOUNDED:
                return f"it repeats more than {REPEAT_LIMIT} times"
            else:
                if most > 1 and closed:
                    return "it repeats a group that repeats or chooses"
                open_groups[-1] |= most > 1
                closed = False
        elif char != "?":
            closed = False
        place += width
    return None


_UNBOUNDED = 1 << 62
_BRACES = regex.compile(r"\{(\d*)(,?)(\d*)\}")


def _repeats(pattern: str, place: int) -> tuple[int | None, int]:
    """How often a quantifier repeats at most, None where it is none, and its width."""
    if pattern[place] != "{":
        return _UNBOUNDED, 1
    found = _BRACES.match(pattern, place)
    if found is None:
        return None, 1
    low, comma, high = found.groups()
    most = int(high or (_UNBOUNDED if comma else low or 0))
    return most, len(found[0])


def _class_width(pattern: str, place: int) -> int:
    end = place + 1
    if pattern.startswith("^", end):
        end += 1
    if pattern.startswith("]", end):
        end += 1
    while end < len(pattern) and pattern[end] != "]":
        end += 2 if pattern[end] == "\\" else 1
    return end + 1 - place


Pattern = Annotated[
    str,
    StringConstraints(min_length=1, max_length=PATTERN_LIMIT),
    AfterValidator(_pattern),
]
Patterns = Annotated[list[Pattern], Field(max_length=PATTERNS_LIMIT)]
Words = Annotated[
    list[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]],
    Field(max_length=1000),
]


class OffTopic(Section):
    """Requests that the line does not answer."""

    action: Consequence = Field(Action.OFF, description="What follows: off, flag, review, block.")
    patterns: Patterns = Field(
        default_factory=list,
        description="Regular expressions, in any case, sought in the customer's last message.",
    )


class Classifier(Section):
    """A guard model on another server, asked of what customers wrote and look-ups gave."""

    action: Consequence = Field(Action.OFF, description="What follows: off, flag, review, block.")
    upstream: str = Field("", description="The upstream that answers, as `upstreams` names it.")
    threshold: float = Field(
        0.5, gt=0, le=1, description="The least probability of unsafe that is a finding."
    )
    kind: str = Field(
        "injection",
        pattern="^[a-z][a-z_]{0,31}$",
        description="What it finds, for metrics; what has the kind injection is never trained on.",
    )


class InputGuards(Section):
    """What is asked of a line's requests."""

    injection: Consequence = Field(
        Action.OFF,
        description="Text that gives the model orders: off, flag, review, block.",
    )
    prompt_leak: Consequence = Field(
        Action.OFF, description="Asks for the system prompt: off, flag, review, block."
    )
    off_topic: OffTopic = Field(default_factory=OffTopic, description="What is not its business.")
    classifier: Classifier = Field(default_factory=Classifier, description="A guard model.")


PROFANITY = ["asshole", "bastard", "bitch", "bullshit", "fuck", "fucked", "fucking", "shit"]
BLAME = [
    r"\b(?:it|this|that)(?:'s| is| was) (?:all |clearly |entirely )?your (?:own )?fault\b",
    r"\byou (?:only )?have (?:only )?yourself to blame\b",
    r"\byou should have (?:known|read|thought)\b",
]
LEGAL_ADVICE = [
    r"\byou (?:should|could|can|may want to) sue\b",
    r"\byou have (?:a|no) (?:good |strong |valid )?(?:legal )?case against\b",
    r"\bas (?:your|a) (?:lawyer|attorney|solicitor)\b",
    r"\bwe (?:admit|accept) (?:full |all )?(?:legal )?(?:liability|guilt)\b",
]


class Content(Section):
    """Words and phrases that an answer of the line's must not hold."""

    action: Consequence = Field(Action.OFF, description="What follows: off, flag, review, block.")
    profanity: Words = Field(
        default_factory=lambda: list(PROFANITY), description="Whole words, in any case."
    )
    competitors: Words = Field(default_factory=list, description="Names, whole, in any case.")
    blame: Patterns = Field(
        default_factory=lambda: list(BLAME),
        description="Regular expressions of what blames the customer.",
    )
    legal_advice: Patterns = Field(
        default_factory=lambda: list(LEGAL_ADVICE),
        description="Regular expressions of what advises in law or admits liability.",
    )


ClaimKind = Literal["number", "amount", "date", "time", "identifier", "name", "promise", "negation"]


class Claims(Section):
    """What an answer says and neither the conversation nor the knowledge does."""

    action: Consequence = Field(Action.OFF, description="What follows: off, flag, review, block.")
    kinds: dict[ClaimKind, Consequence] = Field(
        default_factory=dict,
        description="Another action for some kinds: number, amount, date, time, identifier, name, "
        "promise, negation.",
    )
    min_score: float = Field(
        0.0, ge=0, le=1, description="Findings of a smaller score are left out."
    )
    judge: str | None = Field(
        None,
        description="The upstream whose model is asked about what the rules found, and may clear "
        "it; null asks none.",
    )

    def action_of(self, kind: ClaimKind) -> Action:
        """Return what follows from a finding of a kind."""
        return self.kinds.get(kind, self.action)


class OutputGuards(Section):
    """What is asked of a line's answers."""

    prompt_leak: Consequence = Field(
        Action.OFF,
        description="The answer repeats a long run of the system prompt: off, flag, review, block.",
    )
    content: Content = Field(default_factory=Content, description="Words and phrases.")
    claims: Claims = Field(default_factory=Claims, description="What nothing supports.")


class LobGuards(Section):
    """A line's guards."""

    input: InputGuards = Field(default_factory=InputGuards, description="Of its requests.")
    output: OutputGuards = Field(default_factory=OutputGuards, description="Of its answers.")


def check_upstream(name: str, guards: LobGuards, upstreams: Collection[str]) -> None:
    """Refuse a classifier or a judge that is no configured upstream.

    Raises:
        ValueError: One is not; names the key.
    """
    its, judge = guards.input.classifier, guards.output.claims.judge
    if its.upstream not in upstreams and (its.upstream or its.action is not Action.OFF):
        raise ValueError(
            f"{name}.guards.input.classifier.upstream: there is no {its.upstream!r} in upstreams"
        )
    if judge is not None and judge not in upstreams:
        raise ValueError(f"{name}.guards.output.claims.judge: there is no {judge!r} in upstreams")
