"""Rows that have outlived their line's retention go, with what belongs to them, and no others."""

import time

import pytest
from sqlalchemy import func, select, update

from serving.config.retention import Retention
from serving.encryption import keyring
from serving.store import events, feedback, interactions, shadows
from serving.store.database import Database
from serving.store.erasure import aging
from serving.store.events import EventRecord
from serving.store.privacy import redactions, vault
from serving.store.privacy.redactions import RedactionRecord
from serving.store.privacy.tables import Redaction, VaultKey, VaultRow
from serving.store.privacy.vault import Originals
from serving.store.records import FeedbackRecord
from serving.store.reviews import queue
from serving.store.reviews.tables import ReviewRow
from serving.store.shadows import ShadowRecord
from serving.store.tables import Event, Feedback, Interaction, ShadowAnswer
from tests.serving.conftest import Interactions
from tests.serving.store.reviews.test_queue import let_pass
from tests.serving.store.reviews.test_removal import task

DAY = aging.DAY_S
NOW = time.time()
RING = keyring.parse(keyring.new_line("k1"))
TABLES = {
    "interactions": Interaction,
    "feedback": Feedback,
    "events": Event,
    "shadow_answers": ShadowAnswer,
    "reviews": ReviewRow,
    "vault": VaultRow,
}


async def store(
    db: Database, make: Interactions, id_: str, days: float, *, lob: str = "care", talk: str = "c"
) -> None:
    """An interaction of so many days ago with one row of everything of the same age."""
    at = NOW - days * DAY
    one = make(id=id_, lob=lob, created_at=at, conversation_id=talk)
    scope = f"{lob}/{talk}"

    async def beside(connection: object) -> None:
        known = RedactionRecord(interaction_id=id_, scope=scope, key_id="k1", version=1, known={})
        await redactions.add(db, connection, [known])  # type: ignore[arg-type]
        kept = [Originals(id_, scope, {"output": b'"original"'})]
        await vault.keep(db, connection, RING, kept)  # type: ignore[arg-type]

    await interactions.save(db, [one], beside)
    said = FeedbackRecord(interaction_id=id_, client_key=id_, key_id="k", created_at=at, used=True)
    await feedback.add(db, said)
    shown = {"event_id": id_, "key_id": "k", "interaction_id": id_, "at": at, "received_at": at}
    await events.add(
        db, [EventRecord(**shown, kind=events.Kind.DISPLAYED, detail={"candidates": [0]})]
    )
    answer = ShadowRecord(
        interaction_id=id_, version="care@2", output="x", latency_ms=1.0, created_at=at
    )
    await shadows.add(db, answer)


async def counts(db: Database) -> dict[str, int]:
    found = {}
    async with db.reader() as connection:
        for name, table in TABLES.items():
            count = select(func.count()).select_from(table)
            found[name] = (await connection.execute(count)).scalar_one()
    return found


async def sweep(db: Database, lob: str = "care", **days: float) -> dict[str, int]:
    """Delete until nothing is left to; what went is what was foretold."""
    before = aging.limits(Retention.model_validate(days), NOW)
    foretold = await aging.preview(db, lob, before)
    gone = dict.fromkeys(aging.KINDS, 0)
    while done := await aging.delete_batch(db, lob, before):
        gone |= {kind: gone[kind] + number for kind, number in done.items()}
    assert gone == foretold
    return gone


async def test_an_interaction_takes_all_that_belongs_to_it(
    db: Database, interaction: Interactions
) -> None:
    await store(db, interaction, "old", 31)
    await store(db, interaction, "young", 29)
    await store(db, interaction, "sales", 31, lob="sales")
    await task(db, "old", b"{}")
    gone = await sweep(db, interactions=30)
    assert gone == dict.fromkeys(aging.KINDS, 1)
    assert await counts(db) == dict.fromkeys(TABLES, 2) | {"reviews": 0}
    assert await interactions.get(db, "old") is None
    async with db.reader() as connection:
        left = (await connection.execute(select(Redaction.interaction_id))).scalars().all()
    assert sorted(left) == ["sales", "young"]
    assert await vault.read(db, RING, "young", who="me", reason="why") == {"output": "original"}


async def test_a_data_key_goes_with_its_conversations_last_original(
    db: Database, interaction: Interactions
) -> None:
    await store(db, interaction, "old", 31, talk="ended")
    await store(db, interaction, "new", 2, talk="goes-on")
    await store(db, interaction, "first", 31, talk="goes-on")
    assert (await sweep(db, vault=30))["vault"] == 2
    async with db.reader() as connection:
        assert (await connection.execute(select(VaultKey.scope))).scalars().all() == [
            "care/goes-on"
        ]
    assert await counts(db) == dict.fromkeys(TABLES, 3) | {"vault": 1, "reviews": 0}


@pytest.mark.parametrize("kind", ["feedback", "events", "shadow_answers"])
async def test_a_kind_has_a_limit_of_its_own(
    db: Database, interaction: Interactions, kind: str
) -> None:
    await store(db, interaction, "old", 31)
    await store(db, interaction, "young", 29)
    gone = await sweep(db, **{kind: 30})
    assert gone == dict.fromkeys(aging.KINDS, 0) | {kind: 1}
    assert await counts(db) == dict.fromkeys(TABLES, 2) | {kind: 1, "reviews": 0}


async def test_what_has_no_limit_is_kept(db: Database, interaction: Interactions) -> None:
    await store(db, interaction, "old", 3000)
    assert await sweep(db) == dict.fromkeys(aging.KINDS, 0)
    assert aging.limits(Retention()) == {}


async def test_a_task_goes_once_it_is_feedback_or_expired(db: Database) -> None:
    waits, decided, taught, over = [
        await task(db, one, b"{}") for one in ("waits", "decided", "taught", "over")
    ]
    for one in (decided, taught):
        await queue.claim(db, one, "ann", 10)
        await queue.decide(db, one, "ann", queue.Decision.APPROVE, b"{}")
    await queue.taught(db, taught)
    await let_pass(db, 40 * DAY)
    async with db.session() as connection:
        moved = {"decided_at": ReviewRow.decided_at - 40 * DAY}
        await connection.execute(update(ReviewRow).values(moved))
    await queue.advance(db, over)
    assert (await sweep(db, reviews=50))["reviews"] == 0
    assert (await sweep(db, reviews=30))["reviews"] == 2
    assert sorted(one.id for one in await queue.find(db)) == sorted([waits, decided])


async def test_batches_are_small(
    db: Database, interaction: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aging, "BATCH", 2)
    for number in range(5):
        await store(db, interaction, f"old-{number}", 31)
    before = aging.limits(Retention(interactions=30), NOW)
    sizes = []
    while done := await aging.delete_batch(db, "care", before):
        sizes.append(done["interactions"])
    assert sizes == [2, 2, 1]
