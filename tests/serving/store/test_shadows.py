"""Shadow answers lie beside their interaction, and go with it."""

from collections.abc import Callable

from sqlalchemy import delete

from serving.store import interactions, shadows
from serving.store.database import Database
from serving.store.records import InteractionRecord
from serving.store.shadows import ShadowRecord
from serving.store.tables import Interaction

Interactions = Callable[..., InteractionRecord]


def answer(interaction_id: str, version: str = "care@8", at: float = 1.0) -> ShadowRecord:
    return ShadowRecord(
        interaction_id=interaction_id,
        version=version,
        output=f"of {version}",
        finish_reason="stop",
        latency_ms=2.5,
        created_at=at,
    )


async def test_an_answer_is_kept_once_and_found_by_line_and_version(
    db: Database, interaction: Interactions
) -> None:
    care, sales = interaction(), interaction(lob="sales")
    await interactions.save(db, [care, sales])
    first = answer(care.id)
    assert await shadows.add(db, first)
    assert await shadows.add(db, first.model_copy(update={"output": "another"}))
    assert await shadows.add(db, answer(care.id, "care@9", 2.0))
    assert await shadows.add(db, answer(sales.id, "sales@1"))
    assert await shadows.for_line(db, lob="care", version="care@8", since=1.0) == [first]
    assert await shadows.for_line(db, lob="care", version="care@8", since=1.5) == []
    assert await shadows.latest(db, "care") == "care@9"
    assert await shadows.latest(db, "other") is None


async def test_what_no_sql_text_holds_is_stored_all_the_same(
    db: Database, interaction: Interactions
) -> None:
    one = interaction()
    await interactions.save(db, [one])
    assert await shadows.add(db, answer(one.id).model_copy(update={"output": "a\0b"}))
    (found,) = await shadows.for_line(db, lob="care", version="care@8", since=0)
    assert found.output == "a\ufffdb"


async def test_without_its_interaction_an_answer_is_not_kept_and_goes_with_it(
    db: Database, interaction: Interactions
) -> None:
    one = interaction()
    assert not await shadows.add(db, answer(one.id))
    await interactions.save(db, [one])
    assert await shadows.add(db, answer(one.id))
    async with db.session() as connection:
        await connection.execute(delete(Interaction).where(Interaction.id == one.id))
    assert await shadows.latest(db, "care") is None
    assert not await shadows.add(db, answer(one.id))


async def test_shadow_answers_are_no_interactions(db: Database, interaction: Interactions) -> None:
    one = interaction()
    await interactions.save(db, [one])
    await shadows.add(db, answer(one.id))
    assert await interactions.count(db) == 1
    (served,) = await interactions.served(db, lob="care", since=0)
    assert (served.output, served.version) == (one.output, "care@7")
    assert await interactions.labelled(db, lob="care") == []
