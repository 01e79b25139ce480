"""What a drain leaves in the store and on the disk, with the real drainer and real databases."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from serving.capture import Drainer, Journal, storing
from serving.capture.health import Health
from serving.capture.interaction import Capture
from serving.capture.storing import Storing
from serving.config.lobs import Lob
from serving.encryption import keyring
from serving.encryption.keyring import KeyMissing, Keyring
from serving.errors import StoreUnavailable
from serving.store import candidates, events, feedback, interactions, shadows
from serving.store.database import Database
from serving.store.events import EventRecord, Kind
from serving.store.privacy import redactions
from serving.store.records import FeedbackRecord
from serving.store.shadows import ShadowRecord
from tests.serving.redaction import pipelines

CARD = "4111 1111 1111 1111"
SECRETS = (CARD, "jo.doe@mail.com", "Tiger!22", "+49 171 2345678", "4471-AB", "12 March 1985")
SAID = (
    f"My card is {CARD}, write to jo.doe@mail.com, my password is Tiger!22. "
    "Call +49 171 2345678 about order number 4471-AB. I was born on 12 March 1985."
)
LOBS = {"care": Lob.model_validate({"store": {"redact": True}}), "sales": Lob()}  # type: ignore[call-arg]


@pytest.fixture
def ring() -> Keyring:
    return keyring.parse(f"old:{base64.b64encode(b'k' * 32).decode()}")


def payload(id_: str, said: str = SAID, *, lob: str = "care", talk: str | None = "c-1") -> bytes:
    """A streamed answer that repeats the question, a few characters a delta."""
    body = {
        "model": lob,
        "messages": [{"role": "user", "content": said}],
        "user": "jo.doe@mail.com",
    }
    capture = Capture(
        *(id_, "/v1/chat/completions", "chat", lob, lob, "care@7", "base", "key_1", "r"),
        request=json.dumps(body).encode(),
        stream=True,
        conversation_id=talk,
        turn_position=1,
        asked={
            "conversation": [{"role": "customer", "text": f"Hello!\n{said}"}],
            "previous": {"turns": 1, "summary": f"They said: {said}"},
        },
    )
    for start in range(0, len(said), 5):
        delta = {"index": 0, "delta": {"content": said[start : start + 5]}}
        capture.chunks.append(b"data: " + json.dumps({"choices": [delta]}).encode() + b"\n\n")
    return capture.payload("completed")


@asynccontextmanager
async def drained(folder: Path, sink: Storing, *payloads: bytes) -> AsyncIterator[Journal]:
    journal = Journal(folder, "a")
    drainer = Drainer(folder, journal, sink.interactions)
    task = asyncio.create_task(drainer.run())
    for one in payloads:
        journal.append(one)
    try:
        await drainer.flush(30)
        yield journal
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        journal.close()


async def test_a_line_that_redacts_stores_surrogates_and_another_stores_what_was_said(
    db: Database, tmp_path: Path, ring: Keyring
) -> None:
    sink = Storing(db, LOBS, ring)
    async with drained(tmp_path / "journal", sink, payload("a"), payload("b", lob="sales")):
        pass
    private, plain = await interactions.get(db, "a"), await interactions.get(db, "b")
    assert private is not None
    assert plain is not None
    assert plain.output == SAID
    assert not [s for s in SECRETS if s in private.model_dump_json()]
    assert candidates.of(private.response)[0].output == private.output
    assert private.messages[0]["content"] == private.output, "the same in question and answer"
    assert private.request["conversation"][0]["text"] == f"Hello!\n{private.output}"
    assert private.request["previous"]["summary"] == f"They said: {private.output}"
    assert await redactions.get(db, "b") is None


async def test_no_byte_of_the_data_folder_holds_a_private_value_after_a_drain(
    tmp_path: Path, ring: Keyring
) -> None:
    db = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
    await db.open()
    sink = Storing(db, LOBS, ring)
    async with drained(tmp_path / "journal", sink, *(payload(str(n)) for n in range(20))):
        await feedback.add(db, await sink.feedback(edit("1", f"{SAID} Sorry!")))
        await events.add(db, [await sink.event(sent("2", SAID))])
        assert await sink.shadow(answer("3", SAID))
        assert await interactions.count(db) == 20
        assert found_in(tmp_path / "store.sqlite") == []
        assert found_in(tmp_path / "store.sqlite-wal") == []
    await db.close()
    files = files_in(tmp_path)
    assert tmp_path / "store.sqlite" in files
    assert {path.name: found_in(path) for path in files if found_in(path)} == {}


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def found_in(path: Path) -> list[str]:
    data = path.read_bytes() if path.exists() else b""
    compact = CARD.replace(" ", "").encode()
    return [s for s in SECRETS if s.encode() in data] + ["card"] * (compact in data)


async def test_what_is_said_later_has_the_same_surrogates(
    db: Database, tmp_path: Path, ring: Keyring
) -> None:
    sink = Storing(db, LOBS, ring)
    async with drained(tmp_path / "journal", sink, payload("a")):
        pass
    stored = await interactions.get(db, "a")
    assert stored is not None
    event = await sink.event(sent("a", SAID))
    assert event.text == stored.output
    said = events.judgement(event, stored)
    assert said is not None
    assert said.used, "what was sent as it was answered is no edit"
    unlabelled = await sink.feedback(edit("a", "4471-AB is on its way."))
    assert unlabelled.edit is not None
    assert "4471-AB" not in unlabelled.edit
    assert unlabelled.edit.split()[0] in stored.output
    again = await sink.feedback(edit("a", stored.output))
    assert again.edit == stored.output, "who edits the stored text keeps its surrogates"
    assert await sink.shadow(answer("a", SAID))
    (shadow,) = await shadows.for_line(db, lob="care", version="care@8", since=0)
    assert shadow.output == stored.output
    typed = sent("a", "x").model_copy(update={"detail": {"draft": f"card {CARD}"}})
    assert CARD not in str((await sink.event(typed)).detail)


async def test_a_value_has_one_surrogate_in_a_conversation_and_another_outside(
    db: Database, tmp_path: Path, ring: Keyring
) -> None:
    sink = Storing(db, LOBS, ring)
    rows = payload("a"), payload("b"), payload("c", talk="c-2"), payload("d", talk=None)
    async with drained(tmp_path / "journal", sink, *rows):
        pass
    found = [await interactions.get(db, id_) for id_ in "abcd"]
    outputs = [one.output for one in found if one is not None]
    assert outputs[0] == outputs[1]
    assert len(set(outputs)) == 3
    users = {one.request["user"] for one in found if one is not None}
    assert len(users) == 1, "training counts by agent"


async def test_a_line_that_redacts_names_stores_other_names_in_all_that_is_said(
    db: Database, tmp_path: Path, ring: Keyring
) -> None:
    lobs = {"care": lob(redact=True, names=True), "sales": lob(redact=True)}
    pipeline = pipelines.save(tmp_path / "names", "Maria Lopez", "Jo Doe")
    sink = Storing(db, lobs, ring, pipeline)
    said = "I am Maria Lopez."
    rows = payload("a", said), payload("b", said, lob="sales")
    async with drained(tmp_path / "journal", sink, *rows):
        pass
    private, plain = await interactions.get(db, "a"), await interactions.get(db, "b")
    assert private is not None
    assert plain is not None
    assert plain.output == said
    assert "Maria" not in private.model_dump_json()
    assert "Lopez" not in private.model_dump_json()
    again = await sink.feedback(edit("a", f"{said} Jo Doe knows me."))
    assert again.edit is not None
    assert again.edit.startswith(f"{private.output} ")
    assert "Doe" not in again.edit


async def test_where_names_cannot_be_recognised_nothing_of_the_line_is_stored(
    sqlite_db: Database, tmp_path: Path, ring: Keyring
) -> None:
    lobs = {"care": lob(redact=True, names=True), "sales": lob(redact=True)}
    sink = Storing(sqlite_db, lobs, ring, str(tmp_path / "no pipeline"))
    rows = payload("a"), payload("b", lob="sales")
    async with drained(tmp_path / "journal", sink, *rows):
        assert await interactions.get(sqlite_db, "a") is None
        assert await interactions.get(sqlite_db, "b") is not None
    assert sink.alarm.since is not None
    aside = {path.name for path in files_in(tmp_path / "journal" / "rejected")}
    assert aside == {"00000001.log", "reason.txt"}


def lob(**store: bool) -> Lob:
    return Lob.model_validate({"store": store})


async def test_what_is_said_about_unredacted_interactions_stays(
    db: Database, tmp_path: Path, ring: Keyring
) -> None:
    sink = Storing(db, {"care": Lob()}, ring)  # type: ignore[call-arg]
    async with drained(tmp_path / "journal", sink, payload("a")):
        pass
    sink.configure(LOBS)
    assert (await sink.feedback(edit("a", SAID))).edit == SAID


async def test_edits_are_redacted_under_the_key_of_their_interaction(
    sqlite_db: Database, tmp_path: Path, ring: Keyring
) -> None:
    async with drained(tmp_path / "journal", Storing(sqlite_db, LOBS, ring), payload("a")):
        pass
    stored = await interactions.get(sqlite_db, "a")
    assert stored is not None
    new = keyring.parse(keyring.new_line("new"))
    both = Keyring({**ring.keys, **new.keys})
    said = await Storing(sqlite_db, LOBS, both).feedback(edit("a", SAID))
    assert said.edit == stored.output
    with pytest.raises(KeyMissing):
        await Storing(sqlite_db, LOBS, new).feedback(edit("a", SAID))
    with pytest.raises(StoreUnavailable):
        await Storing(sqlite_db, LOBS, None).feedback(edit("a", SAID))


async def test_what_cannot_be_redacted_is_set_aside_with_an_alarm_and_the_rest_is_stored(
    sqlite_db: Database, tmp_path: Path, ring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = storing.redacted

    def fails(record: Any, key: bytes, **options: Any) -> Any:
        if record.id == "bad":
            raise RecursionError(record.output)
        return whole(record, key, **options)

    monkeypatch.setattr(storing, "redacted", fails)
    sink = Storing(sqlite_db, LOBS, ring)
    rows = payload("good"), payload("bad"), payload("fine")
    async with drained(tmp_path / "journal", sink, *rows) as journal:
        assert await interactions.count(sqlite_db) == 2
        health = Health(
            "r",
            store=(),
            journal=journal,
            drainer=Drainer(tmp_path / "other", journal, sink.interactions),
            limit_bytes=1,
            alarms=(sink.alarm,),
        )
        page = health.page("ready")
    assert page["status"] == "degraded"
    assert page["capture"]["state"] == "alarm"
    reason, aside = sorted(files_in(tmp_path / "journal" / "rejected"), reverse=True)
    assert reason.read_text() == "NotRedacted: bad: RecursionError\n"
    assert b'"id":"bad"' in aside.read_bytes()


async def test_what_is_no_interaction_is_refused_without_repeating_it(
    sqlite_db: Database, ring: Keyring
) -> None:
    broken = json.loads(payload("a")) | {"latency_ms": SAID}
    with pytest.raises(ValueError, match="latency_ms") as refused:
        await Storing(sqlite_db, LOBS, ring).interactions([json.dumps(broken).encode()])
    assert CARD not in str(refused.value)


def edit(id_: str, text: str) -> FeedbackRecord:
    return FeedbackRecord(interaction_id=id_, client_key=f"k-{id_}", edit=text, comment=text)


def sent(id_: str, text: str) -> EventRecord:
    return EventRecord(event_id=f"e-{id_}", interaction_id=id_, kind=Kind.SENT, at=1.0, text=text)


def answer(id_: str, text: str) -> ShadowRecord:
    return ShadowRecord(interaction_id=id_, version="care@8", output=text, latency_ms=1.0)
