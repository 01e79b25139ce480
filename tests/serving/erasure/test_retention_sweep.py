"""The sweep by age: one replica at a time, beside writers, and the command that foretells it."""

import asyncio
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY
from sqlalchemy import update
from typer.testing import CliRunner

from serving import cli
from serving.config.lobs import Lob
from serving.erasure.retention_sweep import LEASE, RetentionSweep
from serving.store import interactions, leases
from serving.store.database import Database
from serving.store.tables import Interaction
from tests.serving.conftest import Interactions
from tests.serving.erasure.talk import payload, replica, until_count
from tests.serving.store.erasure.test_aging import NOW, store
from tests.serving.store.test_leases import expire


def lobs(**retention: Any) -> dict[str, Lob]:
    return {"care": Lob.model_validate({"retention": retention}), "sales": Lob()}


def deleted() -> float:
    labels = {"lob": "care", "kind": "interactions"}
    return REGISTRY.get_sample_value("switchboard_retention_deleted_total", labels) or 0.0


async def test_of_several_replicas_one_sweeps_and_counts_what_went(
    db: Database, store_url: str, interaction: Interactions
) -> None:
    for number in range(7):
        await store(db, interaction, f"old-{number}", 31)
    await store(db, interaction, "young", 29)
    await store(db, interaction, "sales", 3000, lob="sales")
    others = [Database(store_url) for _ in range(3)]
    before = deleted()
    sweeps = [RetentionSweep(one, lobs(interactions=30), f"r{n}") for n, one in enumerate(others)]
    gone = await asyncio.gather(*(sweep.once(NOW) for sweep in sweeps))
    assert sum(one["care"]["interactions"] for one in gone if one) == 7
    assert len([one for one in gone if one]) == 1
    assert deleted() == before + 7
    assert await interactions.count(db) == 2
    for other in others:
        await other.close()


async def test_a_round_holds_the_lease_until_the_next_and_another_replica_takes_over(
    db: Database, interaction: Interactions
) -> None:
    first, second = (RetentionSweep(db, lobs(interactions=30), name) for name in "ab")
    assert await first.once(NOW) == {}
    await store(db, interaction, "old", 31)
    assert await second.once(NOW) == {}, "the round is not due"
    await expire(db, LEASE)
    assert (await second.once(NOW))["care"]["interactions"] == 1


async def test_a_sweep_goes_on_where_one_was_killed(
    db: Database, interaction: Interactions
) -> None:
    await store(db, interaction, "old", 31)
    assert await leases.acquire(db, LEASE, "killed", 10) is not None
    sweep = RetentionSweep(db, lobs(interactions=30), "r")
    assert await sweep.once(NOW) == {}
    await expire(db, LEASE)
    assert (await sweep.once(NOW))["care"]["interactions"] == 1


async def test_without_a_retention_nothing_is_looked_for_until_it_is_configured(
    db: Database, interaction: Interactions
) -> None:
    await store(db, interaction, "old", 31)
    sweep = RetentionSweep(db, lobs(), "r")
    assert await sweep.once(NOW) == {}
    assert await leases.holders(db) == {}
    sweep.configure(lobs(feedback=30))
    assert dict((await sweep.once(NOW))["care"]) == {"feedback": 1}


async def test_writers_go_on_while_rows_are_deleted(db: Database, tmp_path: Path) -> None:
    async with replica(db, tmp_path) as journal:
        for number in range(450):
            journal.append(payload(f"old-{number}", f"c-{number}", "old"))
        await until_count(db, 450)
        async with db.session() as connection:
            await connection.execute(update(Interaction).values(created_at=1.0))
        sweep = RetentionSweep(db, lobs(interactions=30), "r")
        sweeping = asyncio.create_task(sweep.once(NOW))
        number = 0
        while not sweeping.done():
            journal.append(payload(f"new-{number}", "c", "new"))
            number += 1
            await asyncio.sleep(0.005)
        assert (await sweeping)["care"]["interactions"] == 450
        await until_count(db, number)


def test_the_command_foretells_what_goes(tmp_path: Path, interaction: Interactions) -> None:
    config = tmp_path / "switchboard.yaml"
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    text = f"model: base\nprompts: {tmp_path}\nstore:\n  url: {url}\nlobs:\n  care: "

    async def prepare() -> None:
        db = Database(url)
        await db.open()
        await store(db, interaction, "old", 31)
        await store(db, interaction, "young", 3)
        await db.close()

    asyncio.run(prepare())
    config.write_text(text + "{}\n")
    said = CliRunner().invoke(cli.app, ["retention", "preview", "-c", str(config)])
    assert said.exit_code == 0, said.output
    assert "everything is kept" in said.output
    config.write_text(text + "{retention: {interactions: 30, feedback: 1}}\n")
    said = CliRunner().invoke(cli.app, ["retention", "preview", "-c", str(config)])
    (row,) = [line for line in said.output.splitlines() if "care" in line]
    assert row.replace("│", " ").split() == ["care", *"121101"]
    config.write_text(text + "{retention: {feedbak: 30}}\n")
    said = CliRunner().invoke(cli.app, ["retention", "preview", "-c", str(config)])
    assert "lobs.care.retention.feedbak: unknown key" in str(said.exception)
