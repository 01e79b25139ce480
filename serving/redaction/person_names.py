"""People's names, which no form tells from other words: spaCy's recogniser finds them.

A model marks some words that are no names and misses some that are; how many of each is measured by
`make bench-pii`. What it marks is read word by word, so that "Maria", "Ms Lopez" and "Maria Lopez"
are the same person's in all of a conversation.
"""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from serving.errors import ConfigError
from serving.redaction.patterns import Kind, Span

Recogniser = Callable[[Sequence[str]], list[list[Span]]]
"""Gives, for each text, where words of names stand; spans may be given in any order."""

LABELS = frozenset({"PERSON", "PER"})
"""What pipelines call people: OntoNotes' scheme and WikiNER's."""
PARAM = "storage.names"

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_POSSESSIVE = re.compile(r"['\u2019]s$", re.IGNORECASE)
_NO_NAMES = frozenset(
    "mr mrs ms miss mx dr prof sir madam hi hello hey thanks thank regards dear yes no ok okay "
    "sure please agent customer bot user assistant and the of from my your id".split()
)


def words_of(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield the words of a name that a model has marked; none where it holds a digit.

    Args:
        text: What was read.
        start: Where the mark begins.
        end: One after its last character.
    """
    if any(c.isdigit() for c in text[start:end]):
        return  # "Order 4471" is no person
    for m in _WORD.finditer(text, start, end):
        word = _POSSESSIVE.sub("", m[0])
        if len(word) > 1 and word.casefold() not in _NO_NAMES:
            yield Span(m.start(), m.start() + len(word), Kind.NAME)


@lru_cache(maxsize=4)
def load(pipeline: str) -> Recogniser:
    """Return the recogniser of a spaCy pipeline; a process loads each once.

    Args:
        pipeline: An installed package, or a folder.

    Raises:
        ConfigError: spaCy or the pipeline is not there, or the pipeline finds no people.
    """
    try:
        import spacy
    except ImportError as exc:
        raise ConfigError(
            f"{PARAM}: spaCy is not installed, and a line's store.names needs it. Install the "
            "extra `names`: pip install 'switchboard[names]'.",
            param=PARAM,
        ) from exc
    try:
        # What only serves grammar would cost most of the time.
        nlp = spacy.load(pipeline, exclude=["parser", "lemmatizer", "attribute_ruler", "tagger"])
    except (OSError, ImportError, ValueError) as exc:
        where = "no such folder" if "/" in pipeline else "no such package"
        reason = where if isinstance(exc, OSError) else f"{type(exc).__name__}: {exc}"
        raise ConfigError(
            f"{PARAM}: the spaCy pipeline {pipeline!r} cannot be loaded: {reason}. Install it "
            "beside the extra `names`, or give its folder.",
            param=PARAM,
        ) from exc
    found = {label for pipe in nlp.pipe_names for label in nlp.pipe_labels.get(pipe, [])}
    if not found & LABELS:
        raise ConfigError(
            f"{PARAM}: the spaCy pipeline {pipeline!r} finds no people: none of its labels is "
            f"{' or '.join(sorted(LABELS))}.",
            param=PARAM,
        )
    return _recogniser(nlp)


def _recogniser(nlp: Any) -> Recogniser:
    one_at_a_time = threading.Lock()  # a pipeline's vocabulary grows as it reads

    def recognise(texts: Sequence[str]) -> list[list[Span]]:
        with one_at_a_time:
            return [
                [
                    span
                    for entity in doc.ents
                    if entity.label_ in LABELS
                    for span in words_of(text, entity.start_char, entity.end_char)
                ]
                for text, doc in zip(texts, nlp.pipe(texts), strict=True)
            ]

    return recognise
