"""Two places for a deployment: one that is backed up, and an empty one to restore into."""

import asyncio
import io
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest

from serving.adapters.registry import Registry
from serving.capture import Journal
from serving.capture.interaction import Capture
from serving.config import settings as settings_module
from serving.config.settings import Settings
from serving.files.storage import FileStorage
from serving.store import interactions, routes
from serving.store.database import Database
from serving.store.files import files
from serving.store.files.records import FileRecord, new_id, scope_of
from serving.store.records import Action
from tests.serving.conftest import Adapters, Interactions

Result = TypeVar("Result")
LINE = b'{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {}}\n'


@dataclass
class Place:
    """A configuration's file, and what it says."""

    config: Path
    settings: Settings

    def with_store(self, act: Callable[[Database], Awaitable[Result]]) -> Result:
        """Open the store, do something, close it."""

        async def run() -> Result:
            db = Database(self.settings.store_address)
            await db.open()
            try:
                return await act(db)
            finally:
                await db.close()

        return asyncio.run(run())


def place(folder: Path, url: str) -> Place:
    """Write a configuration whose folders are in `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "prompts").mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    file = folder / "s.yaml"
    file.write_text(
        f"model: {folder}\nlobs: {{care: {{}}}}\nprompts: {folder / 'prompts'}\n"
        f"store: {{url: '{url}'}}\n"
        f"journal: {{dir: {folder / 'journal'}}}\n"
        f"adapters: {{uri: {folder / 'adapters'}, cache_dir: {folder / 'cache'}}}\n"
        f"files: {{uri: {folder / 'files'}}}\n"
    )
    return Place(file, settings_module.load(file))


@pytest.fixture(params=["sqlite", "postgresql"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Place, Place]]:
    """Return two places with empty stores of one kind."""
    folders = tmp_path / "old", tmp_path / "new"
    if request.param == "sqlite":
        old, new = (place(one, f"sqlite:///{one / 'store.sqlite'}") for one in folders)
        yield old, new
        return
    server: str = request.getfixturevalue("postgres")
    names = [f"backup_{uuid.uuid4().hex}" for _ in folders]
    with psycopg.connect(server, autocommit=True) as connection:
        for name in names:
            connection.execute(f"CREATE DATABASE {name}")
    urls = [f"{server.rpartition('/')[0]}/{name}" for name in names]
    yield place(folders[0], urls[0]), place(folders[1], urls[1])
    with psycopg.connect(server, autocommit=True) as connection:
        for name in names:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def filled(
    places: tuple[Place, Place], interaction: Interactions, adapter: Adapters
) -> tuple[Place, Place]:
    """Fill the first place: three interactions, a live adapter, a file, a journal of a dead one."""
    old, new = places
    settings = old.settings

    async def fill(db: Database) -> None:
        await interactions.save(db, [interaction() for _ in range(3)])
        registry = Registry(db, settings.adapters.uri)
        number = await registry.reserve("care")
        folder = adapter()
        (folder / "prompts").mkdir()
        (folder / "prompts" / "summary.jinja").write_text("{% block user %}OWN{% endblock %}")
        await registry.register(
            "care",
            number,
            folder,
            parent=None,
            base_model="base",
            base_hash="base-hash",
            dataset_id=None,
            recipe={},
            metrics={},
            rank=4,
        )
        await routes.switch(db, "care", live="care@1", action=Action.PROMOTE)
        await upload(settings, db)

    old.with_store(fill)
    journal = Journal(settings.journal.dir, "dead")
    journal.append(payload("waiting"))
    journal.close()
    return old, new


def payload(
    id_: str, text: str = "My router is on fire.", *, lob: str = "care", talk: str = "c-1"
) -> bytes:
    """Return an interaction as a journal holds it."""
    said = [{"role": "user", "content": text}]
    capture = Capture(
        *(id_, "/v1/chat/completions", "chat", lob, lob, f"{lob}@1", "base", "key_1", "r"),
        request=json.dumps({"model": lob, "messages": said}).encode(),
        stream=True,
        conversation_id=talk,
        turn_position=1,
    )
    delta = {"index": 0, "delta": {"content": "Please leave the building."}}
    capture.chunks.append(b"data: " + json.dumps({"choices": [delta]}).encode() + b"\n\n")
    return capture.payload("completed")


async def upload(settings: Settings, db: Database) -> str:
    """Store a file of a batch; return its id."""
    record = FileRecord(
        id=new_id("file-"),
        key_id="key_1",
        scope=scope_of(["care"]),
        purpose="batch",
        filename="night.jsonl",
        bytes=len(LINE),
        created_at=0.0,
        state="uploading",
        lines=1,
        urls=["/v1/chat/completions"],
    )
    await files.reserve(db, record, None)
    await FileStorage(settings.files.uri).put(record.id, io.BytesIO(LINE))
    await files.finish(db, record.id)
    return record.id
