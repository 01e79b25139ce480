import asyncio

import pytest

from serving.errors import Conflict, NotFound
from serving.store import feedback as feedbacks
from serving.store import interactions
from serving.store.database import Database


@pytest.fixture
async def saved(db: Database, interaction) -> str:
    record = interaction()
    await interactions.save(db, [record])
    return record.id


async def test_feedback_comes_back_as_sent_with_an_id(db: Database, saved: str, feedback) -> None:
    sent = feedback(saved, rating=0.5, edit="Better.", used=True, rejected=False, comment="ok")
    stored, created = await feedbacks.add(db, sent)
    assert created
    assert stored.id is not None
    assert stored.model_copy(update={"id": None}) == sent
    assert await feedbacks.for_interaction(db, saved) == [stored]


async def test_the_same_feedback_again_returns_the_first(
    db: Database, saved: str, feedback
) -> None:
    sent = feedback(saved, edit="nul \0")
    first, _ = await feedbacks.add(db, sent)
    again, created = await feedbacks.add(db, sent.model_copy(update={"created_at": 1.0}))
    assert not created
    assert again == first


@pytest.mark.parametrize("change", [{"rating": 0.1}, {"edit": "no"}, {"used": False}])
async def test_the_same_key_with_other_content_is_a_conflict(
    db: Database, saved: str, feedback, change
) -> None:
    sent = feedback(saved, rating=1.0, edit="yes", used=True)
    await feedbacks.add(db, sent)
    with pytest.raises(Conflict, match="client-1"):
        await feedbacks.add(db, sent.model_copy(update=change))
    assert len(await feedbacks.for_interaction(db, saved)) == 1


async def test_the_same_key_for_another_interaction_is_a_conflict(
    db: Database, saved: str, interaction, feedback
) -> None:
    other = interaction()
    await interactions.save(db, [other])
    await feedbacks.add(db, feedback(saved, client_key="k", rating=1.0))
    with pytest.raises(Conflict):
        await feedbacks.add(db, feedback(other.id, client_key="k", rating=1.0))


async def test_two_api_keys_do_not_share_client_keys(db: Database, saved: str, feedback) -> None:
    for key_id in ("key_1", "key_2", ""):
        _, created = await feedbacks.add(db, feedback(saved, client_key="k", key_id=key_id))
        assert created


async def test_an_unknown_interaction_is_not_found(db: Database, feedback) -> None:
    with pytest.raises(NotFound, match="chatcmpl-none"):
        await feedbacks.add(db, feedback("chatcmpl-none", rating=1.0))


async def test_the_same_feedback_at_once_is_stored_once(db: Database, saved: str, feedback) -> None:
    sent = feedback(saved, rating=1.0)
    results = await asyncio.gather(*(feedbacks.add(db, sent) for _ in range(8)))
    assert sum(created for _, created in results) == 1
    assert len({stored.id for stored, _ in results}) == 1


@pytest.mark.parametrize("rating", [-0.1, 1.1, float("nan")])
def test_a_rating_lies_between_0_and_1(feedback, rating: float) -> None:
    with pytest.raises(ValueError, match="rating"):
        feedback("id", rating=rating)
