"""Erasure in uploaded files and in what batches wrote, with real files and real databases."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from serving.erasure import run, uploads
from serving.errors import NotFound
from serving.files.storage import FileStorage
from serving.store import interactions
from serving.store.database import Database
from serving.store.erasure import erasures
from serving.store.erasure.erasures import Target
from serving.store.files import batches, files
from serving.store.files.records import FileRecord, new_id, scope_of
from tests.serving.conftest import Interactions
from tests.serving.erasure.talk import SEED, holding

Row = dict[str, Any]


def request(id_: str, **body: Any) -> Row:
    body = {"lob": "care", "conversation": [{"role": "customer", "text": SEED}]} | body
    return {"custom_id": id_, "method": "POST", "url": "/v1/suggestions", "body": body}


def answer(custom_id: str, id_: str) -> Row:
    body = {"id": id_, "choices": [{"message": {"content": SEED}}]}
    return {"id": "batch_req_1", "custom_id": custom_id, "response": {"body": body}, "error": None}


async def put(
    db: Database, storage: FileStorage, *rows: Row, purpose: str = "batch", lob: str = "care"
) -> FileRecord:
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    record = FileRecord(
        id=new_id("file-"),
        key_id="key_1",
        scope=scope_of([lob]),
        purpose=purpose,
        filename="in.jsonl",
        bytes=len(content),
        lines=len(rows),
        urls=["/v1/suggestions"],
    )
    await files.reserve(db, record, None)
    await storage.put(record.id, io.BytesIO(content))
    return await files.finish(db, record.id)


async def batch(db: Database, read: FileRecord, output: FileRecord | None = None) -> str:
    values = {
        "id": new_id("batch_"),
        "key_id": "key_1",
        "scope": read.scope,
        "endpoint": "/v1/suggestions",
        "input_file_id": read.id,
        "completion_window": "24h",
        "total": read.lines,
        "labels": {},
    }
    made = await batches.create(db, values, 60.0)
    if output is not None:
        await batches.move(db, made.id, ["validating"], "completed", output_file_id=output.id)
    return made.id


async def erased(
    db: Database, tmp_path: Path, kind: str, name: str, lob: str | None = None
) -> tuple[erasures.Erasure, list[str]]:
    return await run.erase(
        db,
        run.target(kind, name, lob, None),
        reason="asked",
        key_id=None,
        journal_dir=tmp_path / "journal",
        keyring=None,
        storage=FileStorage(str(tmp_path / "files")),
    )


async def content(storage: FileStorage, id_: str) -> list[str]:
    with await storage.open(id_) as file:
        return [json.loads(line)["custom_id"] for line in file]


@pytest.fixture
def storage(tmp_path: Path) -> FileStorage:
    return FileStorage(str(tmp_path / "files"))


async def test_a_conversations_lines_go_from_what_was_uploaded_and_written(
    db: Database, tmp_path: Path, storage: FileStorage
) -> None:
    read = await put(
        db,
        storage,
        request("mine", conversation_id="c-1"),
        request("other", conversation_id="c-2", conversation=[]),
    )
    wrote = await put(
        db,
        storage,
        answer("mine", "s-1"),
        answer("other", "s-2") | {"response": None},
        purpose="batch_output",
    )
    await batch(db, read, wrote)
    done, waiting = await erased(db, tmp_path, "conversation", "c-1")
    assert (done.state, waiting) == ("done", [])
    assert {k: n for k, n in done.counts.items() if n} == {"files": 2, "file_lines": 2}
    for file in (read, wrote):
        assert await content(storage, file.id) == ["other"]
        found = await files.get(db, file.id, None)
        assert (found.lines, found.bytes) == (1, (tmp_path / "files" / file.id).stat().st_size)
    assert holding(tmp_path / "files") == []


async def test_a_persons_lines_go_with_those_of_their_conversations(
    db: Database, tmp_path: Path, storage: FileStorage, interaction: Interactions
) -> None:
    said = interaction(conversation_id="c-1", request={"user": "anna"}, created_at=1.0)
    await interactions.save(db, [said])
    read = await put(
        db,
        storage,
        request("named", user="anna", conversation_id="c-9"),
        request("later", conversation_id="c-1"),
        request("other line", lob="sales", conversation_id="c-1"),
        request("other", user="bob", conversation_id="c-2"),
    )
    wrote = await put(
        *(db, storage, answer("x", said.id), answer("y", "s-9")), purpose="batch_output"
    )
    done, _ = await erased(db, tmp_path, "person", "anna")
    assert done.counts["file_lines"] == 3
    assert await content(storage, read.id) == ["other line", "other"]
    assert await content(storage, wrote.id) == ["y"], "known by the interaction's id alone"


async def test_a_file_that_keeps_no_line_is_deleted(
    db: Database, tmp_path: Path, storage: FileStorage
) -> None:
    read = await put(db, storage, request("mine", conversation_id="c-1"))
    done, _ = await erased(db, tmp_path, "conversation", "c-1")
    assert done.counts["files_deleted"] == 1
    with pytest.raises(NotFound):
        await files.get(db, read.id, None)
    with pytest.raises(NotFound):
        await storage.open(read.id)


async def test_a_batch_that_still_reads_a_line_is_waited_for(
    db: Database, tmp_path: Path, storage: FileStorage
) -> None:
    read = await put(
        db, storage, request("mine", conversation_id="c-1"), request("other", conversation_id="c-2")
    )
    id_ = await batch(db, read)
    done, waiting = await erased(db, tmp_path, "conversation", "c-1")
    assert done.state == "files"
    assert waiting == [f"{id_}, which still reads {read.id}"]
    assert await content(storage, read.id) == ["mine", "other"]
    await batches.move(db, id_, ["validating"], "cancelled")
    done, waiting = await erased(db, tmp_path, "conversation", "c-1")
    assert (done.state, waiting) == ("done", [])
    assert await content(storage, read.id) == ["other"]


async def test_another_line_of_business_keeps_its_files(
    db: Database, tmp_path: Path, storage: FileStorage
) -> None:
    sales = await put(db, storage, request("s", lob="sales", conversation_id="c-1"), lob="sales")
    both = await put(
        db,
        storage,
        request("s", lob="sales", conversation_id="c-1"),
        request("c", conversation_id="c-1"),
        lob="*",
    )
    await erased(db, tmp_path, "conversation", "c-1", "care")
    assert await content(storage, sales.id) == ["s"]
    assert await content(storage, both.id) == ["s"]


async def test_training_data_and_other_lines_stay(
    db: Database, tmp_path: Path, storage: FileStorage
) -> None:
    told = await put(db, storage, request("c-1"), purpose="fine-tune")
    named = await put(db, storage, request("x", conversation=[{"text": "c-1"}]))
    done, _ = await erased(db, tmp_path, "conversation", "c-1")
    assert done.counts["file_lines"] == 0
    assert await content(storage, told.id) == ["c-1"]
    assert await content(storage, named.id) == ["x"]


@pytest.mark.parametrize("line", [None, [], {"body": None}, {"body": []}, {"custom_id": "x"}])
def test_what_is_no_request_is_nobodys(line: Any) -> None:
    what = Target(kind="conversation", name="c-1")
    assert not uploads.is_request_of(line, what, set())
    assert not uploads.is_answer_of(line, set(), {"s-1"})


def test_a_chat_names_its_line_by_its_model() -> None:
    what = Target(kind="person", name="anna", lob="care")
    line = {"body": {"model": "care@3", "user": "anna"}}
    assert uploads.is_request_of(line, what, set())
    assert not uploads.is_request_of({"body": {"model": "sales", "user": "anna"}}, what, set())
