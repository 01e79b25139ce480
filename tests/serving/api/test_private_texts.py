"""Feedback and events about a redacted interaction, over HTTP: the private value stays out."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.adapters.registry import Registry
from serving.api import app as api
from serving.auth import ApiKey
from serving.capture import Drainer, Journal
from serving.capture.health import Health
from serving.capture.interaction import Capture
from serving.capture.reviewing import Reviewing
from serving.capture.storing import Storing
from serving.config.lobs import Fallback, Lob
from serving.config.sections import Costs
from serving.embedding.models import Models
from serving.encryption import keyring
from serving.store import events, feedback, interactions
from serving.store.database import Database

CARD = "4111 1111 1111 1111"
ANSWER = f"We have charged your card {CARD}."


@pytest.fixture
async def client(sqlite_db: Database, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    lobs = {"care": Lob.model_validate({"store": {"redact": True}})}
    storing = Storing(sqlite_db, lobs, keyring.parse(keyring.new_line("a")))
    capture = Capture(
        *("one", "/v1/chat/completions", "chat", "care", "care", "care@7", "base", None, "r"),
        request=b'{"model": "care", "messages": [{"role": "user", "content": "Hello?"}]}',
        stream=False,
        conversation_id="c-1",
        turn_position=1,
    )
    choice = {"index": 0, "message": {"content": ANSWER}}
    capture.chunks.append(json.dumps({"choices": [choice]}).encode())
    await storing.interactions([capture.payload("completed")])
    journal = Journal(tmp_path / "journal", "a")
    drainer = Drainer(tmp_path / "journal", journal, storing.interactions)

    async def nothing(*_: Any) -> Any:
        return None

    app = api.build(
        db=sqlite_db,
        registry=Registry(sqlite_db, str(tmp_path)),
        drainer=drainer,
        health=Health("r", store=(), journal=journal, drainer=drainer, limit_bytes=1 << 20),
        storing=storing,
        adapters=None,  # type: ignore[arg-type]  # not asked here
        base="base",
        ready=nothing,
        rollouts=nothing,
        reviewing=Reviewing(sqlite_db, lobs, None, storing),
        models=Models(None, None, Fallback(), {}.__getitem__),
        costs=Costs(),
    )

    async def authenticated(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["key"] = ApiKey.anonymous()
        await app(scope, receive, send)

    transport = httpx.ASGITransport(authenticated)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
    journal.close()


async def test_an_edit_and_its_comment_are_stored_redacted_and_may_be_sent_again(
    client: httpx.AsyncClient, sqlite_db: Database
) -> None:
    body = {"id": "one", "edit": f"{ANSWER} Thanks!", "comment": f"card {CARD}", "key": "k"}
    for created in (True, False):
        answer = await client.post("/v1/feedback", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["created"] is created
    (stored,) = await feedback.for_interaction(sqlite_db, "one")
    assert CARD not in stored.model_dump_json()
    shown = await interactions.get(sqlite_db, "one")
    assert shown is not None
    assert stored.edit == f"{shown.output} Thanks!"


async def test_what_was_sent_as_suggested_counts_as_used_and_is_stored_redacted(
    client: httpx.AsyncClient, sqlite_db: Database
) -> None:
    event = {"event_id": "e", "id": "one", "at": 1.0, "type": "sent", "text": ANSWER}
    answer = await client.post("/v1/events", json={"events": [event]})
    assert answer.status_code == 200, answer.text
    (stored,) = await events.for_interaction(sqlite_db, "one")
    assert CARD not in (stored.text or "")
    (said,) = await feedback.for_interaction(sqlite_db, "one")
    assert (said.used, said.edit) == (True, None)
