"""Erasure in files that clients uploaded and batches wrote: the lines that are of what is erased.

A batch's request is, if its body names the conversation or the person; an answer is, if its request
was or it is an erased interaction. Lines of training data name neither, so they stay: their owner
knows whose they are.
"""

import asyncio
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import IO, Any, NamedTuple

from serving.errors import NotFound
from serving.files.storage import FileStorage
from serving.store.database import Database
from serving.store.erasure import tombstones
from serving.store.erasure.erasures import Target
from serving.store.erasure.rows import Item
from serving.store.files import batches, files
from serving.store.files.batches import Reading
from serving.store.files.records import ACTIVE, FileRecord
from serving.store.records import Json

REQUESTS = "batch"
ANSWERS = "batch_output"
Talk = tuple[str | None, str]
"""Line of business, None for the base, and conversation."""
Matches = Callable[[Any], bool]


class Filtered(NamedTuple):
    """What a file is without some lines: how many went, how many are left, and their bytes."""

    gone: int
    lines: int
    size: int


def is_request_of(value: Any, what: Target, talks: Collection[Talk]) -> bool:
    """Whether a line of a batch's input is of what is erased.

    Args:
        value: The line.
        what: The conversation or the person.
        talks: The conversations of the person.
    """
    body = value.get("body") if isinstance(value, dict) else None
    if not isinstance(body, dict):
        return False
    lob = str(body.get("lob") or body.get("model") or "").partition("@")[0]
    if what.lob not in (None, lob):
        return False
    talk = body.get("conversation_id")
    if what.kind == "conversation" and talk == what.name:
        return True
    if what.kind == "person" and what.name in tombstones.persons(body):
        return True
    return isinstance(talk, str) and (lob, talk) in talks


def is_answer_of(value: Any, custom_ids: Collection[str], ids: Collection[str]) -> bool:
    """Whether a line of a batch's output answers an erased request, or is an erased interaction."""
    if not isinstance(value, dict):
        return False
    if value.get("custom_id") in custom_ids:
        return True
    response = value.get("response")
    body = response.get("body") if isinstance(response, dict) else None
    return isinstance(body, dict) and body.get("id") in ids


async def erase(
    db: Database, storage: FileStorage, what: Target, items: Sequence[Item]
) -> tuple[Json, list[str]]:
    """Rewrite the files that hold lines of what is erased; one that keeps none is deleted.

    Answers go before the requests that tell whose they are, so a call that was killed is repeated.

    Args:
        db: The store.
        storage: Where the bytes lie.
        what: What is erased.
        items: Its interactions, as far as the store had them.

    Returns:
        How many files were rewritten, deleted, and lines taken out; and what it waits for: batches
        that still read such a line.
    """
    counts = {"files": 0, "files_deleted": 0, "file_lines": 0}
    waiting: list[str] = []
    ids = {item.interaction_id for item in items}
    talks = {_talk(item) for item in items if item.conversation_id is not None}
    there = {
        file.id: file
        for file in await files.everything(db)
        if what.lob is None or _may_hold(what.lob, file)
    }
    reading: dict[str, list[Reading]] = defaultdict(list)
    for batch in await batches.reading(db):
        reading[batch.input_file_id].append(batch)
    answers: dict[str, set[str]] = {id_: set() for id_, f in there.items() if f.purpose == ANSWERS}
    requests: list[FileRecord] = []
    for file in there.values():
        if file.purpose != REQUESTS:
            continue
        custom_ids = await _custom_ids(storage, file, what, talks)
        if not custom_ids:
            continue
        active = [batch.id for batch in reading[file.id] if batch.status in ACTIVE]
        if active:
            waiting += [f"{id_}, which still reads {file.id}" for id_ in active]
            continue
        requests.append(file)
        for batch in reading[file.id]:
            for output in (batch.output_file_id, batch.error_file_id):
                if output in answers:
                    answers[output] |= custom_ids
    for id_, custom_ids in answers.items():
        if custom_ids or ids:
            goes = partial(is_answer_of, custom_ids=custom_ids, ids=ids)
            await _rewrite(db, storage, there[id_], counts, goes)
    for file in requests:
        await _rewrite(db, storage, file, counts, lambda v: is_request_of(v, what, talks))
    return dict(counts), waiting


def _may_hold(lob: str, file: FileRecord) -> bool:
    scope = json.loads(file.scope)
    return lob in scope or "*" in scope


def _talk(item: Item) -> Talk:
    lob = item.scope.partition("/")[0]
    return (None if lob == "None" else lob), str(item.conversation_id)


async def _custom_ids(
    storage: FileStorage, file: FileRecord, what: Target, talks: Collection[Talk]
) -> set[str]:
    try:
        source = await storage.open(file.id)
    except NotFound:
        return set()

    def read() -> set[str]:
        with source:
            values = (_value(line) for line in source)
            return {str(v["custom_id"]) for v in values if is_request_of(v, what, talks)}

    return await asyncio.to_thread(read)


async def _rewrite(
    db: Database, storage: FileStorage, file: FileRecord, counts: dict[str, int], goes: Matches
) -> None:
    try:
        source = await storage.open(file.id)
    except NotFound:
        return
    with tempfile.TemporaryFile() as spool:
        done = await asyncio.to_thread(_filtered, source, spool, goes)
        if not done.gone:
            return
        if done.lines:
            spool.seek(0)
            await storage.put(file.id, spool)
            await files.rewritten(db, file.id, size=done.size, lines=done.lines)
        else:
            await files.hide(db, file.id)
            await storage.delete(file.id)
            await files.forget(db, file.id)
    counts["files" if done.lines else "files_deleted"] += 1
    counts["file_lines"] += done.gone


def _filtered(source: IO[bytes], target: IO[bytes], goes: Matches) -> Filtered:
    """Copy the lines that stay; blank ones do not."""
    gone, lines, size = 0, 0, 0
    with source:
        for line in source:
            if not line.strip():
                continue
            if goes(_value(line)):
                gone += 1
                continue
            lines += 1
            size += target.write(line)
    return Filtered(gone, lines, size)


def _value(line: bytes) -> Any:
    try:
        return json.loads(line)  # reads whatever an upload may hold, such as lone surrogates
    except ValueError:
        return None
