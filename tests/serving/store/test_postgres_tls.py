"""The store over real TLS: what is verified, and what a refusal says, and to whom."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from serving import errors
from serving.errors import ConfigError, StoreUnavailable
from serving.store import audit
from serving.store.database import Database
from tests.postgres import Postgres, binaries, self_signed

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(certificate: Path) -> Iterator[Postgres]:
    """A PostgreSQL that takes connections by TLS only."""
    folder = binaries()
    if folder is None:
        pytest.skip("no PostgreSQL server binaries: neither `pg_config --bindir` nor /usr/lib has")
    server = Postgres(folder, certificate=certificate)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca"])
async def test_a_store_is_made_read_and_written_over_tls(
    server: Postgres, certificate: Path, mode: str
) -> None:
    db = Database(f"{server.url}?sslmode={mode}&sslrootcert={certificate}")
    await db.open_at_start()  # makes the tables the first time: migrations go the same way
    await audit.write(db, None, "act", mode, {})
    assert mode in [entry.target for entry in await audit.tail(db)]
    async with db.reader() as connection:
        query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert (await connection.execute(text(query))).scalar_one() is True
    await db.close()


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca"])
async def test_a_server_of_another_authority_is_refused_at_a_start(
    server: Postgres, tmp_path: Path, mode: str
) -> None:
    db = Database(f"{server.url}?sslmode={mode}&sslrootcert={self_signed(tmp_path)}")
    with pytest.raises(StoreUnavailable) as refused:
        await audit.tail(db)
    assert "CERTIFICATE_VERIFY_FAILED" in (refused.value.reason or "")
    told = str(errors.body(refused.value))
    assert not [word for word in ("127.0.0.1", "postgres", str(tmp_path)) if word in told]
    with pytest.raises(ConfigError, match=r"store\.url: .*CERTIFICATE_VERIFY_FAILED"):
        await db.open_at_start()  # no waiting heals it
    await db.close()


async def test_only_verify_full_compares_the_name(server: Postgres, certificate: Path) -> None:
    named = server.url.replace("127.0.0.1", "localhost")
    db = Database(f"{named}?sslmode=verify-ca&sslrootcert={certificate}")
    await db.open_at_start()
    await db.close()
    db = Database(f"{named}?sslmode=verify-full&sslrootcert={certificate}")
    with pytest.raises(ConfigError, match=r"store\.url: .*[Hh]ostname mismatch"):
        await db.open_at_start()
    await db.close()


async def test_without_tls_a_server_that_demands_it_is_refused_at_a_start(server: Postgres) -> None:
    db = Database(f"{server.url}?sslmode=disable")
    with pytest.raises(ConfigError, match=r"store\.url: .*no encryption"):
        await db.open_at_start()
    with pytest.raises(StoreUnavailable) as refused:
        await audit.tail(db)
    told = str(errors.body(refused.value))
    assert not [word for word in ("127.0.0.1", "postgres") if word in told]
    await db.close()


async def test_a_server_without_tls_is_not_trusted(postgres: str, certificate: Path) -> None:
    db = Database(f"{postgres}?sslmode=verify-full&sslrootcert={certificate}")
    with pytest.raises(StoreUnavailable) as refused:
        await audit.tail(db)
    assert "SSL" in (refused.value.reason or "")
    with pytest.raises(ConfigError, match=r"store\.url: .*SSL"):
        await db.open_at_start()
    await db.close()


async def test_verification_without_an_authority_is_refused_at_a_start(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # asyncpg looks for ~/.postgresql/root.crt
    db = Database(f"{server.url}?sslmode=verify-full")
    with pytest.raises(ConfigError, match=r"store\.url: .*root certificate file"):
        await db.open_at_start()
    await db.close()
