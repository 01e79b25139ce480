"""The rows that a dataset was made from, each with the hash of what curation reads of it.

They are a file beside the manifest, `sources.jsonl`, whose hash the manifest holds; in golden sets
and in manifests of before there was the file they lie in the manifest itself.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from serving.store.records import FeedbackRecord, LabelledInteraction
from training.data.examples import candidate
from training.data.forms import asked as asked_for
from training.errors import DatasetError

FILE = "sources.jsonl"

_INTERACTION = {
    *("id", "created_at", "task", "version", "messages", "output", "finish_reason"),
    *("conversation_id", "turn_position", "status", "key_id"),
}
_REQUEST = ("response_format", "max_completion_tokens", "max_tokens", "user")
_FEEDBACK = {"id", "created_at", "key_id", "rating", "edit", "used", "rejected"}


def sources(labelled: Iterable[LabelledInteraction]) -> dict[str, Any]:
    """Return each row's feedback ids and the hash of what curation reads of it, by row id."""
    return {item.interaction.id: _source(item) for item in labelled}


def encoded(item: LabelledInteraction) -> bytes:
    """Return a row's line in the file."""
    content = {"id": item.interaction.id, **_source(item)}
    line = json.dumps(content, ensure_ascii=False, sort_keys=True) + "\n"
    return line.encode("utf-8", "replace")


def _source(item: LabelledInteraction) -> dict[str, Any]:
    return {"feedback": [f.id for f in item.feedback], "sha256": _hash(item)}


def _hash(item: LabelledInteraction) -> str:
    """Hash what curation reads, so that a new column changes no manifest."""
    request = item.interaction.request
    content: dict[str, Any] = {
        "interaction": item.interaction.model_dump(mode="json", include=_INTERACTION),
        "request": {key: request[key] for key in _REQUEST if key in request},
        "feedback": [_said(f) for f in item.feedback],
    }
    others = {f.index: candidate(item.interaction, f.index) for f in item.feedback if f.index}
    if asked_for.of(item.interaction):  # of rows that hold no turns, what was hashed before
        content["asked"] = {key: request[key] for key in asked_for.KEYS if key in request}
        content["asked"]["hash"] = item.interaction.prompt_hash
    if others:  # of the first alone, what was hashed before candidates had feedback
        content["candidates"] = {
            str(index): one and [one.output, one.finish_reason] for index, one in others.items()
        }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _said(feedback: FeedbackRecord) -> dict[str, Any]:
    said = feedback.model_dump(mode="json", include=_FEEDBACK)
    return said | {"index": feedback.index} if feedback.index else said


def on(item: LabelledInteraction, examples: Container[str]) -> tuple[FeedbackRecord, ...]:
    """Return the feedback on the candidates that these examples, by id, are made from."""
    return tuple(
        f
        for f in item.feedback
        if (one := candidate(item.interaction, f.index)) is not None and one.id in examples
    )


class SourceLog:
    """The file while it is written: without a name, so that it is gone with the process.

    Args:
        folder: Where there is room for it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self._hash = hashlib.sha256()
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, item: LabelledInteraction) -> None:
        """Note a row."""
        self.write_line(encoded(item))

    def write_line(self, line: bytes) -> None:
        """Note a row, as `encoded` writes it."""
        self._file.write(line)
        self._hash.update(line)
        self._rows += 1

    def feedback(self, ids: Collection[str]) -> dict[str, frozenset[int]]:
        """Return the feedback ids noted of these rows, by row id."""
        return {id_: frozenset(one["feedback"]) for id_, one in self._lines() if id_ in ids}

    def write(self, folder: Path) -> dict[str, Any]:
        """Write the file into a dataset's folder; return what its manifest says of it."""
        self._file.seek(0)
        with (folder / FILE).open("wb") as out:
            shutil.copyfileobj(self._file, out)
        return {"file": FILE, "sha256": self._hash.hexdigest(), "rows": self._rows}

    def _lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        self._file.seek(0)
        for line in self._file:
            content = json.loads(line)
            yield content["id"], content


class Source(NamedTuple):
    """What is known of a row: the ids of its feedback, and its hash."""

    feedback: tuple[int, ...]
    sha256: bytes


def is_inline(manifest: Mapping[str, Any]) -> bool:
    """Say whether the rows lie in the manifest itself."""
    return not isinstance(manifest["sources"].get("file"), str)


def read(manifest: Mapping[str, Any], folders: Iterable[Path]) -> dict[str, Source]:
    """Return the rows that a manifest names.

    Args:
        manifest: A dataset's manifest.
        folders: Where its file may lie.

    Raises:
        DatasetError: The file is gone or changed.
    """
    of = manifest["sources"]
    if is_inline(manifest):
        return {id_: _read(one) for id_, one in of.items()}
    files = [folder / of["file"] for folder in folders]
    for file in files:
        if file.is_file():
            with file.open("rb") as content:
                if hashlib.file_digest(content, "sha256").hexdigest() == of["sha256"]:
                    content.seek(0)
                    return {(one := json.loads(line))["id"]: _read(one) for line in content}
    raise DatasetError(
        f"the dataset cannot be rebuilt: {of['file']} with the rows that its manifest means is "
        f"gone or changed (looked for in {', '.join(str(file.parent) for file in files)}). Fix: "
        "put it beside the manifest"
    )


def _read(one: Mapping[str, Any]) -> Source:
    return Source(tuple(one["feedback"]), bytes.fromhex(one["sha256"]))


class Named:
    """Picks the rows that a manifest names out of a store, with the feedback that it names.

    Args:
        wanted: The rows.
    """

    def __init__(self, wanted: dict[str, Source]) -> None:
        self._wanted = wanted
        self._seen: set[str] = set()
        self._faults: list[str] = []

    def take(self, item: LabelledInteraction) -> LabelledInteraction | None:
        """Return a row as it was, or None if it is not named."""
        id_ = item.interaction.id
        source = self._wanted.get(id_)
        if source is None:
            return None
        self._seen.add(id_)
        ids = set(source.feedback)
        named = tuple(f for f in item.feedback if f.id in ids)
        gone = sorted(ids - {f.id for f in named if f.id is not None})
        found = item.model_copy(update={"feedback": named})
        if gone:
            self._faults.append(
                f"feedback {gone[0]} on interaction {id_} is no longer in the store"
            )
        elif _hash(found) != source.sha256.hex():
            self._faults.append(f"interaction {id_} or its feedback is not what it was")
        return found

    def check(self) -> None:
        """Check, after the last row, that all were as they were.

        Raises:
            DatasetError: One is gone or was changed; names the first and counts the others.
        """
        gone = sorted(self._wanted.keys() - self._seen)
        faults = [
            *self._faults,
            *(f"interaction {id_} is no longer in the store" for id_ in gone),
        ]
        if faults:
            others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            raise DatasetError(f"the dataset cannot be rebuilt: {faults[0]}{others}")
