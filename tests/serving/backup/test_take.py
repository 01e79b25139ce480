"""Backups of real databases, folders and journals, and what comes back."""

import asyncio
import shutil
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving.adapters import artifacts
from serving.backup import manifest, read, restore, take
from serving.capture import Drainer, Journal
from serving.capture.storing import Storing
from serving.cli import app
from serving.config import settings as settings_module
from serving.encryption import keyring
from serving.errors import Conflict
from serving.files.storage import FileStorage
from serving.store import adapter_versions, audit, interactions, routes
from serving.store.database import Database
from serving.store.files import files
from tests.serving.backup.conftest import LINE, Place, payload, place
from tests.waiting import PATIENCE_S


async def drain(place: Place, db: Database) -> None:
    """Do what a replica's start does with the journals that it finds."""
    journal = Journal(place.settings.journal.dir, "a")
    sink = Storing(db, place.settings.lobs, None)
    drainer = Drainer(place.settings.journal.dir, journal, sink.interactions)
    task = asyncio.create_task(drainer.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while [one for one in place.settings.journal.dir.iterdir() if one.name != "a"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        journal.close()


def test_all_that_was_stored_comes_back_elsewhere(
    filled: tuple[Place, Place], tmp_path: Path
) -> None:
    old, new = filled
    made = asyncio.run(take(old.settings, tmp_path / "b"))
    assert made.missing == []
    assert not list(tmp_path.glob(".*part"))
    shutil.rmtree(old.config.parent)  # nothing of the new place may lean on the old one
    restored = asyncio.run(restore(new.settings, tmp_path / "b"))
    assert restored == read(tmp_path / "b") == made

    async def look(db: Database) -> None:
        assert await interactions.count(db) == 3
        (version,) = await adapter_versions.list_all(db)
        assert version.uri == str(new.config.parent / "adapters" / "care" / "1")
        artifacts.fetch(version.uri, tmp_path, version.manifest_hash)
        assert (await routes.get_all(db))["care"].live == "care@1"
        (id_,) = await files.ids(db)
        with await FileStorage(new.settings.files.uri).open(id_) as file:
            assert file.read() == LINE
        assert (await audit.verify(db))[1] is None
        assert [one.action for one in await audit.tail(db, 2)] == ["restore", "backup"]
        await drain(new, db)
        assert await interactions.count(db) == 4
        assert await interactions.get(db, "waiting") is not None

    new.with_store(look)


def test_nothing_acknowledged_is_lost_while_others_write(
    filled: tuple[Place, Place], tmp_path: Path
) -> None:
    """Interactions are journalled, drained and backed up at once, then all that came before."""
    old, new = filled
    acknowledged: list[str] = []
    begin, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        db = Database(old.settings.store.url)
        await db.open()
        journal = Journal(old.settings.journal.dir, "living", segment_bytes=4096)
        sink = Storing(db, old.settings.lobs, None)
        drainer = Drainer(
            old.settings.journal.dir, journal, sink.interactions, batch=8, wait_s=0.02
        )
        task = asyncio.create_task(drainer.run())
        while not stop.is_set():
            id_ = f"load-{len(acknowledged)}"
            journal.append(payload(id_))
            acknowledged.append(id_)
            if len(acknowledged) == 50:
                begin.set()
            await asyncio.sleep(0.002)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        journal.close()
        await db.close()

    server = threading.Thread(target=asyncio.run, args=(serve(),))
    server.start()
    try:
        assert begin.wait(PATIENCE_S)
        before = list(acknowledged)
        asyncio.run(take(old.settings, tmp_path / "b"))
        after = len(acknowledged)
    finally:
        stop.set()
        server.join()
    assert after > len(before), "nobody wrote meanwhile"
    asyncio.run(restore(new.settings, tmp_path / "b"))

    async def look(db: Database) -> None:
        await drain(new, db)
        assert [id_ for id_ in before if await interactions.get(db, id_) is None] == []

    new.with_store(look)


def test_what_is_gone_is_named_and_the_rest_is_saved(
    filled: tuple[Place, Place], tmp_path: Path
) -> None:
    old, _ = filled
    shutil.rmtree(old.config.parent / "adapters" / "care" / "1")
    next((old.config.parent / "files").iterdir()).unlink()
    command = ["backup", str(tmp_path / "b"), "--config", str(old.config)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 6, result.output
    assert "missing: care@1" in result.output
    assert "its bytes are gone" in result.output
    assert len(read(tmp_path / "b").missing) == 2


def encrypted(folder: Path, keys: Path) -> Place:
    """A place whose store is under a key."""
    made = place(folder, f"sqlite:///{folder / 'store.sqlite'}")
    text = made.config.read_text().replace("store.sqlite'}", "store.sqlite', encrypt: true}")
    made.config.write_text(f"{text}storage: {{keys: {{file: {keys}}}}}\n")
    return Place(made.config, settings_module.load(made.config))


def test_an_encrypted_store_is_backed_up_under_its_key(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(keyring.new_line("a") + "\n")
    old, new = (encrypted(tmp_path / name, keys) for name in ("old", "new"))
    old.with_store(lambda db: audit.write(db, None, "act", "a-secret-word", {}))
    asyncio.run(take(old.settings, tmp_path / "b"))
    assert b"a-secret-word" not in (tmp_path / "b" / "store.sqlite").read_bytes()
    asyncio.run(restore(new.settings, tmp_path / "b"))
    assert b"a-secret-word" not in (tmp_path / "new" / "store.sqlite").read_bytes()
    acts = [one.action for one in new.with_store(audit.tail)]
    assert acts == ["restore", "backup", "act"]


def test_a_folder_that_is_there_is_not_touched(filled: tuple[Place, Place], tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(Conflict, match="name a new folder"):
        asyncio.run(take(filled[0].settings, tmp_path / "b"))
    assert not list((tmp_path / "b").iterdir())


def test_the_commands_say_what_they_did(filled: tuple[Place, Place], tmp_path: Path) -> None:
    old, new = filled
    folder = str(tmp_path / "b")
    made = CliRunner().invoke(app, ["backup", folder, "--config", str(old.config)])
    assert made.exit_code == 0, made.output
    assert "1 adapters, 1 files" in made.output
    whole = CliRunner().invoke(app, ["restore", folder, "--verify"])
    assert "is whole" in whole.output
    back = CliRunner().invoke(app, ["restore", folder, "--config", str(new.config)])
    assert back.exit_code == 0, back.output
    assert "Repeat the erasures" in back.output
    assert (tmp_path / "b" / manifest.FILE).is_file()
