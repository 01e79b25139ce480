"""Conversations with a text that must not be found again, and a place to look for it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from serving.capture import Drainer, Journal
from serving.capture.interaction import Capture
from serving.capture.storing import Storing
from serving.encryption.sealing import Sealer
from serving.erasure.journals import Cleaner
from serving.store import interactions
from serving.store.database import Database
from tests.waiting import PATIENCE_S

SEED = "the blue zebra's müllion is 7Q-44"
SPELLINGS = (SEED.encode(), json.dumps(SEED)[1:-1].encode())


def payload(
    id_: str, talk: str | None, said: str, user: str = "anna", *, at: float | None = None
) -> bytes:
    """A captured answer that repeats the question."""
    body = {"model": "care", "messages": [{"role": "user", "content": said}], "user": user}
    capture = Capture(
        *(id_, "/v1/chat/completions", "chat", "care", "care", "care@1", "base", "key_1", "r"),
        request=json.dumps(body).encode(),
        stream=False,
        conversation_id=talk,
        turn_position=1,
        asked={
            "conversation": [{"role": "customer", "text": said}],
            "previous": {"turns": 1, "summary": said},
        },
    )
    if at is not None:
        capture.created_at = at
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": said}}]}
    capture.chunks.append(json.dumps(answer).encode())
    return capture.payload("completed")


@asynccontextmanager
async def replica(db: Database, folder: Path, name: str = "a") -> AsyncIterator[Journal]:
    """A replica's journal with its drainer and its cleaner at work."""
    journal = Journal(folder, name)
    drainer = Drainer(folder, journal, Storing(db, {}, None).interactions, batch=4, wait_s=0.05)
    cleaner = Cleaner(db, drainer, folder, journal.folder.name, Sealer(None, "journal").open)
    tasks = [asyncio.create_task(drainer.run()), asyncio.create_task(cleaner.run())]
    try:
        yield journal
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        journal.close()


def holding(folder: Path, *texts: bytes) -> list[str]:
    """Return the files below a folder that hold one of these texts."""
    wanted = texts or SPELLINGS
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(text in path.read_bytes() for text in wanted)
    ]


async def until_count(db: Database, wanted: int) -> None:
    """Wait until the store has so many interactions."""
    deadline = time.monotonic() + PATIENCE_S
    while await interactions.count(db) < wanted:
        assert time.monotonic() < deadline, f"{wanted} interactions"
        await asyncio.sleep(0.02)


async def until_stored(db: Database, id_: str) -> None:
    """Wait until the store has this interaction."""
    deadline = time.monotonic() + PATIENCE_S
    while await interactions.get(db, id_) is None:
        assert time.monotonic() < deadline, id_
        await asyncio.sleep(0.02)
