"""Documents split into passages: a section under its headings, at most `PASSAGE_LIMIT` characters.

A passage is what a prompt gets, so it is short, and says by its title what it is about.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

PASSAGE_LIMIT = 1200
"""Characters, about 300 tokens: three of them fit into any prompt."""
BETWEEN = " > "
_PAUSES = [re.compile(ends) for ends in (r"\n\s*\n", r"\n", r"(?<=[.!?])\s+", r"\s+")]
_HEADING = re.compile(r"h([1-6])")
_BLOCKS = frozenset(
    "address article aside blockquote br dd div dl dt figure footer form header hr li main nav ol "
    "p pre section table tr ul".split()
)
_UNREAD = frozenset({"script", "style", "template", "noscript", "head"})


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document; `title` names the headings above it, from the outermost."""

    title: str
    text: str


def markdown(text: str) -> list[Section]:
    """Split Markdown (CommonMark) at its headings; what comes before the first has no title."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").parse(text)
    lines = re.sub("\r\n?", "\n", text).split("\n")
    found = [(0, 0, 0, "")]
    for place, token in enumerate(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map is not None:
            start, end = token.map
            found.append((start, end, int(token.tag[1]), tokens[place + 1].content))
    ends = [start for start, *_ in found[1:]] + [len(lines)]
    parts = [
        (level, heading, "\n".join(lines[begin:end]))
        for (_, begin, level, heading), end in zip(found, ends, strict=True)
    ]
    return list(_sections(parts))


def html(text: str) -> list[Section]:
    """Split HTML at its headings; scripts and styles are left out."""
    reader = _Html()
    reader.feed(text)
    reader.close()
    return list(_sections(reader.parts))


def bounded(text: str, limit: int = PASSAGE_LIMIT) -> list[str]:
    """Split a text that is too long: between paragraphs, else lines, sentences, words, anywhere.

    Args:
        text: What to split.
        limit: Characters of a piece at most.
    """
    pieces, rest = list[str](), text.strip()
    while len(rest) > limit:
        end = _pause(rest[: limit + 1], limit)
        pieces.append(rest[:end].strip())
        rest = rest[end:].strip()
    return [*pieces, rest] if rest else pieces


def _pause(window: str, limit: int) -> int:
    """Return where to split: at the greatest pause, unless little were before it."""
    for ends in _PAUSES:
        places = [match.start() for match in ends.finditer(window)]
        fit = [place for place in places if max(1, limit // 4) <= place <= limit]
        if fit:
            return fit[-1]
    return limit


def _sections(parts: list[tuple[int, str, str]]) -> Iterator[Section]:
    """Yield the parts that hold text, each under the headings that are above it.

    Args:
        parts: Level (0 is above all headings), heading and text, in the document's order.
    """
    above: list[tuple[int, str]] = []
    for level, heading, text in parts:
        above = [one for one in above if one[0] < level]
        if heading:
            above.append((level, " ".join(heading.split())))
        if text.strip():
            yield Section(BETWEEN.join(title for _, title in above), text.strip())


class _Html(HTMLParser):
    """Collects (level, heading, text) of each part of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[tuple[int, str, str]] = [(0, "", "")]
        self._in_heading = False
        self._unread = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002
        if tag in _UNREAD:
            self._unread += 1
        elif level := _HEADING.fullmatch(tag):
            self.parts.append((int(level[1]), "", ""))
            self._in_heading = True
        elif tag in _BLOCKS:
            self._add("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNREAD:
            self._unread = max(0, self._unread - 1)
        elif _HEADING.fullmatch(tag):
            self._in_heading = False
        elif tag in _BLOCKS:
            self._add("\n")

    def handle_data(self, data: str) -> None:
        if not self._unread:
            self._add(re.sub(r"\s+", " ", data))

    def _add(self, text: str) -> None:
        level, heading, said = self.parts[-1]
        if self._in_heading:
            self.parts[-1] = (level, heading + text, said)
        else:
            joined = text.lstrip(" ") if said.endswith("\n") else text
            self.parts[-1] = (level, heading, re.sub(r"\n{3,}", "\n\n", said + joined))
