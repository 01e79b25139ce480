"""Examples as lines of JSON: a file of them is read as a sequence, one example in memory at a time.

The same example is the same bytes, whenever and wherever it is written.
"""

import hashlib
import json
import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

from training.data import preferences
from training.data.examples import Example, Message
from training.errors import DatasetError

_LINEAGE = [field.name for field in fields(Example) if field.name not in ("messages", "target")]
_LATER = ("chat_template_kwargs", "asked")
"""Left out where they are None, as in datasets of before there were the fields."""


def row(example: Example) -> dict[str, Any]:
    """Return one line of a dataset's files."""
    lineage = {name: getattr(example, name) for name in _LINEAGE}
    for name in _LATER:
        if lineage[name] is None:
            del lineage[name]
    return {
        "prompt": preferences.prompt(example),
        "completion": preferences.answer(example.target),
        **lineage,
    }


def learned_row(example: Example) -> dict[str, Any]:
    """Return one line of what is learned from: trainers need no more than the messages."""
    return row(replace(example, asked=None))


def example(line: bytes) -> Example:
    """Return what `row` made a line of."""
    content = json.loads(line)
    messages = tuple(Message(**message) for message in content.pop("prompt"))
    return Example(messages=messages, target=content.pop("completion")[0]["content"], **content)


def line(content: dict[str, Any]) -> bytes:
    """Return one line of JSON Lines: the same row is the same bytes."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True) + "\n"
    return text.encode("utf-8", "replace")


def encoded(example: Example) -> bytes:
    """Return an example as a line of its own."""
    return line(row(example))


def lines(rows: Iterable[dict[str, Any]]) -> bytes:
    """Return rows as JSON Lines."""
    return b"".join(line(content) for content in rows)


def write_file(file: Path, rows: Iterable[dict[str, Any]], *, named: bool) -> dict[str, Any]:
    """Write a dataset's file, a row in memory at a time; return what the manifest says of it.

    Args:
        file: It is made anew.
        rows: Its lines.
        named: Whether the manifest names each row's interaction.
    """
    digest, count, conversations = hashlib.sha256(), 0, set()
    ids = []
    with file.open("wb") as out:
        for content in rows:
            data = line(content)
            out.write(data)
            digest.update(data)
            count += 1
            conversations.add(content["conversation_id"])
            if named:
                ids.append(content["interaction_id"])
    said = {"sha256": digest.hexdigest(), "examples": count, "conversations": len(conversations)}
    return {**said, "rows": ids} if named else said


class _Examples(Sequence[Example]):
    """Examples that are read when they are asked for; equal to any sequence of the same ones."""

    def _load(self, index: int) -> Example:
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        places = range(len(self))[index]
        if isinstance(places, range):
            return tuple(self._load(place) for place in places)
        return self._load(places)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


class ExampleFile(_Examples):
    """A dataset's file.

    Args:
        file: JSON Lines, as `row` has them.
        count: How many lines it has.
    """

    def __init__(self, file: Path, count: int) -> None:
        self._file = file
        self._count = count
        self._begins: array[int] | None = None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Example]:
        try:
            with self._file.open("rb") as content:
                for one in content:
                    yield example(one)
        except OSError as exc:
            raise DatasetError(f"{self._file}: cannot be read ({exc.strerror})") from exc

    def _load(self, index: int) -> Example:
        with self._file.open("rb") as content:
            if self._begins is None:
                self._begins = array("Q", [0])
                for one in content:
                    self._begins.append(self._begins[-1] + len(one))
            content.seek(self._begins[index])
            return example(content.readline())


class Spool(_Examples):
    """Examples on disk that are gone with the process, however it ends.

    Args:
        folder: Where there is room for them; the file has no name there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self._begins = array("Q", [0])
        self._written = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._begins) - 1

    def append(self, line: bytes) -> None:
        """Add an example, as `encoded` writes it, at the end."""
        self._file.write(line)
        self._begins.append(self._begins[-1] + len(line))
        self._written = False

    def _load(self, index: int) -> Example:
        if not self._written:
            self._file.flush()
            self._written = True
        begin, end = self._begins[index], self._begins[index + 1]
        return example(os.pread(self._file.fileno(), end - begin, begin))


class Lines(_Examples):
    """Examples in memory, as lines."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def __len__(self) -> int:
        return len(self._lines)

    def append(self, line: bytes) -> None:
        """Add an example, as `encoded` writes it, at the end."""
        self._lines.append(line)

    def _load(self, index: int) -> Example:
        return example(self._lines[index])


class Picked(_Examples):
    """Some examples of a sequence.

    Args:
        of: All of them.
        places: Which, in order.
    """

    def __init__(self, of: Sequence[Example], places: Iterable[int]) -> None:
        self._of = of
        self._places = array("Q", places)

    def __len__(self) -> int:
        return len(self._places)

    def _load(self, index: int) -> Example:
        return self._of[self._places[index]]
