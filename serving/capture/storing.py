"""Everything that enters the store about a conversation passes here: answers, then what is said.

Interactions come from the drainer, off the hot path. What people say about one later (edits,
comments, events) and what a shadow would have answered goes the way that the interaction went: its
row in `redactions` says whether and under which key, so the same value has the same surrogate, and
a change of the configuration in between changes nothing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import orjson
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.capture.interaction import to_record
from serving.capture.redacting import TEXTS, redacted, scope_of
from serving.config.lobs import Lob
from serving.config.storage import LineStore, Storage
from serving.encryption.keyring import Keyring
from serving.errors import ConfigError, StoreUnavailable
from serving.observability.alarm import Alarm
from serving.redaction import conversation, person_names
from serving.redaction.person_names import Recogniser
from serving.store import interactions, shadows
from serving.store.database import Database
from serving.store.erasure import tombstones
from serving.store.erasure.tombstones import Marks
from serving.store.events import EventRecord
from serving.store.privacy import redactions, vault
from serving.store.privacy.redactions import RedactionRecord
from serving.store.privacy.vault import Originals
from serving.store.records import FeedbackRecord, InteractionRecord, Json
from serving.store.shadows import ShadowRecord

PURPOSE = "surrogates"
_OFF = LineStore()


class NotRedacted(Exception):
    """An interaction could not be redacted, so it is not stored; it says nothing of its content."""


class _Prepared(NamedTuple):
    record: InteractionRecord
    marks: Marks
    redaction: RedactionRecord | None = None
    originals: Originals | None = None


class Storing:
    """The one way into the store for texts of conversations.

    Args:
        db: The store.
        lobs: The lines of business.
        keyring: The deployment's keys; None where no line needs them.
        pipeline: What finds people's names, where a line asks for that.
    """

    def __init__(
        self,
        db: Database,
        lobs: Mapping[str, Lob],
        keyring: Keyring | None,
        pipeline: str = Storage().names,
    ) -> None:
        self._db = db
        self._keyring = keyring
        self._pipeline = pipeline
        self._lines: dict[str, LineStore] = {}
        self.alarm = Alarm("interactions could not be redacted and are set aside in the journal")
        self.configure(lobs)

    def configure(self, lobs: Mapping[str, Lob]) -> None:
        """Store by another configuration from the next batch on."""
        self._lines = {name: lob.store for name, lob in lobs.items()}

    async def interactions(self, payloads: Sequence[bytes]) -> None:
        """Store captured interactions, all or none, but for what was erased; the drainer's sink.

        Raises:
            NotRedacted: One could not be redacted.
            ValueError: One is no captured interaction.
            StoreUnavailable: The store does not answer.
        """
        # Parsing streams takes a while: in a thread, so that no token waits for it.
        prepared = await asyncio.to_thread(lambda: [self._prepared(one) for one in payloads])
        erased: set[str] = set()

        async def without(connection: AsyncConnection) -> set[str]:
            marks = (one.marks for one in prepared)
            erased.update(await tombstones.refused(self._db, connection, marks))
            return erased

        async def beside(connection: AsyncConnection) -> None:
            stored = [one for one in prepared if one.record.id not in erased]
            known = [one.redaction for one in stored if one.redaction is not None]
            await redactions.add(self._db, connection, known)
            kept = [one.originals for one in stored if one.originals is not None]
            if kept and self._keyring is not None:
                await vault.keep(self._db, connection, self._keyring, kept)

        await interactions.save(self._db, [one.record for one in prepared], beside, without)

    async def feedback(self, record: FeedbackRecord) -> FeedbackRecord:
        """Return feedback as it may be stored.

        Raises:
            StoreUnavailable: The store does not answer, or the interaction's key is not there.
        """
        texts = [record.edit or "", record.comment or ""]
        edit, comment = await self._said(record.interaction_id, texts)
        return record.model_copy(
            update={
                "edit": None if record.edit is None else edit,
                "comment": None if record.comment is None else comment,
            }
        )

    async def event(self, record: EventRecord) -> EventRecord:
        """Return an event as it may be stored; raises as `feedback`."""
        names = [name for name, value in record.detail.items() if isinstance(value, str)]
        said = await self._said(
            record.interaction_id, [record.text or "", *(record.detail[name] for name in names)]
        )
        detail: Json = record.detail | dict(zip(names, said[1:], strict=True))
        text = None if record.text is None else said[0]
        return record.model_copy(update={"text": text, "detail": detail})

    async def shadow(self, answer: ShadowRecord) -> bool:
        """Store a shadow's answer; False if its interaction is not there; raises as `feedback`."""
        if await interactions.get(self._db, answer.interaction_id) is None:
            return False
        (output,) = await self._said(answer.interaction_id, [answer.output])
        return await shadows.add(self._db, answer.model_copy(update={"output": output}))

    def _prepared(self, payload: bytes) -> _Prepared:
        try:
            record = to_record(payload)
        except ValidationError as exc:  # whose text repeats the values
            where = [".".join(map(str, fault["loc"])) for fault in exc.errors()]
            raise ValueError(f"not a captured interaction: {', '.join(where)}") from None
        line = self._lines.get(record.lob or "", _OFF)
        if not line.redact:
            return _Prepared(record, _marks(record))
        try:
            done = self._redacted(record)
            return done._replace(originals=_originals(record)) if line.keep_originals else done
        except Exception as exc:
            self.alarm.on(f"{record.id}: {type(exc).__name__}")
            raise NotRedacted(f"{record.id}: {type(exc).__name__}") from None

    def _redacted(self, record: InteractionRecord) -> _Prepared:
        if self._keyring is None:
            raise LookupError("storage.keys is not set")
        id_ = self._keyring.newest
        key = self._keyring.derived(id_, PURPOSE)
        stored, known = redacted(record, key, names=self._names(record.lob))
        beside = RedactionRecord(
            interaction_id=record.id,
            scope=scope_of(record),
            key_id=id_,
            version=conversation.VERSION,
            known=known,
        )
        return _Prepared(stored, _marks(record), beside)

    async def _said(self, interaction_id: str, texts: list[str]) -> list[str]:
        """Redact what is said about an interaction as that was redacted, or not at all."""
        beside = await redactions.get(self._db, interaction_id)
        if beside is None or not any(texts):
            return texts
        if self._keyring is None:
            raise StoreUnavailable(
                "The interaction is redacted, and its key is not there.",
                reason="storage.keys is not set",
            )
        key = conversation.conversation_key(
            self._keyring.derived(beside.key_id, PURPOSE), beside.scope
        )
        line, _, _ = beside.scope.partition("/")

        def redact() -> Sequence[str]:
            return conversation.redact(texts, key, beside.known, self._names(line)).texts

        return list(await asyncio.to_thread(redact))

    def _names(self, line: str | None) -> Recogniser | None:
        """What finds names for a line; loading it blocks.

        Raises:
            StoreUnavailable: It cannot be loaded.
        """
        if not self._lines.get(line or "", _OFF).names:
            return None
        try:
            return person_names.load(self._pipeline)
        except ConfigError as exc:
            raise StoreUnavailable("Names cannot be recognised.", reason=exc.message) from exc


def _marks(record: InteractionRecord) -> Marks:
    """What it is known by, before redaction."""
    named = tombstones.persons(record.request)
    return Marks(record.id, record.lob, record.conversation_id, named, record.created_at)


def _originals(record: InteractionRecord) -> Originals:
    fields = {name: orjson.dumps(getattr(record, name)) for name in TEXTS}
    return Originals(record.id, scope_of(record), fields)
