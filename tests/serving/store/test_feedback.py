import asyncio

import pytest

from serving.errors import Conflict, NotFound, PermissionDenied
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


async def test_a_thumb_then_an_edit_need_no_key_and_are_one_record(
    db: Database, saved: str, feedback
) -> None:
    for said in ({"rating": 1.0}, {"edit": "Better."}, {"rating": 0.0}, {"comment": "hm"}):
        _, created = await feedbacks.add(db, feedback(saved, **said), has_key=False)
        assert created
        _, created = await feedbacks.add(db, feedback(saved, **said), has_key=False)
        assert not created
    (record,) = await feedbacks.for_interaction(db, saved)
    assert (record.rating, record.edit, record.comment) == (0.0, "Better.", "hm")


async def test_fifty_ratings_of_one_key_are_one_record_and_bounded(
    sqlite_db: Database, interaction, feedback
) -> None:
    record = interaction()
    await interactions.save(sqlite_db, [record])
    for number in range(feedbacks.POSTS_LIMIT):
        await feedbacks.add(sqlite_db, feedback(record.id, rating=number / 50))
    with pytest.raises(Conflict, match="20 times"):
        await feedbacks.add(sqlite_db, feedback(record.id, rating=1.0))
    (kept,) = await feedbacks.for_interaction(sqlite_db, record.id)
    assert kept.rating == 19 / 50


async def test_used_takes_back_rejected(db: Database, saved: str, feedback) -> None:
    await feedbacks.add(db, feedback(saved, rejected=True))
    await feedbacks.add(db, feedback(saved, used=True))
    (kept,) = await feedbacks.for_interaction(db, saved)
    assert (kept.used, kept.rejected) == (True, False)


@pytest.mark.parametrize("said", [{"rating": 0.0}, {"edit": "Poison."}, {"rejected": True}])
async def test_only_a_reviewer_overrules_another_key(
    db: Database, saved: str, feedback, said
) -> None:
    first = {"rating": 1.0, "used": True}
    await feedbacks.add(db, feedback(saved, key_id="key_1", **first))
    with pytest.raises(PermissionDenied, match="reviewer"):
        await feedbacks.add(db, feedback(saved, key_id="key_2", **said))
    await feedbacks.add(db, feedback(saved, key_id="key_2", comment="I agree", rating=1.0))
    await feedbacks.add(db, feedback(saved, key_id="key_3", **said), reviews=True)
    with pytest.raises(PermissionDenied, match="reviewer"):
        await feedbacks.add(db, feedback(saved, key_id="key_1", edit="Mine again."))
    kept = await feedbacks.for_interaction(db, saved)
    assert [record.key_id for record in kept] == ["key_1", "key_2", "key_3"]


async def test_two_keys_that_judge_at_once_do_not_both_succeed(
    db: Database, saved: str, feedback
) -> None:
    sent = [feedback(saved, key_id=f"key_{n}", edit=f"text {n}") for n in range(6)]
    done = await asyncio.gather(*(feedbacks.add(db, one) for one in sent), return_exceptions=True)
    assert sum(isinstance(one, PermissionDenied) for one in done) == 5


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


async def test_each_candidate_has_its_own_record(db: Database, saved: str, feedback) -> None:
    for index, said in ((0, {"rejected": True}), (1, {"used": True}), (1, {"edit": "Better."})):
        _, created = await feedbacks.add(db, feedback(saved, index=index, **said), has_key=False)
        assert created
    _, created = await feedbacks.add(db, feedback(saved, index=1, used=True), has_key=False)
    assert not created
    first, second = await feedbacks.for_interaction(db, saved)
    assert (first.index, first.used, first.rejected, first.edit) == (0, None, True, None)
    assert (second.index, second.used, second.rejected, second.edit) == (1, True, None, "Better.")


async def test_keys_may_judge_different_candidates_differently(
    db: Database, saved: str, feedback
) -> None:
    await feedbacks.add(db, feedback(saved, key_id="key_1", rejected=True))
    await feedbacks.add(db, feedback(saved, key_id="key_2", index=1, edit="Mine."))
    with pytest.raises(PermissionDenied, match="reviewer"):
        await feedbacks.add(db, feedback(saved, key_id="key_1", index=1, edit="Not mine."))


async def test_the_same_key_for_another_candidate_is_a_conflict(
    db: Database, saved: str, feedback
) -> None:
    await feedbacks.add(db, feedback(saved, client_key="k", rating=1.0))
    with pytest.raises(Conflict):
        await feedbacks.add(db, feedback(saved, client_key="k", rating=1.0, index=1))


@pytest.mark.parametrize("index", [-1, True, 1.0, "1", 2**31])
def test_a_candidate_is_named_by_a_whole_number(feedback, index: object) -> None:
    with pytest.raises(ValueError, match="index"):
        feedback("id", rating=1.0, index=index)
