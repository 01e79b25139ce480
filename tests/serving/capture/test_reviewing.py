"""Tasks with their texts: sealed where the line is redacted, decided once, and then feedback."""

import json
from typing import Any

import pytest

from serving.capture.interaction import Capture
from serving.capture.review_sweep import Sweep
from serving.capture.reviewing import Reviewing
from serving.capture.storing import Storing
from serving.config.lobs import Lob
from serving.encryption import keyring
from serving.encryption.keyring import KeyMissing, Keyring
from serving.errors import Conflict, InvalidRequest
from serving.store import feedback
from serving.store.database import Database
from serving.store.reviews import queue
from serving.store.reviews.records import Decision, Review, Status
from tests.serving.store.reviews.test_queue import let_pass

ANSWER = "I refund your card 4111 1111 1111 1111."
REDACTED = {"reviews": {"deadline_s": 1000}, "store": {"redact": True}}


def queues(db: Database, keys: Keyring | None = None, **lob: Any) -> Reviewing:
    lobs = {"care": Lob.model_validate(lob or {"reviews": {"deadline_s": 1000}})}
    return Reviewing(db, lobs, keys, Storing(db, lobs, keys))


async def held(reviewing: Reviewing, **context: Any) -> Review:
    return await reviewing.hold(
        lob="care",
        task="chat",
        version="care@7",
        interaction_id="one",
        key_id="asks",
        kinds=["amount"],
        context={"text": ANSWER, "index": 0, "response": {}} | context,
    )


async def store_interaction(reviewing: Reviewing, keys: Keyring | None = None) -> None:
    capture = Capture(
        *("one", "/v1/chat/completions", "chat", "care", "care", "care@7", "base", None, "r"),
        request=b'{"model": "care", "messages": [{"role": "user", "content": "Hello?"}]}',
        stream=False,
        conversation_id="c-1",
        turn_position=1,
    )
    choice = {"index": 0, "message": {"content": ANSWER}}
    capture.chunks.append(json.dumps({"choices": [choice]}).encode())
    await reviewing._storing.interactions([capture.payload("completed")])


async def decide(reviewing: Reviewing, review: Review, decision: str, **said: Any) -> Review:
    given = {"text": None, "reason": ""} | said
    return await reviewing.decide(review.id, "ann", Decision(decision), **given)


@pytest.mark.parametrize(
    ("decision", "text", "final", "given"),
    [
        ("approve", None, ANSWER, {"used": True, "edit": None, "rejected": None}),
        ("edit", "We look.", "We look.", {"used": True, "edit": "We look.", "rejected": None}),
        (
            "reject",
            None,
            "One moment, I am checking.",
            {"used": None, "edit": None, "rejected": True},
        ),
    ],
)
async def test_a_decision_is_final_and_the_reviewers_feedback(
    db: Database, decision: str, text: str | None, final: str, given: dict[str, Any]
) -> None:
    reviewing = queues(db)
    await store_interaction(reviewing)
    review = await held(reviewing)
    await reviewing.claim(review.id, "ann", None)
    decided = await decide(reviewing, review, decision, text=text, reason="why")
    assert decided.taught
    assert reviewing.final_text(decided) == final
    (one,) = await feedback.for_interaction(db, "one")
    assert (one.key_id, one.comment) == ("ann", "why")
    assert {name: getattr(one, name) for name in given} == given


async def test_the_same_decision_again_changes_nothing_and_another_is_refused(
    db: Database,
) -> None:
    reviewing = queues(db)
    review = await held(reviewing)
    await reviewing.claim(review.id, "ann", None)
    first = await decide(reviewing, review, "edit", text="We look.")
    again = await decide(reviewing, review, "edit", text="We look.")
    assert again.changed == first.changed
    for decision, text in (("edit", "We see."), ("approve", None)):
        with pytest.raises(Conflict):
            await decide(reviewing, review, decision, text=text)


async def test_a_decision_before_its_interaction_is_feedback_once_a_sweep_finds_that(
    db: Database,
) -> None:
    reviewing = queues(db)
    review = await held(reviewing)
    await reviewing.claim(review.id, "ann", None)
    assert not (await decide(reviewing, review, "approve")).taught
    await store_interaction(reviewing)
    await Sweep(reviewing, "r").once()
    assert (await queue.get(db, review.id)).taught
    assert [one.used for one in await feedback.for_interaction(db, "one")] == [True]


async def test_what_is_expired_says_the_fallback_text_and_teaches_nothing(db: Database) -> None:
    reviewing = queues(db, reviews={"deadline_s": 10, "escalation_s": 0, "fallback_text": "Wait."})
    review = await held(reviewing)
    assert reviewing.final_text(review) is None
    await store_interaction(reviewing)
    await let_pass(db, 11)
    expired = await queue.get(db, review.id)
    assert (expired.status, reviewing.final_text(expired)) == (Status.EXPIRED, "Wait.")
    await Sweep(reviewing, "r").once()
    assert await feedback.for_interaction(db, "one") == []


async def test_a_redacted_lines_task_is_sealed_and_its_edit_is_stored_redacted(
    db: Database,
) -> None:
    keys = keyring.parse(keyring.new_line("a"))
    reviewing = queues(db, keys, **REDACTED)
    await store_interaction(reviewing, keys)
    review = await held(reviewing)
    await reviewing.claim(review.id, "ann", None)
    edit = f"{ANSWER} Bye."
    decided = await decide(reviewing, review, "edit", text=edit)
    assert b"4111" not in decided.context + (decided.outcome or b"")
    assert reviewing.context(decided)["text"] == ANSWER
    assert reviewing.final_text(decided) == edit
    (one,) = await feedback.for_interaction(db, "one")
    assert one.edit is not None
    assert "4111" not in one.edit
    assert one.edit.endswith("Bye.")


async def test_without_its_key_a_redacted_line_makes_no_task(db: Database) -> None:
    reviewing = queues(db, None, **REDACTED)
    with pytest.raises(KeyMissing):
        await held(reviewing)
    assert await queue.find(db) == []


@pytest.mark.parametrize(
    ("decision", "text"), [("edit", None), ("edit", " "), ("approve", "x"), ("reject", "x")]
)
async def test_only_an_edit_has_a_text(db: Database, decision: str, text: str | None) -> None:
    reviewing = queues(db)
    review = await held(reviewing)
    await reviewing.claim(review.id, "ann", None)
    with pytest.raises(InvalidRequest, match="An edit has a text"):
        await decide(reviewing, review, decision, text=text)


async def test_what_has_no_answer_is_not_approved_and_its_rejection_teaches_nothing(
    db: Database,
) -> None:
    reviewing = queues(db)
    await store_interaction(reviewing)
    review = await held(reviewing, text=None, response=None)
    await reviewing.claim(review.id, "ann", None)
    with pytest.raises(InvalidRequest, match="no answer to approve"):
        await decide(reviewing, review, "approve")
    assert (await decide(reviewing, review, "reject")).taught
    assert await feedback.for_interaction(db, "one") == []
