"""Erasure of conversations and persons with the real journal, drainer and databases."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select
from typer.testing import CliRunner

from serving import cli
from serving.capture import Journal
from serving.capture.redacting import person_number
from serving.capture.storing import PURPOSE
from serving.encryption import keyring
from serving.erasure import run
from serving.files.storage import FileStorage
from serving.store import audit, feedback, interactions, shadows
from serving.store.database import Database
from serving.store.erasure import erasures
from serving.store.erasure.tables import ErasedItem, JournalRow
from serving.store.records import FeedbackRecord
from serving.store.shadows import ShadowRecord
from tests.serving.conftest import Interactions
from tests.serving.erasure.talk import SEED, holding, payload, replica, until_count, until_stored

LINE = "model: base\nlobs:\n  care: {}\n"


async def erased(db: Database, folder: Path, kind: str, name: str, **more: str) -> str:
    done, waiting = await run.erase(
        db,
        run.target(kind, name, more.get("lob"), None),
        reason="asked",
        key_id=None,
        journal_dir=folder,
        keyring=None,
        storage=FileStorage(str(folder.parent / "files")),
    )
    assert waiting == []
    return done.state


async def test_no_byte_of_a_conversation_is_left_while_others_go_on_writing(
    tmp_path: Path,
) -> None:
    db = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
    await db.open()
    folder = tmp_path / "journal"
    async with replica(db, folder) as journal, replica(db, folder, "b") as other:
        for number in range(60):
            said = SEED if number % 3 == 0 else f"something else {number}"
            (journal if number % 2 else other).append(
                payload(f"i-{number}", "c-1" if number % 3 == 0 else f"o-{number}", said)
            )
        await until_count(db, 60)
        await feedback.add(db, FeedbackRecord(interaction_id="i-0", client_key="k", edit=SEED))
        await shadows.add(
            db, ShadowRecord(interaction_id="i-3", version="care@2", output=SEED, latency_ms=1.0)
        )
        assert holding(tmp_path)
        writing = asyncio.create_task(keep_writing(journal, other))
        assert await erased(db, folder, "conversation", "c-1") == "done"
        writing.cancel()
        assert holding(tmp_path) == [], "while the replicas run"
        journal.append(payload("late", "c-1", SEED))  # and one that was still being answered
        journal.append(payload("after", "o-1", "fine"))
        await until_stored(db, "after")
        assert await interactions.get(db, "late") is None
        assert await erased(db, folder, "conversation", "c-1") == "done"
    await db.close()
    assert rows_in(tmp_path / "store.sqlite") >= 41


async def keep_writing(*journals: Journal) -> None:
    number = 0
    while True:
        number += 1
        journals[number % 2].append(payload(f"w-{number}", f"w-{number % 7}", f"text {number}"))
        await asyncio.sleep(0.005)


def rows_in(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return int(connection.execute("SELECT count(*) FROM interactions").fetchone()[0])


async def test_rows_of_every_table_go_and_those_of_others_stay(
    db: Database, tmp_path: Path, interaction: Interactions
) -> None:
    mine, other = interaction(conversation_id="c-1"), interaction(conversation_id="c-2")
    await interactions.save(db, [mine, other])
    for one in (mine, other):
        await feedback.add(db, FeedbackRecord(interaction_id=one.id, client_key=one.id, edit="x"))
    assert await erased(db, tmp_path, "conversation", "c-1") == "done"
    assert await interactions.get(db, mine.id) is None
    assert await feedback.for_interaction(db, mine.id) == []
    assert await interactions.get(db, other.id) == other
    assert len(await feedback.for_interaction(db, other.id)) == 1
    async with db.reader() as connection:
        assert (
            await connection.execute(select(func.count()).select_from(ErasedItem))
        ).scalar() == 0
    (erasure,) = await everything(db)
    assert erasure.target == {}
    assert erasure.counts["feedback"] == 1
    said = str([entry.model_dump() for entry in await audit.tail(db)])
    assert "c-1" not in said
    assert erasure.target_hash in said


async def everything(db: Database) -> list[erasures.Erasure]:
    return [await erasures.get(db, id_) for id_ in range(1, await erasures.newest(db) + 1)]


async def test_a_person_goes_with_every_conversation_and_may_come_again(
    db: Database, tmp_path: Path, interaction: Interactions
) -> None:
    anna = interaction(conversation_id="c-1", request={"user": 'an"na'}, created_at=10.0)
    reply = interaction(conversation_id="c-1", request={}, created_at=11.0)
    alone = interaction(conversation_id=None, request={"safety_identifier": 'an"na'}, created_at=1)
    quoted = interaction(conversation_id="c-2", request={"input": 'an"na'}, created_at=12.0)
    again = interaction(
        conversation_id="c-3", request={"user": 'an"na'}, created_at=time.time() + 3600
    )
    await interactions.save(db, [anna, reply, alone, quoted, again])
    assert await erased(db, tmp_path, "person", 'an"na') == "done"
    found = [await interactions.get(db, one.id) for one in (anna, reply, alone, quoted, again)]
    assert found == [None, None, None, quoted, again]


async def test_a_person_is_found_by_the_number_that_redaction_gave(
    db: Database, tmp_path: Path, interaction: Interactions
) -> None:
    ring = keyring.parse(keyring.new_line("k1"))
    number = person_number("anna", ring.derived("k1", PURPOSE))
    one = interaction(request={"user": number}, created_at=1.0)
    await interactions.save(db, [one])
    done, _ = await run.erase(
        db,
        run.target("person", "anna", None, ring),
        reason="asked",
        key_id=None,
        journal_dir=tmp_path,
        keyring=ring,
        storage=FileStorage(str(tmp_path / "files")),
    )
    assert done.state == "done"
    assert await interactions.get(db, one.id) is None


async def test_a_line_of_business_limits_an_erasure(
    db: Database, tmp_path: Path, interaction: Interactions
) -> None:
    care = interaction(lob="care", conversation_id="c-1")
    sales = interaction(lob="sales", conversation_id="c-1")
    await interactions.save(db, [care, sales])
    assert await erased(db, tmp_path, "conversation", "c-1", lob="care") == "done"
    assert await interactions.get(db, care.id) is None
    assert await interactions.get(db, sales.id) == sales


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from serving.erasure import run
from serving.files.storage import FileStorage
from serving.store.database import Database
from serving.store.erasure import {module} as module

real = module.{name}

async def killed(*args, **kwargs):
    if {after}:
        await real(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)

module.{name} = killed

async def main():
    db = Database(sys.argv[1])
    await db.open()
    await run.erase(db, run.target("conversation", "c-1", None, None), reason="asked", key_id=None,
                    journal_dir=Path(sys.argv[2]), keyring=None,
                    storage=FileStorage(sys.argv[3]))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("module", "name", "after"),
    [
        ("rows", "collect", True),
        ("rows", "delete_rows", False),
        ("rows", "delete_rows", True),
        ("erasures", "behind", False),
    ],
)
async def test_an_erasure_that_was_killed_goes_on_where_it_was(
    tmp_path: Path, module: str, name: str, after: bool
) -> None:
    db = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
    await db.open()
    folder = tmp_path / "journal"
    journal = Journal(folder, "dead")
    for number in range(5):
        journal.append(payload(f"j-{number}", "c-1", SEED))
    journal.append(payload("kept", "c-2", "another"))
    journal.close()
    async with replica(db, tmp_path / "elsewhere") as elsewhere:
        elsewhere.append(payload("i-1", "c-1", SEED))
        await until_stored(db, "i-1")
        await erasures.left(db, "a")
    program = KILLED.format(module=module, name=name, after=after)
    args = [sys.executable, "-P", "-c", program, f"sqlite:///{tmp_path / 'store.sqlite'}"]
    args += [str(folder), str(tmp_path / "files")]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = await asyncio.to_thread(subprocess.run, args, check=False, env=env)
    assert done.returncode == -signal.SIGKILL
    (left,) = await erasures.unfinished(db)
    assert left.state != "done"
    async with db.session() as connection:  # the replica of before is no more
        await connection.execute(delete(JournalRow))
    assert await erased(db, folder, "conversation", "c-1") == "done"
    await db.close()
    assert holding(tmp_path) == []
    assert b"another" in (folder / "dead" / "00000001.log").read_bytes()


def test_the_command_erases_and_says_what_went(tmp_path: Path) -> None:
    config = tmp_path / "switchboard.yaml"
    config.write_text(
        f"{LINE}store:\n  url: sqlite:///{tmp_path / 'store.sqlite'}\n"
        f"journal:\n  dir: {tmp_path / 'journal'}\n"
    )

    async def prepare() -> None:
        db = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
        await db.open()
        await db.close()

    asyncio.run(prepare())
    journal = Journal(tmp_path / "journal", "dead")
    journal.append(payload("i-1", "c-1", SEED))
    journal.close()
    runner = CliRunner()
    args = ["erase", "--conversation", "c-1", "--reason", "asked", "-c", str(config)]
    for expected in ("1 journalled", "1 journalled"):
        result = runner.invoke(cli.app, args)
        assert result.exit_code == 0, result.output
        assert "done" in result.output
        assert expected in result.output
    assert holding(tmp_path) == []
    resumed = runner.invoke(cli.app, ["erase", "--resume", "-c", str(config)])
    assert resumed.exit_code == 0, resumed.output
    refused = runner.invoke(cli.app, ["erase", "-c", str(config)])
    assert "Give one of" in str(refused.exception)
