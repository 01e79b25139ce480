"""Originals: sealed to their place, read with an audit entry, rotated, erased."""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml
from sqlalchemy import select, update
from typer.testing import CliRunner

from serving import cli
from serving.capture.interaction import Capture
from serving.capture.storing import Storing
from serving.config.lobs import Lob
from serving.encryption import keyring
from serving.encryption.keyring import KeyMissing, Keyring
from serving.errors import NotFound
from serving.store import audit, interactions
from serving.store.database import Database
from serving.store.privacy import vault
from serving.store.privacy.tables import VaultKey, VaultRow
from serving.store.reviews import queue
from tests.serving.store.reviews.test_removal import task

SAID = "My card is 4111 1111 1111 1111."
LOBS = {"care": Lob.model_validate({"store": {"redact": True, "keep_originals": True}})}
WHY = {"who": "ann", "reason": "a dispute"}


def ring(*ids: str) -> Keyring:
    return keyring.parse("\n".join(map(keyring.new_line, ids)))


def payload(id_: str, conversation: str | None = "c-1") -> bytes:
    body = {"model": "care", "messages": [{"role": "user", "content": SAID}]}
    capture = Capture(
        *(id_, "/v1/chat/completions", "chat", "care", "care", "care@7", "base", None, "r"),
        request=json.dumps(body).encode(),
        stream=False,
        conversation_id=conversation,
        turn_position=1,
        asked={"conversation": [{"role": "customer", "text": SAID}]},
    )
    answer = {"choices": [{"index": 0, "message": {"content": f"Thank you. {SAID}"}}]}
    capture.chunks.append(json.dumps(answer).encode())
    return capture.payload("completed")


async def test_an_original_comes_back_whole_and_the_audit_says_who_and_why(db: Database) -> None:
    keys = ring("a")
    await Storing(db, LOBS, keys).interactions([payload("one"), payload("two", None)])
    for id_ in ("one", "two"):
        stored = await interactions.get(db, id_)
        assert stored is not None
        assert "4111" not in stored.model_dump_json()
        found = await vault.read(db, keys, id_, **WHY)
        assert found["output"] == f"Thank you. {SAID}"
        assert found["messages"] == [{"role": "user", "content": SAID}]
        assert found["request"]["conversation"] == [{"role": "customer", "text": SAID}]
        (entry,) = await audit.about(db, id_, "read_original")
        assert (entry.detail["who"], entry.detail["reason"]) == ("ann", "a dispute")
        assert "output" in entry.detail["fields"]


async def test_a_line_that_keeps_none_has_none(db: Database) -> None:
    keys = ring("a")
    lobs = {"care": Lob.model_validate({"store": {"redact": True}})}
    await Storing(db, lobs, keys).interactions([payload("one")])
    with pytest.raises(NotFound):
        await vault.read(db, keys, "one", **WHY)


async def test_storing_again_changes_nothing(db: Database) -> None:
    keys = ring("a")
    sink = Storing(db, LOBS, keys)
    await sink.interactions([payload("one")])
    before = await rows(db)
    await sink.interactions([payload("one")])
    assert await rows(db) == before


async def test_replicas_that_store_a_conversation_at_once_share_its_data_key(
    db: Database, store_url: str
) -> None:
    keys, other = ring("a"), Database(store_url)
    await asyncio.gather(
        *(Storing(db, LOBS, keys).interactions([payload(f"a{n}")]) for n in range(5)),
        *(Storing(other, LOBS, keys).interactions([payload(f"b{n}")]) for n in range(5)),
    )
    for id_ in [f"{part}{n}" for part in "ab" for n in range(5)]:
        assert SAID in (await vault.read(db, keys, id_, **WHY))["output"]
    await other.close()


async def test_rotation_wraps_data_keys_anew_and_leaves_the_fields(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault, "PAGE", 2)
    both = ring("old", "new")
    old, new = (Keyring({name: both.keys[name]}) for name in ("old", "new"))
    talks = [(f"i{n}", f"c-{n}") for n in range(5)]
    await Storing(db, LOBS, old).interactions([payload(*one) for one in talks])
    before = await rows(db)
    with pytest.raises(KeyMissing, match="'old'"):
        await vault.rotate(db, new)
    assert await vault.rotate(db, both) == 5
    assert await vault.rotate(db, both) == 0
    assert await rows(db) == before
    for id_, _ in talks:
        assert SAID in (await vault.read(db, new, id_, **WHY))["output"]
    with pytest.raises(KeyMissing, match="'new'"):
        await vault.read(db, old, "i0", **WHY)


