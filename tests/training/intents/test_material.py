"""What the store tells of intents: free ones, first turns, confirmed and corrected ones."""

from typing import Any

import orjson

from serving.store import feedback, interactions
from serving.store.database import Database
from serving.store.records import LabelledInteraction
from tests.training.records import labelled as row
from training.intents import material

FREE: dict[str, Any] = {"type": "string", "minLength": 1}
LIST: dict[str, Any] = {"enum": ["late", "refund", None]}


def insight(
    name: str, said: Any, *feedback_: dict[str, Any], form: Any = LIST, **fields: Any
) -> LabelledInteraction:
    schema = {"properties": {"intent": form}}
    request = {"response_format": {"json_schema": {"schema": schema}}} | fields.pop("request", {})
    output = said if isinstance(said, str) else orjson.dumps(said).decode()
    text = fields.pop("text", f"I am {name}.")
    return row(
        name,
        *feedback_,
        prompt=f"The conversation:\n0 Customer: {text}\n1 Agent: Hm.\n\nGive the JSON object.",
        task="insight",
        request=request,
        output=output,
        **fields,
    )


async def store(db: Database, *rows: LabelledInteraction) -> None:
    await interactions.save(db, [one.interaction for one in rows])
    for one in rows:
        for said in one.feedback:
            await feedback.add(db, said)


async def test_free_intents_go_before_turns_and_corrections_before_the_model(
    sqlite_db: Database,
) -> None:
    edit = {"edit": orjson.dumps({"intent": "a late parcel"}).decode()}
    await store(
        sqlite_db,
        insight("a", {"intent": "refund of 49 for anna@example.com"}, form=FREE),
        insight("b", {"intent": "wrong"}, edit, form=FREE),
        insight("c", '{"intent": "cut', form=FREE),
        insight("d", {"intent": "late"}),
        insight("old", {"intent": "older"}, form=FREE, created_at=1.0, conversation_id="c-a"),
        row("e", task="suggestion", prompt="customer: hello"),
    )
    found = await material.proposed_from(sqlite_db, "care", most=10)
    assert found.kind == "insights"
    texts = {one.conversation: one.text for one in found.said}
    assert texts == {"c-a": "refund of 49 for [EMAIL]", "c-b": "a late parcel"}


async def test_without_free_intents_each_conversation_s_first_turn_counts(
    sqlite_db: Database,
) -> None:
    await store(
        sqlite_db,
        insight("a", {"intent": "late"}, text="My mail is anna@example.com"),
        row(
            "b1",
            task="suggestion",
            prompt="customer: hi\nagent: yes?\ncustomer: it broke",
            conversation_id="c-b",
        ),
        row("b0", task="suggestion", prompt="customer: hi", conversation_id="c-b"),
        row("c", task="chat", prompt="Where is it?"),
        row("d", prompt="a prompt of one's own"),
    )
    found = await material.proposed_from(sqlite_db, "care", most=10)
    assert (found.kind, found.unread) == ("turns", 1)
    texts = {one.conversation: one.text for one in found.said}
    assert texts == {"c-a": "My mail is [EMAIL]", "c-b": "hi", "c-c": "Where is it?"}
    assert len((await material.proposed_from(sqlite_db, "care", most=2)).said) == 2
    assert (await material.proposed_from(sqlite_db, "sales", most=2)).said == ()


async def test_an_edit_corrects_and_a_use_confirms(sqlite_db: Database) -> None:
    guards = [{"guard": "input.injection", "kind": "injection", "action": "flag"}]
    to_none = {"edit": '{"intent": null}'}
    await store(
        sqlite_db,
        insight("a", {"intent": "late"}, {"edit": '{"intent": "refund"}'}),
        insight("b", {"intent": "late"}, {"used": True}),
        insight("c", {"intent": "late"}, {"rating": 0.9}),
        insight("d", {"intent": "late"}, {"rejected": True}),
        insight("e", {"intent": "late"}, to_none),
        insight("f", {"intent": "late"}, {"used": True}, guards=guards),
        insight(
            "g", {"intent": "late"}, {"used": True}, request={"classified": {"classifier": "x"}}
        ),
        insight("h", {"intent": "free"}, {"used": True}, form=FREE),
        insight("i", {"intent": "late"}, {"comment": "hm"}),
        insight("j", {"sentiment": {}}, {"used": True}, form=LIST),
    )
    found = {one.conversation: one for one in await material.labelled(sqlite_db, "care")}
    assert {name: one.intent for name, one in found.items()} == {
        "c-a": "refund",
        "c-b": "late",
        "c-c": "late",
        "c-e": None,
        "c-g": "late",
    }
    assert {name for name, one in found.items() if one.confirmed} == {"c-b", "c-c"}
    assert found["c-a"].turns == ("I am a.",)
    assert not found["c-g"].by_engine


async def test_a_conversation_s_last_word_counts(sqlite_db: Database) -> None:
    await store(
        sqlite_db,
        insight("a", {"intent": "late"}, {"used": True}, created_at=1.0, conversation_id="c"),
        insight("b", {"intent": "refund"}, {"used": True}, created_at=2.0, conversation_id="c"),
    )
    (one,) = await material.labelled(sqlite_db, "care")
    assert (one.conversation, one.intent) == ("c", "refund")
