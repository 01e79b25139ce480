"""Files and batches through OpenAI's own client, on the real server of two replicas."""

import json

import openai
import pytest
from openai.types import Batch

from tests.e2e.server import Server
from tests.waiting import until

pytestmark = pytest.mark.e2e
URL = "/v1/chat/completions"
FINAL = {"completed", "failed", "expired", "cancelled"}


def content(count: int, /, **body: object) -> bytes:
    messages = [{"role": "user", "content": "customer: my order is late"}]
    rows = [
        {
            "custom_id": f"line-{i}",
            "method": "POST",
            "url": URL,
            "body": {"model": "care", "messages": messages, "max_tokens": 8} | body,
        }
        for i in range(count)
    ]
    return "\n".join(map(json.dumps, rows)).encode()


def made(client: openai.OpenAI, data: bytes) -> Batch:
    file = client.files.create(file=("batch.jsonl", data), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=URL, completion_window="24h")


def ended(client: openai.OpenAI, id_: str) -> Batch:
    def look() -> Batch | None:
        batch = client.batches.retrieve(id_)
        return batch if batch.status in FINAL else None

    batch = until(look, f"{id_} ends", every_s=0.5)
    assert batch is not None
    return batch


def test_a_batch_is_uploaded_answered_and_read(server: Server) -> None:
    wrong = content(1, n="2").replace(b"line-0", b"wrong")
    with server.client() as client, server.http() as http:
        batch = ended(client, made(client, content(6) + b"\n" + wrong).id)
        assert batch.status == "completed"
        assert batch.request_counts is not None
        assert batch.output_file_id is not None
        assert batch.error_file_id is not None
        assert (batch.request_counts.completed, batch.request_counts.failed) == (6, 1)
        assert json.loads(client.files.content(batch.error_file_id).text)["custom_id"] == "wrong"
        rows = client.files.content(batch.output_file_id).text.splitlines()
        found = [json.loads(row) for row in rows]
        assert [row["custom_id"] for row in found] == [f"line-{i}" for i in range(6)]
        assert all(row["response"]["body"]["usage"]["completion_tokens"] > 0 for row in found)
        path = f"/v1/interactions/{found[0]['response']['body']['id']}"
        assert http.get(path).json()["lob"] == "care"
        assert client.files.delete(batch.output_file_id).deleted


def test_a_batch_is_cancelled(server: Server) -> None:
    with server.client() as client:
        batch = made(client, content(300, max_tokens=200, ignore_eos=True))
        assert client.batches.cancel(batch.id).status == "cancelling"
        assert ended(client, batch.id).status == "cancelled"


def test_a_faulty_line_is_named(server: Server) -> None:
    said = "line 2: custom_id 'line-0' is not unique"
    with server.client() as client, pytest.raises(openai.BadRequestError, match=said):
        made(client, content(1) + b"\n" + content(1))