async def test_another_key_of_the_same_id_opens_nothing(db: Database) -> None:
    await Storing(db, LOBS, ring("a")).interactions([payload("one")])
    with pytest.raises(KeyMissing, match="another key"):
        await vault.read(db, ring("a"), "one", **WHY)


@pytest.mark.parametrize(
    "moved", [{"field": "request"}, {"interaction_id": "two"}], ids=["field", "interaction"]
)
async def test_a_sealed_field_opens_only_in_its_place(
    db: Database, moved: Mapping[str, str]
) -> None:
    keys = ring("a")
    await Storing(db, LOBS, keys).interactions([payload("one"), payload("two", "c-2")])
    place = {"interaction_id": "one", "field": "output"} | dict(moved)
    async with db.session() as connection:
        sealed = await connection.scalar(
            select(VaultRow.sealed).where(
                VaultRow.interaction_id == "one", VaultRow.field == "output"
            )
        )
        await connection.execute(update(VaultRow).filter_by(**place).values(sealed=sealed))
    with pytest.raises(KeyMissing, match="changed, or is another's"):
        await vault.read(db, keys, place["interaction_id"], **WHY)


async def test_without_its_data_key_a_conversation_is_gone_and_others_stay(db: Database) -> None:
    keys = ring("a")
    await Storing(db, LOBS, keys).interactions([payload("one"), payload("two", "c-2")])
    await vault.erase(db, "care/c-1", **WHY)
    with pytest.raises(NotFound):
        await vault.read(db, keys, "one", **WHY)
    assert SAID in (await vault.read(db, keys, "two", **WHY))["output"]
    assert await interactions.get(db, "one") is not None, "what is redacted stays"
    (entry,) = await audit.about(db, "care/c-1", "erase_originals")
    assert entry.detail["reason"] == "a dispute"
    with pytest.raises(NotFound):
        await vault.erase(db, "care/c-1", **WHY)


async def test_a_conversations_review_tasks_go_with_its_originals(db: Database) -> None:
    await Storing(db, LOBS, ring("a")).interactions([payload("one"), payload("two", "c-2")])
    mine, other = await task(db, "one", b"sealed"), await task(db, "two", b"sealed")
    await vault.erase(db, "care/c-1", **WHY)
    assert [one.id for one in await queue.find(db)] == [other]
    (entry,) = await audit.about(db, "care/c-1", "erase_originals")
    assert entry.detail["reviews"] == 1
    assert mine != other


async def rows(db: Database) -> list[tuple[str, str, bytes]]:
    columns = VaultRow.interaction_id, VaultRow.field, VaultRow.sealed
    async with db.reader() as connection:
        found = await connection.execute(select(*columns).order_by(*columns[:2]))
        assert await connection.scalar(select(VaultKey.scope).limit(1))
        return [(row[0], row[1], row[2]) for row in found]


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes a configuration with these keys."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")

    def write(keys: str) -> Path:
        (tmp_path / "keys").write_text(keys)
        path = tmp_path / "config.yaml"
        content = {
            "model": str(model),
            "lobs": {"care": {"store": {"redact": True, "keep_originals": True}}},
            "store": {"url": f"sqlite:///{tmp_path / 'store.sqlite'}"},
            "storage": {"keys": {"file": str(tmp_path / "keys")}},
        }
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def test_the_commands_make_a_key_read_rotate_and_erase(
    tmp_path: Path, config: Callable[[str], Path]
) -> None:
    def run(*args: str) -> str:
        done = CliRunner().invoke(cli.app, ["vault", *args], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    async def store(line: str) -> None:
        db = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
        await db.open()
        await Storing(db, LOBS, keyring.parse(line)).interactions([payload("one")])
        await db.close()

    old, new = run("new-key", "2025"), run("new-key", "2026")
    asyncio.run(store(old))
    file = str(config(old))
    assert SAID in run("read", "one", "--reason", "a dispute", "--config", file)
    file = str(config(old + new))
    assert "1 data keys" in run("rotate", "--config", file)
    file = str(config(new))
    assert SAID in run("read", "one", "--reason", "a dispute", "--config", file)
    assert "care/c-1" in run("erase", "care", "c-1", "--reason", "asked to", "--config", file)
    done = CliRunner().invoke(cli.app, ["vault", "read", "one", "--reason", "x", "--config", file])
    assert isinstance(done.exception, NotFound)
