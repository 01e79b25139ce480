"""What earlier releases wrote is read by this one: stores, journals, adapters, files, keys.

Each archive in ``tests/releases`` is a backup that its own release made, of a deployment with
something in every table (`tests/releases/make.py` says what).
"""

import asyncio
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import func, select

from serving import auth
from serving.adapters import artifacts
from serving.backup import restore
from serving.capture import Drainer, Journal
from serving.capture import drainer as drainer_module
from serving.capture.storing import Storing
from serving.encryption import keyring
from serving.encryption.sealing import Sealer
from serving.files.storage import FileStorage
from serving.store import (
    adapter_versions,
    audit,
    cycles,
    datasets,
    events,
    feedback,
    interactions,
    leases,
    routes,
    shadows,
)
from serving.store.database import Database
from serving.store.files import batches, files
from serving.store.migrations.newest import has_newest
from serving.store.privacy import redactions, vault
from serving.store.reviews import feed, queue
from serving.store.reviews.records import Status
from serving.store.tables import Base
from tests.releases.make import SAID, configuration
from tests.serving.backup.conftest import LINE
from tests.waiting import PATIENCE_S

RELEASES = Path(__file__).parents[2] / "releases"
PASSING = {"journals", "erasure_items"}
"""What these tables hold is gone when an erasure is done."""
ARCHIVES = sorted(RELEASES.glob("*.tar.gz"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drainer_module, "ADOPT_INTERVAL_S", 0.05)


@pytest.fixture
def url(archive: Path, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of an empty store of the archive's kind."""
    if archive.name.endswith("-sqlite.tar.gz"):
        yield f"sqlite:///{tmp_path / 'new' / 'store.sqlite'}"
    else:
        yield request.getfixturevalue("empty_postgres_url")


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def test_a_release_is_read_whole(archive: Path, url: str, tmp_path: Path) -> None:
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    settings = configuration(tmp_path / "new", url)
    asyncio.run(restore(settings, tmp_path / "backup"))
    plaintext = archive.with_name(archive.name.replace(".tar.gz", ".key")).read_text().strip()

    async def look() -> None:
        db = Database(settings.store.url)
        assert await has_newest(db.url)
        await db.open()
        try:
            key = await people(db, plaintext)
            await conversations(db, key)
            await artifacts_of(db)
            await drained(db)
        finally:
            await db.close()

    async def people(db: Database, plaintext: str) -> str:
        key = (await auth.load_all(db))[auth.hash_key(plaintext)]
        assert key.lobs == ("care",)
        assert (await queue.get(db, "review-one")).status == Status.APPROVED
        assert (await queue.get(db, "review-two")).status == Status.PENDING
        assert await feed.last(db) == 4
        head, broken = await audit.verify(db)
        assert broken is None
        assert head.number >= 8
        return key.id

    async def conversations(db: Database, key_id: str) -> None:
        assert await interactions.count(db) == 4
        for id_ in ("one", "two", "three"):
            found = await interactions.get(db, id_)
            assert found is not None
            assert found.output == "Please leave the building."
            assert found.messages == [{"role": "user", "content": "My router is on fire."}]
        (said,) = await feedback.for_interaction(db, "one")
        assert (said.key_id, said.edit) == (key_id, "Please leave the house.")
        assert [one.text for one in await events.for_interaction(db, "two")] == ["Leave."]
        (shadow,) = await shadows.for_line(db, lob="care", version="care@2", since=0.0)
        assert shadow.output == "Go."
        private = await interactions.get(db, "redacted")
        assert private is not None
        assert "4111 1111 1111 1111" not in private.model_dump_json()
        assert await redactions.get(db, "redacted") is not None
        assert settings.storage.keys is not None
        ring = keyring.read(settings.storage.keys)
        originals = await vault.read(db, ring, "redacted", who="test", reason="it is a test")
        assert SAID in str(originals)

    async def artifacts_of(db: Database) -> None:
        known = await adapter_versions.list_all(db)
        assert [(one.name, one.parent) for one in known] == [("care@1", None), ("care@2", "care@1")]
        for one in known:
            artifacts.fetch(one.uri, tmp_path / "cache", one.manifest_hash)
        route = (await routes.get_all(db))["care"]
        assert (route.live, route.previous) == ("care@2", "care@1")
        assert (await datasets.get(db, "0f" * 32)) is not None
        (cycle,) = await cycles.latest(db, "care")
        assert cycle.reason == "100 new feedback"
        assert await leases.acquire(db, "care", "another", 1.0) == 2
        ((batch, _),) = (await batches.unfinished(db)).items()
        assert await batches.done(db, batch) == {0}
        (file,) = await files.ids(db)
        with await FileStorage(settings.files.uri).open(file) as content:
            assert content.read() == LINE

    async def drained(db: Database) -> None:
        """The journals of then, in clear and sealed, without what was erased."""
        assert settings.storage.keys is not None
        ring = keyring.read(settings.storage.keys)
        folder = settings.journal.dir
        journal = Journal(folder, "a")
        sink = Storing(db, settings.lobs, ring)
        unseal = Sealer(ring, "journal").open
        drainer = Drainer(folder, journal, sink.interactions, unseal=unseal)
        task = asyncio.create_task(drainer.run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                while [one for one in folder.iterdir() if one.name != "a"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            journal.close()
        assert await interactions.get(db, "waiting-plain") is not None
        assert await interactions.get(db, "waiting-sealed") is not None
        assert await interactions.count(db) == 6

    asyncio.run(look())


def test_the_fixtures_leave_no_table_of_their_time_empty(tmp_path: Path) -> None:
    """Else a later step could lose what no test would miss."""
    assert len(ARCHIVES) >= 2
    for archive in (one for one in ARCHIVES if one.name.endswith("-sqlite.tar.gz")):
        with tarfile.open(archive) as packed:
            packed.extractall(tmp_path, filter="data")
        db = Database(f"sqlite:///{tmp_path / 'backup' / 'store.sqlite'}")

        async def empty(db: Database = db) -> list[str]:
            async with db.reader() as connection:
                raw = await connection.get_raw_connection()
                assert raw.driver_connection is not None
                names = await raw.driver_connection.execute_fetchall(
                    "SELECT name FROM sqlite_master WHERE type = 'table'"
                )
                there = {name for (name,) in names}
                counts = {
                    table.name: await connection.scalar(select(func.count()).select_from(table))
                    for table in Base.metadata.sorted_tables
                    if table.name in there
                }
            await db.close()
            return [name for name, n in counts.items() if not n and name not in PASSING]

        assert asyncio.run(empty()) == []
