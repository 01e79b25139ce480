import asyncio
import socket
import sqlite3
import ssl
from pathlib import Path

import certifi
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from serving import errors, ports
from serving.errors import ConfigError, Conflict, InvalidRequest, StoreUnavailable
from serving.store import audit, datasets, interactions
from serving.store.connection import _verified, parse_url
from serving.store.database import Database
from serving.store.records import DatasetRecord


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sqlite:///data/store.sqlite", "sqlite+aiosqlite"),
        ("sqlite+aiosqlite:////var/store.sqlite", "sqlite+aiosqlite"),
        ("postgres://host/name", "postgresql+asyncpg"),
        ("postgresql://user:pass@host:5432/name", "postgresql+asyncpg"),
        ("postgresql+psycopg://host/name", "postgresql+asyncpg"),
    ],
)
def test_urls_get_our_driver(url: str, driver: str) -> None:
    assert parse_url(url).drivername == driver


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("store.sqlite", "no database URL"),
        ("mysql://host/name", "use sqlite:///file or postgresql://"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
    ],
)
def test_other_urls_are_refused_with_the_fix(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Database(url)


@pytest.mark.parametrize(("mode", "compares"), [("verify-full", True), ("verify-ca", False)])
async def test_a_certificate_authority_is_asked_of_postgres(mode: str, compares: bool) -> None:
    ca = certifi.where()
    context = _verified(parse_url(f"postgresql://host/name?sslmode={mode}&sslrootcert={ca}"))
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, compares)
    with pytest.raises(ConfigError, match=r"sslrootcert /no/such cannot be read"):
        Database("postgresql://host/name?sslrootcert=/no/such")
    port = ports.free()
    db = Database(f"postgresql://u@127.0.0.1:{port}/name?sslmode={mode}&sslrootcert={ca}")
    with pytest.raises(StoreUnavailable):  # the driver takes the options: it only cannot connect
        await db.open()
    await db.close()


def test_libpq_sslmode_is_understood() -> None:
    assert parse_url("postgresql://host/name?sslmode=require").query == {"ssl": "require"}


def test_a_password_is_never_shown() -> None:
    assert "secret" not in repr(Database("postgresql://user:secret@host/name"))


