"""A store under a key, with the real SQLCipher: what lies on the disk, and who can read it."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from serving.config.settings import Settings
from serving.encryption import keyring
from serving.errors import ConfigError, Conflict
from serving.store import audit, interactions
from serving.store.database import Database
from serving.store.records import InteractionRecord

SAID = "My router in Silverstrand is on fire"
Interactions = Callable[..., InteractionRecord]
Address = Callable[..., str]


@pytest.fixture
def address(tmp_path: Path) -> Address:
    """Return a function that gives a store's address under keys of these ids; a, if none is."""
    lines: dict[str, str] = {}

    def of(*ids: str, file: str = "store.sqlite") -> str:
        for id_ in ids:
            lines.setdefault(id_, keyring.new_line(id_))
        keys = tmp_path / f"keys of {' and '.join(ids)}"
        keys.write_text("\n".join(lines[id_] for id_ in ids))
        return Settings.model_validate(
            {
                "model": "m",
                "lobs": {"care": {}},
                "store": {"url": f"sqlite:///{tmp_path / file}", "encrypt": True},
                "storage": {"keys": {"file": str(keys)}},
            }
        ).store_address

    return of


async def opened(url: str) -> Database:
    db = Database(url)
    await db.open_at_start()
    return db


def files_with(folder: Path, text: str) -> list[str]:
    return sorted(
        p.name for p in folder.rglob("*") if p.is_file() and text.encode() in p.read_bytes()
    )


async def test_no_byte_of_the_files_shows_what_is_stored(
    tmp_path: Path, address: Address, interaction: Interactions
) -> None:
    db = await opened(address("a"))
    for _ in range(50):
        await interactions.save(db, [interaction(output=SAID)])
    assert await interactions.count(db) == 50
    there = files_with(tmp_path, "")
    assert there == ["keys of a", "store.sqlite", "store.sqlite-shm", "store.sqlite-wal"]
    assert files_with(tmp_path, "Silverstrand") == []
    await db.close()
    assert (tmp_path / "store.sqlite").stat().st_size > 50 * len(SAID)
    for text in ("Silverstrand", "interactions", "CREATE TABLE", "SQLite format"):
        assert files_with(tmp_path, text) == []


async def test_a_plain_store_shows_it(tmp_path: Path, interaction: Interactions) -> None:
    db = await opened(f"sqlite:///{tmp_path / 'plain.sqlite'}")
    await interactions.save(db, [interaction(output=SAID)])
    await db.close()
    assert files_with(tmp_path, "Silverstrand") == ["plain.sqlite"]


async def test_a_restart_reads_it_back_also_when_a_newer_key_was_added(
    address: Address, interaction: Interactions
) -> None:
    first = await opened(address("a"))
    await interactions.save(first, [interaction(id="one", output=SAID)])
    await first.close()
    for ids in (("a",), ("a", "b")):
        db = await opened(address(*ids))
        found = await interactions.get(db, "one")
        assert found is not None
        assert found.output == SAID
        await db.close()


async def test_a_wrong_key_fails_the_start_and_changes_nothing(
    tmp_path: Path, address: Address
) -> None:
    await (await opened(address("a"))).close()
    before = (tmp_path / "store.sqlite").read_bytes()
    with pytest.raises(
        ConfigError, match=r"store\.encrypt: .*no key of storage\.keys, which has b"
    ):
        await opened(address("b"))
    assert (tmp_path / "store.sqlite").read_bytes() == before


async def test_a_plain_file_is_refused_and_told_apart(tmp_path: Path, address: Address) -> None:
    await (await opened(f"sqlite:///{tmp_path / 'store.sqlite'}")).close()
    with pytest.raises(ConfigError, match=r"store\.encrypt: .* is not encrypted.*encrypt-store"):
        await opened(address("a"))


async def test_an_encrypted_file_without_the_setting_fails_the_start(
    tmp_path: Path, address: Address
) -> None:
    await (await opened(address("a"))).close()
    with pytest.raises(ConfigError, match=r"store\.url: .*not a database.*store\.encrypt"):
        await opened(f"sqlite:///{tmp_path / 'store.sqlite'}")


async def test_a_key_that_is_not_there_fails_the_start(tmp_path: Path, address: Address) -> None:
    url = address("a")
    (tmp_path / "keys of a").unlink()
    with pytest.raises(ConfigError, match=r"storage\.keys\.file"):
        await opened(url)


async def test_without_the_driver_the_extra_is_named(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlcipher3", None)
    with pytest.raises(ConfigError, match=r"switchboard\[sqlcipher\]"):
        await opened(address("a"))


async def test_errors_are_the_same_as_without_a_key(
    address: Address, interaction: Interactions
) -> None:
    db = await opened(address("a"))
    await audit.write(db, None, "act", "target", {})
    with pytest.raises(Conflict):
        async with db.session() as connection:
            await connection.exec_driver_sql("INSERT INTO audit SELECT * FROM audit")
    await db.close()


async def test_many_may_make_the_tables_at_once(address: Address) -> None:
    url = address("a")
    dbs = await asyncio.gather(*(opened(url) for _ in range(4)))
    await asyncio.gather(*(audit.write(db, None, "act", str(n), {}) for n, db in enumerate(dbs)))
    assert {entry.target for entry in await audit.tail(dbs[0])} == set("0123")
    for db in dbs:
        await db.close()


WRITER = """
import asyncio, sys
from serving.store import audit
from serving.store.database import Database

async def write():
    db = Database(sys.argv[1])
    await db.open()
    for number in range(100_000):
        await audit.write(db, None, "an_act_to_see", str(number), {})
        print(number, flush=True)

asyncio.run(write())
"""


def test_a_killed_writer_loses_nothing_that_it_committed(tmp_path: Path, address: Address) -> None:
    url = address("a")
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    committed = [int(writer.stdout.readline()) for _ in range(20)]
    os.kill(writer.pid, signal.SIGKILL)
    committed += [int(line) for line in writer.stdout]
    writer.wait()
    writer.stdout.close()
    assert files_with(tmp_path, "an_act_to_see") == []
    assert files_with(tmp_path, "")[-1] == "store.sqlite-wal", "which a killed process leaves"

    async def read() -> set[int]:
        db = await opened(address("a", "b"))  # the newest is tried first, and is the wrong one
        found = {int(entry.target) for entry in await audit.tail(db, 100_000)}
        await db.close()
        return found

    found = asyncio.run(read())
    assert set(committed) <= found
    assert len(found) <= len(committed) + 1


def test_python_alone_cannot_read_it(tmp_path: Path, address: Address) -> None:
    async def make() -> None:
        await (await opened(address("a"))).close()

    asyncio.run(make())
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as connection:
        refused = pytest.raises(sqlite3.DatabaseError, match="not a database")
        with refused:
            connection.execute("SELECT * FROM interactions")
