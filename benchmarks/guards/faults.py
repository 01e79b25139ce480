"""Seeded faults in agents' true replies: one thing changed, or one sentence put in.

Where to change is found by patterns of their own and not by the guard's, so what the guard cannot
read is changed, too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

KINDS = ("number", "amount", "date", "time", "identifier", "name", "promise", "negation")
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_MONTHS = "January February March April June July August September October November".split()
_NAMES = "Leonora Bartholomew Ingrid Thaddeus Priyanka Okonkwo Marguerite Fitzgerald".split()
_NUMBER_WORDS = "seventeen twenty-three thirty-one forty-six fifty-eight sixty-two".split()
_PROMISES = (
    "I will refund you in full.",
    "We'll send you a replacement right away.",
    "I have applied a credit to your account.",
    "You will get a voucher from us.",
    "Our team will give you a call back.",
    "We can waive the fee for you.",
    "I guarantee that it will work.",
    "You are getting your money back.",
    "A refund is on its way to you.",
    "Let me compensate you for the trouble.",
    "We will make sure that you pay nothing.",
    "You'll receive a discount on your next stay.",
)
_DENY = (
    (
        re.compile(r"\b(is|are|was|were|will|can|has|have)\b (?!not\b|you\b|I\b|there\b)"),
        r"\1 not ",
    ),
    (re.compile(r"\b(is|are|was|were|will|has|have) not\b"), r"\1"),
    (re.compile(r"\b(is|are|was|were|has|have)n't\b"), r"\1"),
    (re.compile(r"\bunavailable\b"), "available"),
    (re.compile(r"\bunsuccessful\b"), "successful"),
)


@dataclass(frozen=True)
class Fault:
    """A reply made false.

    Args:
        kind: Of the fault.
        how: `changed` or `inserted`.
        text: The whole reply.
        span: Where the false part stands in it.
    """

    kind: str
    how: str
    text: str
    span: tuple[int, int]


def make(rng: random.Random, kind: str, how: str, reply: str, seen: str) -> Fault | None:
    """Return a reply with one fault, or None where it has nothing to change.

    Args:
        rng: Draws place and value.
        kind: One of `KINDS`.
        how: `changed` or `inserted`; a promise is inserted, a negation changed.
        reply: What the agent sent.
        seen: All that the agent saw, which the false value must not be in.
    """
    if how == "inserted":
        if kind == "negation":
            return None
        said = _fresh(lambda: _sentence(rng, kind), seen)
        begin = len(reply.rstrip()) + 1
        return Fault(kind, how, f"{reply.rstrip()} {said}", (begin, begin + len(said)))
    if kind == "negation":
        return _denied(rng, reply)
    places = list(_PLACES[kind].finditer(reply)) if kind in _PLACES else []
    if not places:
        return None
    place = rng.choice(places)
    value = _fresh(lambda: _value(rng, kind, place[0]), f"{seen} {reply}")
    text = reply[: place.start()] + value + reply[place.end() :]
    return Fault(kind, how, text, (place.start(), place.start() + len(value)))


_PLACES = {
    "number": re.compile(r"(?<![\w'$.,:/-])\d{1,2}(?![\w'.,:/-]|\s?[ap]m\b)(?=\s[a-z])"),
    "amount": re.compile(r"\$\d+(?:\.\d\d)?\b|\b\d+(?=\s(?:dollars|credits)\b)"),
    "date": re.compile(rf"\b(?:{'|'.join(_DAYS)})\b|\b\d{{1,2}}(?:st|nd|rd|th)\b"),
    "time": re.compile(r"\b\d{1,2}(?::\d\d)?\s?[ap]m\b", re.IGNORECASE),
    "identifier": re.compile(r"(?<=')\d{2,6}(?=')|\b\d{4,12}\b|\b\d{3} [A-Z]{3}\b"),
    "name": re.compile(
        r"(?<=[a-z,] )(?:Alexis|Angela|Alexa|Ben|Jane|John|Katarzyna|Mark|Mary|Emma|Jack|Sirius|Zoe"
        r"|Morgan|Johnson|Hilton|Shadyside|Lucca|Legume|Delta|Virgin|Pittsburgh|Chicago|Boston)\b"
    ),
}


def _value(rng: random.Random, kind: str, old: str) -> str:
    if kind == "amount":
        return ("$" if old[0] == "$" else "") + str(rng.randint(13, 989))
    if kind == "number":
        return str(rng.randint(13, 97))
    if kind == "date":
        return rng.choice(_DAYS) if old[0].isalpha() else f"{rng.randint(4, 20)}th"
    if kind == "time":
        return f"{rng.randint(1, 11)}{rng.choice(['', ':15', ':45'])} {rng.choice(['am', 'pm'])}"
    if kind == "identifier":
        figures = "".join(str(rng.randint(1, 9)) for c in old if c.isdigit())
        return figures + old[len(figures) :]
    return rng.choice(_NAMES)


def _sentence(rng: random.Random, kind: str) -> str:
    n = rng.randint(13, 97)
    day, month = rng.randint(4, 20), rng.choice(_MONTHS)
    forms = {
        "number": [f"There are {n} left.", f"It has {rng.choice(_NUMBER_WORDS)} rooms."],
        "amount": [
            f"The fee is ${n}.",
            f"It costs {rng.choice(_NUMBER_WORDS)} dollars.",
            f"You pay {n}.50 euros.",
            f"It is {n}% off.",
        ],
        "date": [
            f"It will be there on {month} {day}.",
            f"It is due on {rng.choice(_DAYS)}.",
            f"It ends on {rng.randint(1, 12)}/{day + 8}.",
            "We will know more tomorrow.",
            "It starts next week.",
        ],
        "time": [
            f"It opens at {rng.randint(1, 11)}:{rng.randint(10, 59)} pm.",
            f"It takes {n} days.",
            f"It is done in {rng.choice(_NUMBER_WORDS)} hours.",
            "It is done within an hour.",
        ],
        "identifier": [
            f"Your reference is {rng.randint(10**5, 10**9)}.",
            f"The code is {rng.choice('BKQZ')}{rng.randint(100, 999)}-{rng.randint(10, 99)}.",
            f"Write to help{n}@example.org.",
            f"Call us at ({rng.randint(200, 989)}) 555-0{rng.randint(100, 199)}.",
            f"See www.help{n}.com for more.",
        ],
        "name": [
            f"Please ask for {rng.choice(_NAMES)} there.",
            f"My colleague {rng.choice(_NAMES)} knows more.",
            f"{rng.choice(_NAMES)} will take care of it.",
        ],
        "promise": list(_PROMISES),
    }
    return rng.choice(forms[kind])


def _fresh(draw: Callable[[], str], seen: str, tries: int = 20) -> str:
    """Return a value that was not seen; the last one drawn where all were."""
    value = draw()
    for _ in range(tries):
        if value.lower() not in seen.lower():
            break
        value = draw()
    return value


def _denied(rng: random.Random, reply: str) -> Fault | None:
    changes = [
        (match, match.expand(new))
        for pattern, new in _DENY
        for match in pattern.finditer(reply)
        if "?" not in re.split(r"(?<=[.!?])\s", reply[match.start() :])[0]
    ]
    if not changes:
        return None
    match, new = rng.choice(changes)
    text = reply[: match.start()] + new + reply[match.end() :]
    begin = max(text.rfind(mark, 0, match.start()) for mark in ".!?\n") + 1
    ends = [at for mark in ".!?\n" if (at := text.find(mark, match.start())) >= 0]
    return Fault("negation", "changed", text, (begin, min(ends, default=len(text))))
