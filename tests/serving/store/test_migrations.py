import asyncio
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, text

from serving.store import interactions
from serving.store.database import Database
from serving.store.migrations.newest import has_newest, newest
from serving.store.migrations.upgrade import config
from serving.store.records import InteractionRecord
from serving.store.tables import Base, Interaction


def open_once(url: str) -> None:
    async def run() -> None:
        db = Database(url)
        await db.open()
        await db.close()

    asyncio.run(run())


def downgrade(connection: Connection) -> None:
    before = config()
    before.attributes["connection"] = connection
    command.downgrade(before, "0005")


async def test_migrations_build_exactly_the_models(empty_url: str) -> None:
    db = Database(empty_url)
    await db.open()

    def differences(connection: Connection) -> list[object]:
        return compare_metadata(MigrationContext.configure(connection), Base.metadata)

    async with db.reader() as connection:
        assert await connection.run_sync(differences) == []
    await db.close()


async def test_opening_again_changes_nothing(empty_url: str) -> None:
    for _ in range(2):
        db = Database(empty_url)
        await db.open()
        async with db.reader() as connection:
            rows = await connection.execute(text("SELECT version_num FROM alembic_version"))
            assert rows.scalars().all() == [
                ScriptDirectory.from_config(config()).get_current_head()
            ]
        await db.close()


async def test_a_store_that_needs_no_step_is_opened_without_alembic(store_url: str) -> None:
    db = Database(store_url)
    await db.open()
    assert await has_newest(db.url)
    await db.close()
    program = (
        "import asyncio, sys\n"
        "from serving.store.database import Database\n"
        "asyncio.run(Database(sys.argv[1]).open())\n"
        "sys.exit('alembic' in sys.modules)"
    )
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-P", "-c", program, store_url], check=True
    )


async def test_the_newest_step_is_the_one_that_alembic_names(empty_url: str) -> None:
    assert newest() == ScriptDirectory.from_config(config()).get_current_head()
    assert not await has_newest(Database(empty_url).url)


async def test_interactions_from_before_fallbacks_have_no_steps(
    empty_url: str, interaction: Callable[[], InteractionRecord]
) -> None:
    db = Database(empty_url)
    await db.open()
    record = interaction()
    async with db.session() as connection:
        for table in (
            *("console_sessions", "flywheel_looks", "grades", "impact_reports"),
            *("cycles", "events", "flywheels", "leases", "shadow_answers"),
            *("redactions", "vault", "vault_keys"),
            *("review_counter", "review_events", "reviews"),
            *("erasure_items", "erasures", "tombstones", "erasure_hash_key", "journals"),
            *("audit_head", "key_networks"),
            *("batch_results", "batches", "files"),
            *("fine_tuning_checkpoints", "fine_tuning_events", "fine_tuning_jobs"),
            *("libraries", "library_versions", "library_entries", "library_vectors"),
        ):
            await connection.execute(text(f"DROP TABLE {table}"))
        for column in ("steps", "holdback", "shown_by_draw", "guards"):
            await connection.execute(text(f"ALTER TABLE interactions DROP COLUMN {column}"))
        await connection.execute(text('ALTER TABLE feedback DROP COLUMN "index"'))
        await connection.execute(text("ALTER TABLE audit DROP COLUMN hash"))
        for column in ("prompts", "upstream"):
            await connection.execute(text(f"ALTER TABLE adapter_versions DROP COLUMN {column}"))
        await connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        row = record.model_dump(exclude={"steps", "holdback", "shown_by_draw", "guards"})
        await connection.execute(insert(Interaction.__table__).values(row))
    await db.open()
    assert await interactions.get(db, record.id) == record
    await db.close()


async def test_interactions_from_before_the_holdback_were_not_drawn(
    empty_url: str, interaction: Callable[[], InteractionRecord]
) -> None:
    db = Database(empty_url)
    await db.open()
    record = interaction()
    await interactions.save(db, [record])
    async with db.session() as connection:
        await connection.run_sync(downgrade)
    assert not await has_newest(db.url)
    await db.open()
    found = await interactions.get(db, record.id)
    assert found == record
    assert (found.holdback, found.shown_by_draw, found.guards) == (None, None, [])
    await db.close()


@pytest.mark.parametrize("kind", ["processes", "threads", "tasks"])
async def test_many_may_open_a_fresh_database_at_once(empty_url: str, kind: str) -> None:
    if kind == "tasks":
        databases = [Database(empty_url) for _ in range(4)]
        await asyncio.gather(*(db.open() for db in databases))
        for db in databases:
            await db.close()
    elif kind == "processes":
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(3) as pool:
            pool.map(open_once, [empty_url] * 3)
            pool.close()
            pool.join()
    else:
        failures: list[BaseException] = []

        def attempt() -> None:
            try:
                open_once(empty_url)
            except BaseException as exc:
                failures.append(exc)

        threads = [threading.Thread(target=attempt) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert failures == []
    db = Database(empty_url)
    async with db.reader() as connection:
        rows = await connection.execute(text("SELECT count(*) FROM alembic_version"))
        assert rows.scalar_one() == 1
    await db.close()
