import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.store import events, interactions
from serving.store import feedback as feedbacks
from serving.store.database import Database
from serving.store.events import EventRecord
from serving.store.records import InteractionRecord
from serving.store.reviews.records import mark
from serving.store.tables import Interaction


async def test_a_saved_interaction_comes_back_equal(db: Database, interaction) -> None:
    full = interaction()
    sparse = interaction(
        lob=None, version=None, ttft_ms=None, prompt_tokens=None, conversation_id=None, stream=False
    )
    assert await interactions.save(db, [full, sparse]) == 2
    assert await interactions.get(db, full.id) == full
    assert await interactions.get(db, sparse.id) == sparse
    assert await interactions.get(db, "chatcmpl-none") is None


async def test_saving_nothing_is_fine(db: Database) -> None:
    assert await interactions.save(db, []) == 0


async def test_saving_again_changes_nothing(db: Database, interaction) -> None:
    first = interaction()
    changed = first.model_copy(update={"output": "changed"})
    assert await interactions.save(db, [first, changed]) == 1
    assert await interactions.save(db, [changed, interaction()]) == 1
    assert await interactions.get(db, first.id) == first


async def test_concurrent_saves_of_the_same_records_store_each_once(
    db: Database, interaction
) -> None:
    records = [interaction() for _ in range(200)]
    halves = [records[start : start + 100] for start in (0, 25, 50, 75, 100)]
    reverse = [list(reversed(half)) for half in halves]
    inserted = await asyncio.gather(*(interactions.save(db, part) for part in halves + reverse))
    assert sum(inserted) == 200
    assert await interactions.count(db) == 200


async def test_any_text_and_number_from_a_client_can_be_stored(db: Database, interaction) -> None:
    odd = {"text": "nul \0, half \ud83d, emoji 🦊", "huge": 2**80, "nan": float("nan")}
    even = {"text": "nul \0, half ?, emoji 🦊", "huge": float(2**80), "nan": None}
    record = interaction(output="nul \0, emoji 🦊").model_copy(update={"request": odd})
    assert await interactions.save(db, [record]) == 1
    stored = await interactions.get(db, record.id)
    assert stored is not None
    assert stored.output == "nul \ufffd, emoji 🦊"
    assert stored.request == even


async def test_count_is_of_all_or_of_one_line_of_business(db: Database, interaction) -> None:
    await interactions.save(db, [interaction(), interaction(), interaction(lob="sales")])
    assert await interactions.count(db) == 3
    assert await interactions.count(db, "care") == 2
    assert await interactions.count(db, "none") == 0


async def test_labelled_returns_only_what_has_feedback_oldest_first(
    db: Database, interaction, feedback
) -> None:
    late = interaction(created_at=30.0)
    tied = [interaction(id=name, created_at=20.0) for name in ("b", "a")]
    silent = interaction(created_at=25.0)
    await interactions.save(db, [late, *tied, silent])
    for record in (late, *tied, late):
        await feedbacks.add(db, feedback(record.id, edit="better"))
    found = await interactions.labelled(db, lob="care")
    assert [one.interaction.id for one in found] == ["a", "b", late.id]
    assert [len(one.feedback) for one in found] == [1, 1, 2]
    assert found[2].interaction == late


