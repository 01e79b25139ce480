"""The system prompt: requests that ask for it, and answers that repeat it."""

import re
from collections.abc import Sequence
from functools import lru_cache

from serving.guards.verdict import Finding, GuardContext

KIND = "prompt_leak"
RUN_WORDS = 12
"""So many words of the prompt in a row are a leak; agents' phrases of courtesy are shorter."""

_WORD = re.compile(r"\w+")
_SHOW = (
    r"(?:print|repeat|reveal|show|output|display|recite|disclose|dump|expose|leak|share|return|"
    r"(?:tell|give) (?:me|us)|what (?:is|are|was|were)|write (?:out|down)|summari[sz]e|translate)"
)
_PROMPT = (
    r"(?:system (?:prompt|message|instructions?)|(?:initial|original|hidden|internal|secret|prior|"
    r"previous|operating|developer|base) (?:prompt|instructions?|guidelines|directives?|rules)|"
    r"your (?:\w+ )?(?:prompt|instructions|directives|guidelines)|instructions you were given)"
)
_ASKS = re.compile(
    rf"\b{_SHOW}\b[^.!?\n]{{0,60}}\b{_PROMPT}\b"
    r"|\b(?:repeat|print|output) (?:everything|all|the (?:text|words)) (?:\w+ ){0,3}"
    r"(?:above|before|in your context)\b"
    r"|\b(?:muestra|revela|mostra|rivela|r[ée]v[èe]le|montre|zeige?|verrate)\b[^.!?\n]{0,40}"
    r"\b(?:prompt|instruc\w+|istruzioni|anweisungen|systemprompt)\b",
)
_STEMS = (
    *("prompt", "instruc", "istruzion", "system", "guideline", "directive", "rules", "anweisung"),
    *("everything", "repeat all", "print all", "output all", " text", " words"),
)


def asks(text: str, _: GuardContext, /) -> Sequence[Finding]:
    """Find a request for the system prompt in a canonical text."""
    small = text.lower()
    found = _ASKS.search(small) if any(stem in small for stem in _STEMS) else None
    if not found:
        return ()
    span = found.span() if len(small) == len(text) else (0, len(text))
    return (Finding(KIND, 1.0, span, "It asks for the system prompt."),)


def repeats(text: str, context: GuardContext, /) -> Sequence[Finding]:
    """Find `RUN_WORDS` words in a row that the system prompt (`context.prompt`) holds, too.

    Words are compared without case and punctuation. What somebody wrote in the conversation, or a
    look-up gave, may be repeated, also where the prompt holds it.
    """
    known = _runs(context.prompt)
    if not known:
        return ()
    told = [*(said for _, said in context.conversation), *context.knowledge]
    words = list(_WORD.finditer(text))
    spelt = [word[0].lower() for word in words]
    for place in range(len(spelt) - RUN_WORDS + 1):
        run = tuple(spelt[place : place + RUN_WORDS])
        if run in known and not any(run in _runs(said) for said in told):
            span = words[place].start(), words[place + RUN_WORDS - 1].end()
            reason = f"It repeats {RUN_WORDS} words or more of the system prompt."
            return (Finding(KIND, 1.0, span, reason),)
    return ()


@lru_cache(64)
def _runs(text: str) -> frozenset[tuple[str, ...]]:
    words = [word.lower() for word in _WORD.findall(text)]
    return frozenset(tuple(words[i : i + RUN_WORDS]) for i in range(len(words) - RUN_WORDS + 1))