def test_a_password_may_be_named_and_hold_any_character(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("p@ss/w:rd%\n")
    monkeypatch.setenv("DB_HOST", "db.example")
    found = Database(f"postgresql://me:${{file:{file}}}@${{DB_HOST}}:5433/name").url
    assert (found.password, found.host, found.port) == ("p@ss/w:rd%", "db.example", 5433)
    monkeypatch.setenv("DB_URL", "postgresql://me:word@host/name")
    assert Database("${DB_URL}").url.host == "host"
    with pytest.raises(ConfigError, match=r"store\.url.*NOWHERE is not set"):
        Database("postgresql://me:${NOWHERE}@host/name")


def test_a_url_that_is_none_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_URL", "me:hunter2@host")
    with pytest.raises(ConfigError, match=r"store\.url is no database URL") as refused:
        Database("${DB_URL}")
    assert "hunter2" not in str(refused.value)


async def test_a_failed_transaction_leaves_nothing(db: Database) -> None:
    async def fail() -> None:
        async with db.session() as connection:
            await audit.append(connection, None, "act", "target", {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await audit.tail(db) == []


async def test_a_reader_keeps_nothing(db: Database) -> None:
    async with db.reader() as connection:
        await audit.append(connection, None, "act", "target", {})
    assert await audit.tail(db) == []


async def test_a_cancelled_transaction_leaves_nothing_and_blocks_nobody(db: Database) -> None:
    entered = asyncio.Event()

    async def hang() -> None:
        async with db.session() as connection:
            await audit.append(connection, None, "act", "target", {})
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await audit.write(db, "key_1", "act", "other", {"n": 1})
    assert [entry.target for entry in await audit.tail(db)] == ["other"]


async def test_the_audit_is_newest_first(db: Database) -> None:
    for number in range(3):
        await audit.write(db, None, "act", str(number), {})
    assert [entry.target for entry in await audit.tail(db, 2)] == ["2", "1"]


async def test_a_value_that_does_not_fit_is_no_outage(copied_postgres_url: str) -> None:
    db = Database(copied_postgres_url)
    with pytest.raises(InvalidRequest, match="cannot hold"):
        await audit.write(db, None, "act", "nul \0", {})
    await db.close()


async def test_a_dataset_is_stored_once(db: Database) -> None:
    record = DatasetRecord(id="5a" * 32, lob="care", uri="file:///d", manifest={"rows": 3})
    assert await datasets.save(db, record)
    assert not await datasets.save(db, record.model_copy(update={"uri": "other"}))
    assert await datasets.get(db, record.id) == record
    assert await datasets.get(db, "none") is None


async def test_a_broken_constraint_is_a_conflict(db: Database) -> None:
    with pytest.raises(Conflict):
        async with db.session() as connection:
            await connection.execute(
                text(
                    "INSERT INTO feedback (interaction_id, client_key, key_id, created_at)"
                    " VALUES ('none', 'k', '', 0)"
                )
            )


async def test_sqlite_survives_power_cuts_and_lets_readers_in(sqlite_db: Database) -> None:
    async with sqlite_db.session() as connection:
        for pragma, value in {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}.items():
            assert (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar() == value
        assert await interactions.count(sqlite_db) == 0  # while the writer is at work


async def test_a_write_waits_for_another_process(sqlite_db: Database) -> None:
    other = sqlite3.connect(str(sqlite_db.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(audit.write(sqlite_db, None, "act", "target", {}))
    await asyncio.sleep(0.2)
    assert not writing.done()
    other.execute("COMMIT")
    await writing
    other.close()


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        await Database(f"sqlite:///{tmp_path / 'file'}").open()


async def test_a_full_disk_is_unavailable_and_says_so(sqlite_db: Database, interaction) -> None:
    async with sqlite_db.session() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable, match="full"):
        await interactions.save(sqlite_db, [interaction(output="x" * 100_000)])


async def test_a_refused_connection_is_unavailable_without_the_password() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    db = Database(f"postgresql://user:secret@127.0.0.1:{port}/name")
    with pytest.raises(StoreUnavailable, match=r"does not answer") as caught:
        await db.open()
    assert "secret" not in str(caught.value)
    assert str(port) in str(caught.value), "whoever runs the server must learn which store"
    body = str(errors.body(caught.value))
    assert not [word for word in (str(port), "127.0.0.1", "user", "name") if word in body]
    with pytest.raises(StoreUnavailable):
        await interactions.count(db)


async def test_a_missing_database_is_unavailable(postgres: str) -> None:
    db = Database(postgres + "_missing")
    with pytest.raises(StoreUnavailable, match="_missing"):
        await db.open()


async def test_postgresql_may_restart(copied_postgres_url: str, postgres: str) -> None:
    import psycopg

    db = Database(copied_postgres_url)
    assert await interactions.count(db) == 0
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"

    def kill_all() -> None:
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(kill + " AND datname LIKE 'test%'")

    async def lose_the_connection() -> None:
        async with db.session() as connection:
            await asyncio.to_thread(kill_all)
            await connection.execute(text("SELECT 1"))

    with pytest.raises(StoreUnavailable):
        await lose_the_connection()
    assert await interactions.count(db) == 0
    await db.close()


async def test_a_start_may_wait_for_the_store(
    sqlite_db: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = 0

    async def open_third_time() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise StoreUnavailable("starting up")

    monkeypatch.setattr(sqlite_db, "open", open_third_time)
    monkeypatch.setattr("serving.store.database.RETRY_S", 0.01)
    await sqlite_db.open_when_up()
    assert tries == 3
    assert "ALARM: this start waits for the store" in caplog.text
    assert "Over: this start waits for the store" in caplog.text


async def test_a_statement_s_error_does_not_repeat_its_values(sqlite_db: Database) -> None:
    seeded = "my seeded secret sentence"
    async with sqlite_db.reader() as connection:
        with pytest.raises(DBAPIError) as caught:
            await connection.execute(text("SELECT * FROM nowhere WHERE a = :a"), {"a": seeded})
    assert "nowhere" in str(caught.value)
    assert seeded not in str(caught.value)