@pytest.mark.parametrize("page", [1, 2, 3, 7])
async def test_the_stream_has_every_row_once_whatever_the_page(
    db: Database, interaction, feedback, page: int
) -> None:
    records = [interaction(id=f"i{n}", created_at=float(n // 3)) for n in range(7)]
    await interactions.save(db, [*records, interaction(created_at=1.0)])
    for record in records:
        for edit in ("one", "two"):
            await feedbacks.add(db, feedback(record.id, edit=edit))
    found = [one async for one in interactions.stream(db, lob="care", page=page)]
    assert [one.interaction for one in found] == records
    assert [[f.edit for f in one.feedback] for one in found] == [["one", "two"]] * 7


async def test_the_stream_has_those_that_nobody_judged_if_they_are_wanted(
    db: Database, interaction, feedback
) -> None:
    records = [interaction(id=f"i{n}", created_at=float(n)) for n in range(3)]
    await interactions.save(db, [*records, interaction(id="rule", version="rule:hours@1")])
    await feedbacks.add(db, feedback("i1", edit="one"))
    found = [one async for one in interactions.stream(db, lob="care", page=2, judged=False)]
    assert [one.interaction for one in found] == records
    assert [len(one.feedback) for one in found] == [0, 1, 0]


async def test_named_interactions_come_with_their_feedback_oldest_first(
    db: Database, interaction, feedback
) -> None:
    records = [interaction(id=f"i{n}", created_at=float(9 - n)) for n in range(4)]
    await interactions.save(db, [*records, interaction(id="rule", version="rule:hours@1")])
    for id_ in ("i0", "i1", "i3", "rule"):
        await feedbacks.add(db, feedback(id_, edit="one"))
    found = await interactions.named(db, ["i1", "i2", "i3", "rule", "gone"])
    assert [one.interaction for one in found] == [records[3], records[1]]
    assert [[f.edit for f in one.feedback] for one in found] == [["one"], ["one"]]


async def test_a_page_of_names_reads_no_more_rows_than_it_names(
    tmp_path: Path, interaction, feedback
) -> None:
    """A golden set of a million rows was frozen by line, which read them all for each page."""
    db = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
    await db.open()
    records = [interaction(output="x" * 5000) for _ in range(2000)]
    await interactions.save(db, records)
    for record in records[::100]:
        await feedbacks.add(db, feedback(record.id, edit="one"))
    names = [record.id for record in records[::100]]
    read: list[str] = []

    def note(statement: str) -> None:
        read.append(statement)

    async with db.reader() as connection:
        raw: Any = await connection.get_raw_connection()
        await raw.driver_connection.set_trace_callback(note)
    assert len(await interactions.named(db, names)) == 20
    (asked,) = [one for one in read if "FROM interactions" in one]
    async with db.reader() as connection:
        raw = await connection.get_raw_connection()
        plan = await raw.driver_connection.execute_fetchall(f"EXPLAIN QUERY PLAN {asked}")
    await db.close()
    assert [line for *_, line in plan if "interactions" in line] == [
        "SEARCH interactions USING INDEX sqlite_autoindex_interactions_1 (id=?)"
    ]


async def test_labelled_filters_by_lob_time_and_task(db: Database, interaction, feedback) -> None:
    records = [
        interaction(id="early", created_at=10.0),
        interaction(id="summary", created_at=20.0, task="summary"),
        interaction(id="end", created_at=30.0),
        interaction(id="sales", created_at=20.0, lob="sales"),
    ]
    await interactions.save(db, records)
    for record in records:
        await feedbacks.add(db, feedback(record.id, rating=1.0))

    async def ids(**filters) -> list[str]:
        found = await interactions.labelled(db, **({"lob": "care"} | filters))
        return [one.interaction.id for one in found]

    assert await ids() == ["early", "summary", "end"]
    assert await ids(since=20.0) == ["summary", "end"]
    assert await ids(until=30.0) == ["early", "summary"]
    assert await ids(tasks=["summary"]) == ["summary"]
    assert await ids(tasks=[]) == []
    assert await ids(lob="sales") == ["sales"]


async def test_an_upstream_s_answer_is_kept_but_teaches_nothing(
    db: Database, interaction, feedback
) -> None:
    steps = [{"step": "care@7", "outcome": "failed", "reason": "slow", "ms": 10000.5}]
    found = [{"guard": "input.injection", "action": "flag", "kind": "injection", "score": 0.9}]
    records = [
        interaction(version=version, steps=steps, guards=found)
        for version in ("upstream:big", None)
    ]
    await interactions.save(db, records)
    for record in records:
        await feedbacks.add(db, feedback(record.id, rating=1.0, edit="better"))
    assert await interactions.get(db, records[0].id) == records[0]
    found = await interactions.labelled(db, lob="care")
    assert [one.interaction for one in found] == [records[1]]


async def test_served_returns_every_answer_of_a_lob_with_its_feedback(
    db: Database, interaction, feedback
) -> None:
    records = [
        interaction(id="early", created_at=10.0),
        interaction(id="b", created_at=20.0, status="aborted"),
        interaction(id="a", created_at=20.0, conversation_id=None),
        interaction(id="sales", created_at=20.0, lob="sales"),
    ]
    await interactions.save(db, records)
    for rating in (0.0, 1.0):
        await feedbacks.add(db, feedback("a", rating=rating))
    found = await interactions.served(db, lob="care", since=20.0)
    assert [one.id for one in found] == ["a", "b"]
    assert [[f.rating for f in one.feedback] for one in found] == [[0.0, 1.0], []]
    assert (found[0].conversation_id, found[1].status, found[1].version) == (
        None,
        "aborted",
        "care@7",
    )


def event(id_: str, kind: str, at: float, received_at: float, **fields: Any) -> EventRecord:
    name = f"{id_} {kind} {at}"
    times = {"at": at, "received_at": received_at}
    return EventRecord(event_id=name, interaction_id=id_, kind=kind, **times, **fields)


async def test_served_says_what_was_held_for_a_person(db: Database, interaction) -> None:
    flagged = {"guard": "output.content", "action": "flag", "kind": "blame"}
    rows = [interaction(), interaction(guards=[flagged]), interaction(guards=[flagged, mark("r")])]
    await interactions.save(db, rows)
    assert [one.held for one in await interactions.served(db, lob="care", since=0)] == [
        *(False, False, True),
    ]


async def test_served_says_what_events_say_of_an_answer(db: Database, interaction) -> None:
    names = ("sent", "typed", "summary", "silent")
    await interactions.save(db, [interaction(id=name, created_at=20.0) for name in names])
    await events.add(
        db,
        [
            event("sent", "displayed", 100.0, 30.0, detail={"candidates": [1]}),
            event("sent", "displayed", 90.0, 31.0, detail={"candidates": [0]}),
            event("sent", "inserted", 95.0, 31.0),
            event("sent", "sent", 120.0, 40.0, text="Hi"),
            event("typed", "typed", 50.0, 41.0, text="Hi"),
            event("summary", "summary.saved", 60.0, 42.0, text="x", detail={"section": "s"}),
            event("summary", "summary.saved", 61.0, 43.0, text="x"),
            event("silent", "dismissed", 70.0, 44.0),
        ],
    )
    found = {one.id: one for one in await interactions.served(db, lob="care", since=0.0)}
    told = {name: (one.displayed, one.went_out, one.typed) for name, one in found.items()}
    assert told == {
        "sent": ((90.0, 30.0), (120.0, 40.0), False),
        "typed": (None, (50.0, 41.0), True),
        "summary": (None, (61.0, 43.0), False),
        "silent": (None, None, False),
    }


async def test_insights_are_no_answers_that_were_served(db: Database, interaction) -> None:
    await interactions.save(db, [interaction(id="a"), interaction(id="b", task="insight")])
    assert [one.id for one in await interactions.served(db, lob="care", since=0)] == ["a"]


async def test_what_was_held_back_was_shown_to_nobody_unless_its_text_is_known(
    db: Database, interaction, feedback
) -> None:
    common = {"conversation_id": "c", "created_at": 20.0, "holdback": 0.1, "task": "suggestion"}
    drawn = {"a": True, "b": False, "typed": False}
    rows = [interaction(id=name, shown_by_draw=shown, **common) for name, shown in drawn.items()]
    undrawn = {**common, "holdback": None}
    await interactions.save(db, [*rows, interaction(id="undrawn", **undrawn)])
    await feedbacks.add(db, feedback("typed", edit="Hi", used=False))
    found = await interactions.shown(db, lob="care", since=0.0, tasks=["suggestion"])
    assert found == [("c", 20.0, 3)]
    served = {one.id: one for one in await interactions.served(db, lob="care", since=0.0)}
    assert (served["b"].holdback, served["b"].shown_by_draw) == (0.1, False)
    assert served["undrawn"].shown_by_draw is None
    assert await interactions.get(db, "b") == rows[1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"latency_ms": float("nan")},
        {"prompt_tokens": -1},
        {"prompt_tokens": 2**31},
        {"task": "poem"},
        {"status": "lost"},
        {"unknown": 1},
        {"id": ""},
    ],
)
def test_a_record_that_no_database_could_hold_is_no_record(interaction, wrong) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        interaction(**wrong)


@given(output=st.text(), content=st.text())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_record_survives_the_journal(interaction, output: str, content: str) -> None:
    record = interaction(output=output, messages=[{"role": "user", "content": content}])
    payload = record.model_dump_json()
    assert InteractionRecord.model_validate_json(payload) == record


def test_a_payload_that_is_no_record_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="id"):
        InteractionRecord.model_validate_json(b'{"id": 3}')


async def test_served_has_the_texts_of_other_candidates_that_feedback_names(
    db: Database, interaction, feedback
) -> None:
    choices = [{"index": i, "message": {"content": text}} for i, text in enumerate("abc")]
    records = [interaction(response={"choices": choices}, output="a") for _ in range(2)]
    await interactions.save(db, records)
    await feedbacks.add(db, feedback(records[0].id, used=True))
    await feedbacks.add(db, feedback(records[1].id, used=True, index=1))
    first, second = await interactions.served(db, lob="care", since=0.0)
    assert (first.others, second.others) == ({}, {1: "b", 2: "c"})
    assert [f.index for f in second.feedback] == [1]


def test_a_record_is_a_row_field_by_field() -> None:
    columns = {column.name for column in Interaction.__table__.columns}
    assert columns == set(InteractionRecord.model_fields)
