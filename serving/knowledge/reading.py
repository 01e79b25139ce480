"""Files read into the entries of a library: documents, JSON lines, tables of responses."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from serving.errors import InvalidRequest
from serving.knowledge import guidelines, splitting
from serving.store.libraries.versions import Entry

ENTRIES_LIMIT = 100_000
"""Of a version: its index lies in each replica's memory."""
RESPONSE_LIMIT = 4000
"""Characters of a response; it is offered whole."""
_DOCUMENTS = {".md": splitting.markdown, ".html": splitting.html, ".htm": splitting.html}
_PASSAGE_FIELDS = frozenset({"id", "title", "text", "url"})
_RESPONSE_FIELDS = frozenset({"id", "title", "text", "tags", "agent"})


def passages(path: Path) -> list[Entry]:
    """Read a file or a folder of knowledge.

    Args:
        path: Markdown (.md), HTML (.html, .htm) or JSON lines (.jsonl) of `{"id", "title", "text",
            "url"}`, the last left out at will, or guidelines (.json) in ABCD's form; or a folder
            that holds such files, at any depth.

    Returns:
        Passages of at most `splitting.PASSAGE_LIMIT` characters, in the order of the files' names.

    Raises:
        InvalidRequest: It cannot be read, or holds nothing or too much; names the file and line.
    """
    files = [path]
    if path.is_dir():
        known = {*_DOCUMENTS, ".jsonl", ".json"}
        files = [one for one in sorted(path.rglob("*")) if one.suffix.lower() in known]
    found: list[Entry] = []
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        found += _of_file(file, name)
    return _checked(path, found)


def responses(path: Path) -> list[Entry]:
    """Read a library of responses.

    Args:
        path: A table (.csv) with the columns title, text and, at will, id, tags (by ";") and agent;
            or JSON lines (.jsonl) of the same fields, tags as a list.

    Raises:
        InvalidRequest: As `passages`.
    """
    if path.suffix.lower() == ".csv":
        rows = _table(path)
    elif path.suffix.lower() == ".jsonl":
        rows = _lines(path)
    else:
        raise InvalidRequest(f"{path}: a library of responses is a .csv or a .jsonl.")
    found = []
    for place, row in rows:
        known = {name: value for name, value in row.items() if value not in (None, "")}
        if not known.get("id"):
            known["id"] = slug(str(known.get("title") or known.get("text") or ""))
        if len(str(known.get("text", ""))) > RESPONSE_LIMIT:
            raise InvalidRequest(f"{place}: text has more than {RESPONSE_LIMIT} characters.")
        found.append(_entry(place, known, _RESPONSE_FIELDS))
    return _checked(path, found)


def slug(text: str) -> str:
    """Return a text as part of an id: small letters and digits of any script, joined by "-"."""
    return "-".join(re.findall(r"\w+", text.lower()))[:80].strip("-") or "part"


def _of_file(file: Path, name: str) -> Iterator[Entry]:
    kind = file.suffix.lower()
    if kind == ".jsonl":
        for place, row in _lines(file):
            whole = _entry(place, row, _PASSAGE_FIELDS)
            pieces = splitting.bounded(whole.text)
            for number, text in enumerate(pieces, 1):
                id_ = whole.id if len(pieces) == 1 else f"{whole.id}-{number}"
                yield whole.model_copy(update={"id": id_, "text": text})
        return
    if kind != ".json" and kind not in _DOCUMENTS:
        raise InvalidRequest(f"{file}: knowledge is read from .md, .html, .jsonl and .json files.")
    stem = Path(name).stem
    found = _guidelines(file) if kind == ".json" else _DOCUMENTS[kind](_text(file))
    for section in found:
        title = section.title or stem
        last = title.split(splitting.BETWEEN)[-1]
        for text in splitting.bounded(section.text):
            yield Entry(id=f"{name}#{slug(last)}"[:180], title=title[:500], text=text)


def _guidelines(file: Path) -> list[splitting.Section]:
    try:
        return guidelines.sections(str(file), orjson.loads(_text(file)))
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(f"{file}: no JSON: {exc}") from exc


def _checked(path: Path, entries: list[Entry]) -> list[Entry]:
    """Give entries ids that differ; those that did already keep theirs."""
    if not entries:
        raise InvalidRequest(f"{path}: there is nothing in it to import.")
    if len(entries) > ENTRIES_LIMIT:
        raise InvalidRequest(f"{path}: more than {ENTRIES_LIMIT} entries.")
    seen: Counter[str] = Counter()
    taken = {entry.id for entry in entries}
    named = []
    for entry in entries:
        seen[entry.id] += 1
        id_, number = entry.id, seen[entry.id]
        while number > 1 and (id_ := f"{entry.id}-{number}") in taken:
            number += 1
        taken.add(id_)
        named.append(entry if id_ == entry.id else entry.model_copy(update={"id": id_}))
    return named


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidRequest(f"{file}: cannot be read as UTF-8: {exc}") from exc


def _lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(_text(file).split("\n"), 1):
        if not line.strip():
            continue
        place = f"{file}: line {number}"
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as exc:
            raise InvalidRequest(f"{place}: no JSON: {exc}") from exc
        if not isinstance(row, dict):
            raise InvalidRequest(f"{place}: not an object.")
        yield place, row


def _table(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    rows = csv.DictReader(io.StringIO(_text(file), newline=""), strict=True)
    try:
        missing = {"title", "text"} - set(rows.fieldnames or ())
        if missing:
            raise InvalidRequest(f"{file}: no column {' or '.join(sorted(missing))}.")
        for row in rows:
            place = f"{file}: line {rows.line_num}"
            if None in row:
                raise InvalidRequest(f"{place}: more values than columns.")
            tags = _words(row.get("tags") or "")
            yield place, {**row, "tags": tags}
    except csv.Error as exc:
        raise InvalidRequest(f"{file}: line {rows.line_num}: {exc}") from exc


def _words(tags: str) -> list[str]:
    return [word for tag in tags.split(";") if (word := tag.strip())]


def _entry(place: str, row: dict[str, Any], fields: Iterable[str]) -> Entry:
    """Make an entry of what a line holds.

    Raises:
        InvalidRequest: A field is missing, unknown or of the wrong type; names it.
    """
    unknown = sorted(set(row) - set(fields))
    if unknown:
        raise InvalidRequest(f"{place}: unknown: {', '.join(unknown)}.")
    try:
        entry = Entry.model_validate(row)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{place}: {where}: {first['msg']}.") from exc
    if not entry.text.strip():
        raise InvalidRequest(f"{place}: text is empty.")
    return entry
