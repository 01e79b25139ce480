"""Putting a store under a key, or under the newest: all of it, while nobody has it open."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from serving import cli
from serving.encryption import keyring
from serving.erasure import compacting
from serving.errors import ConfigError
from serving.store import audit, interactions
from serving.store.connection import parse_url
from serving.store.drivers import files
from serving.store.records import InteractionRecord
from tests.serving.store.drivers.test_sqlcipher import Address, address, files_with, opened

Interactions = Callable[..., InteractionRecord]
__all__ = ["address"]


async def filled(url: str, record: InteractionRecord) -> None:
    db = await opened(url)
    await interactions.save(db, [record])
    await audit.write(db, None, "act", "before", {})
    await db.close()


async def test_a_plain_store_is_encrypted_whole(
    tmp_path: Path, address: Address, interaction: Interactions
) -> None:
    record = interaction(id="one", output="Silverstrand")
    await filled(f"sqlite:///{tmp_path / 'store.sqlite'}", record)
    assert files.encrypt(parse_url(address("a")))
    assert files_with(tmp_path, "Silverstrand") == []
    assert files_with(tmp_path, "") == ["keys of a", "store.sqlite"]
    db = await opened(address("a"))
    found = await interactions.get(db, "one")
    assert found is not None
    assert found.output == "Silverstrand"
    await audit.write(db, None, "act", "after", {})
    assert [entry.target for entry in await audit.tail(db)] == ["after", "before"]
    await db.close()


async def test_a_store_under_an_older_key_needs_only_the_newest_afterwards(
    address: Address, interaction: Interactions
) -> None:
    await filled(address("a"), interaction(id="one"))
    assert not files.encrypt(parse_url(address("a", "b")))
    db = await opened(address("b"))
    assert await interactions.get(db, "one") is not None
    await db.close()
    with pytest.raises(ConfigError, match="opens with no key"):
        await opened(address("a"))


HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM audit").fetchone()
print("open", flush=True)
sys.stdin.read()
"""


async def test_what_somebody_has_open_is_not_encrypted(
    tmp_path: Path, address: Address, interaction: Interactions
) -> None:
    plain = f"sqlite:///{tmp_path / 'store.sqlite'}"
    await filled(plain, interaction(id="one"))
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, str(tmp_path / "store.sqlite")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"open\n"
    try:
        with pytest.raises(ConfigError, match=r"cannot be encrypted: .*locked"):
            await asyncio.to_thread(files.encrypt, parse_url(address("a")))
    finally:
        await holder.communicate(b"")
    db = await opened(plain)
    assert await interactions.get(db, "one") is not None
    await db.close()


async def test_a_file_that_is_not_there_is_named(address: Address) -> None:
    with pytest.raises(ConfigError, match=r"store\.encrypt: .* is no file to encrypt"):
        files.encrypt(parse_url(address("a")))


async def test_an_erasure_compacts_an_encrypted_store(
    address: Address, interaction: Interactions
) -> None:
    await filled(address("a"), interaction(id="one"))
    db = await opened(address("a"))
    file = Path(db.url.database or "")
    async with db.session() as connection:
        await connection.exec_driver_sql("DELETE FROM interactions")
    await compacting.compact(db)
    assert file.with_name("store.sqlite-wal").stat().st_size == 0
    assert await interactions.count(db) == 0
    await db.close()


def test_commands_open_an_encrypted_store_and_encrypt_one(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "keys").write_text(keyring.new_line("a"))
    store: dict[str, object] = {"url": f"sqlite:///{tmp_path / 'store.sqlite'}"}

    def run(*args: str) -> str:
        content = {
            "model": str(tmp_path / "model"),
            "lobs": {"care": {}},
            "store": store,
            "storage": {"keys": {"file": str(tmp_path / "keys")}},
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
        file = ["--config", str(tmp_path / "config.yaml")]
        done = CliRunner().invoke(cli.app, [*args, *file], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    run("keys", "create", "--name", "before", "--role", "service", "--all")
    store["encrypt"] = True
    assert "The store is encrypted." in run("vault", "encrypt-store")
    run("keys", "create", "--name", "after", "--role", "service", "--all")
    listed = run("keys", "list")
    assert "before" in listed
    assert "after" in listed
    assert files_with(tmp_path, "before") == []
