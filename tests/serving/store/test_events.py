from typing import Any

import pytest
from sqlalchemy import delete

from serving.errors import Conflict
from serving.store import events, interactions
from serving.store.database import Database
from serving.store.events import EventRecord
from serving.store.tables import Interaction


@pytest.fixture
async def saved(db: Database, interaction) -> str:
    record = interaction()
    await interactions.save(db, [record])
    return record.id


def event(interaction_id: str, event_id: str = "e1", **fields: Any) -> EventRecord:
    fields = {"kind": "sent", "at": 5.0, "text": "Hi", "key_id": "key_1"} | fields
    return EventRecord(interaction_id=interaction_id, event_id=event_id, **fields)


async def test_events_come_back_as_sent_by_the_clients_clock(db: Database, saved: str) -> None:
    late = event(saved, "e1", at=9.0, detail={"section": "reason"})
    early = event(saved, "e2", at=3.0, kind="inserted", text=None, index=1, detail={"rank": 2})
    assert await events.add(db, [late, early]) == 2
    assert await events.for_interaction(db, saved) == [early, late]


async def test_a_batch_that_comes_again_changes_nothing(db: Database, saved: str) -> None:
    batch = [event(saved, "e1\0", text="nul \0"), event(saved, "e2")]
    assert await events.add(db, batch[:1]) == 1
    again = [one.model_copy(update={"received_at": 1.0}) for one in batch]
    assert await events.add(db, [*again, again[1]]) == 1
    assert len(await events.for_interaction(db, saved)) == 2


async def test_another_key_has_ids_of_its_own(db: Database, saved: str) -> None:
    for key_id in ("key_1", "key_2", ""):
        assert await events.add(db, [event(saved, key_id=key_id, text=key_id)]) == 1


@pytest.mark.parametrize("change", [{"text": "Ho"}, {"at": 6.0}, {"index": 1}, {"kind": "edited"}])
async def test_an_id_with_other_content_is_a_conflict_and_nothing_of_its_batch_is_stored(
    db: Database, saved: str, change: dict[str, Any]
) -> None:
    await events.add(db, [event(saved)])
    for batch in (
        [event(saved, "new"), event(saved, **change)],
        [event(saved, "new"), event(saved, "new", **change)],
    ):
        with pytest.raises(Conflict, match="other content"):
            await events.add(db, batch)
    assert await events.for_interaction(db, saved) == [
        event(saved).model_copy(
            update={"received_at": (await events.for_interaction(db, saved))[0].received_at}
        )
    ]


async def test_events_go_with_their_interaction(db: Database, saved: str) -> None:
    await events.add(db, [event(saved)])
    async with db.session() as connection:
        await connection.execute(delete(Interaction).where(Interaction.id == saved))
    assert await events.for_interaction(db, saved) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"text": " zero "}, {"used": True}),
        ({"text": "other"}, {"edit": "other"}),
        ({"text": "one", "index": 1}, {"used": True}),
        ({"text": "zero", "index": 1}, {"edit": "zero"}),
        ({"kind": "inserted", "text": None, "index": 1}, {"used": True}),
        ({"kind": "dismissed", "text": None}, {"rejected": True}),
        ({"kind": "summary.saved", "text": "other"}, {"edit": "other"}),
        ({"kind": "summary.saved", "text": None}, None),
        ({"kind": "summary.saved", "text": "x", "detail": {"section": "reason"}}, None),
        ({"kind": "summary.changed", "text": "other"}, None),
        ({"kind": "displayed", "text": None}, None),
        ({"kind": "edited", "text": "other"}, None),
        ({"kind": "typed", "text": "other"}, {"edit": "other", "used": False}),
        ({"kind": "typed", "text": "zero"}, {"edit": "zero", "used": False}),
    ],
)
def test_an_event_is_the_feedback_that_says_the_same(
    interaction, fields: dict[str, Any], said: dict[str, Any] | None
) -> None:
    choices = [{"index": i, "message": {"content": text}} for i, text in enumerate(["zero", "one"])]
    record = interaction(response={"choices": choices}, output="zero")
    found = events.judgement(event(record.id, **fields), record)
    if said is None:
        assert found is None
        return
    assert found is not None
    names = ("used", "edit", "rejected", "rating")
    assert {n: v for n in names if (v := getattr(found, n)) is not None} == said
    assert found.index == fields.get("index", 0)
