"""The review queue as the gateway and our endpoints use it: hold an answer, decide, teach.

What a reviewer must see is the texts themselves, so where a line's interactions are redacted its
tasks are sealed (AES-256-GCM, bound to the task's id) by the newest of `storage.keys`. A decision
is durable before it is feedback; whoever is killed in between leaves that to the sweep.
"""

import logging
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson

from serving.capture.storing import Storing
from serving.config.lobs import Lob
from serving.config.reviews import Reviews
from serving.encryption.keyring import Keyring
from serving.encryption.sealing import Sealer
from serving.errors import Conflict, InvalidRequest, NotFound, Unavailable
from serving.observability import metrics
from serving.store import feedback
from serving.store.database import Database
from serving.store.records import FeedbackRecord, Json
from serving.store.reviews import queue
from serving.store.reviews.records import Decision, NewReview, Review, Status

PURPOSE = "reviews"
GIVE_UP_S = 7 * 86400.0
"""After so long without its interaction, a decision is not feedback any more."""
logger = logging.getLogger(__name__)


class Reviewing:
    """The review queues of all lines.

    Args:
        db: The store.
        lobs: The lines of business.
        keyring: The deployment's keys; None where no line needs them.
        storing: Redacts what is said about redacted interactions.
    """

    def __init__(
        self, db: Database, lobs: Mapping[str, Lob], keyring: Keyring | None, storing: Storing
    ) -> None:
        self.db = db
        self._sealer = Sealer(keyring, PURPOSE)
        self._storing = storing
        self.configure(lobs)

    def configure(self, lobs: Mapping[str, Lob]) -> None:
        """Queue by another configuration from the next answer on."""
        self._lines = dict(lobs)

    def line(self, lob: str | None) -> Reviews | None:
        """Return a line's queue; None where it has none."""
        line = self._lines.get(lob or "")
        return line.reviews if line is not None else None

    async def hold(
        self,
        *,
        lob: str,
        task: str,
        version: str,
        interaction_id: str,
        key_id: str,
        kinds: list[str],
        context: Json,
    ) -> Review:
        """Make a task; it is durable when this returns.

        Args:
            lob: A line that has a queue.
            task: The interaction's task.
            version: What answered.
            interaction_id: The response's own id.
            key_id: Who asked.
            kinds: What was found.
            context: What a reviewer sees: `request`, `prompt`, `conversation`, `response` and
                `text` (None where there is no answer), `index`, `verdicts`.

        Raises:
            Unavailable: The store does not answer, or a key is missing; there is no task.
        """
        line = self._lines[lob]
        its = line.reviews or Reviews()
        id_ = f"review-{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
        whole = context | {"fallback": its.fallback_text, "claim_s": its.claim_s}
        plain = orjson.dumps(whole)
        sealed = self._sealer.seal(plain, id_.encode()) if line.store.redact else plain
        made = await queue.create(
            self.db,
            NewReview(
                id=id_,
                lob=lob,
                task=task,
                version=version,
                interaction_id=interaction_id,
                key_id=key_id,
                kinds=kinds,
                escalate_to=its.escalate_to,
                deadline_s=its.deadline_s,
                escalation_s=its.escalation_s,
                context=sealed,
            ),
        )
        metrics.REVIEWS.labels(lob).inc()
        return made

    def context(self, review: Review) -> dict[str, Any]:
        """Return what a reviewer sees of a task; raises KeyMissing."""
        opened: dict[str, Any] = orjson.loads(self._sealer.open(review.context, review.id.encode()))
        return opened

    def outcome(self, review: Review) -> dict[str, Any] | None:
        """Return a decision's `decision`, final `text` and `reason`; None: there is none."""
        if review.outcome is None:
            return None
        opened: dict[str, Any] = orjson.loads(self._sealer.open(review.outcome, review.id.encode()))
        return opened

    def final_text(self, review: Review) -> str | None:
        """Return what the client is to say in the end; None while that is open."""
        if (outcome := self.outcome(review)) is not None:
            return str(outcome["text"])
        if review.status is Status.EXPIRED:
            return str(self.context(review)["fallback"])
        return None

    async def claim(self, id: str, key_id: str, term: int | None) -> Review:  # noqa: A002
        """Take a task, or hold it for longer; raises as `queue.claim`."""
        review = await queue.get(self.db, id)
        lease_s = float(self.context(review)["claim_s"])
        return await queue.claim(self.db, id, key_id, lease_s, term)

    async def decide(
        self,
        id: str,  # noqa: A002
        key_id: str,
        decision: Decision,
        *,
        text: str | None,
        reason: str,
        term: int | None = None,
    ) -> Review:
        """Decide a task; the same again by the same key changes nothing.

        Args:
            id: The task.
            key_id: Who decides, and holds its claim.
            decision: What they say.
            text: The final text of an edit.
            reason: Why.
            term: Of the claim, where several people share the key.

        Raises:
            NotFound: There is no such task.
            Conflict: The claim is another's or over, or it is decided otherwise or expired.
            InvalidRequest: An edit without a text, a text without an edit, or an approval of what
                has no answer.
        """
        review = await queue.get(self.db, id)
        context = self.context(review)
        if (text is not None and bool(text.strip())) is not (decision is Decision.EDIT):
            raise InvalidRequest("An edit has a text, and nothing else has.", param="text")
        if decision is Decision.APPROVE and context.get("text") is None:
            raise InvalidRequest("There is no answer to approve: edit.", param="decision")
        finally_ = {
            Decision.APPROVE: context.get("text"),
            Decision.EDIT: text,
            Decision.REJECT: context["fallback"],
        }
        said = {"decision": decision, "text": finally_[decision], "reason": reason}
        plain = orjson.dumps(said)
        sealed = review.context[:1] != b"{"
        outcome = self._sealer.seal(plain, id.encode()) if sealed else plain
        try:
            decided = await queue.decide(self.db, id, key_id, decision, outcome, term)
        except Conflict:
            stands = await queue.get(self.db, id)
            if stands.decided_by != key_id or self.outcome(stands) != said:
                raise
            decided = stands
        else:
            metrics.REVIEW_DECISIONS.labels(decided.lob, decision).inc()
            metrics.REVIEW_SECONDS.labels(decided.lob).observe(
                max(0.0, (decided.decided_at or decided.now) - decided.created_at)
            )
        with suppress(Unavailable, NotFound):  # the sweep tries again
            await self.teach(decided)
        return await queue.get(self.db, id)

    async def teach(self, review: Review) -> None:
        """Make a decision feedback on its interaction; again changes nothing.

        Raises:
            NotFound: The interaction is not in the store yet.
            Unavailable: The store does not answer, or the interaction's key is not there.
        """
        outcome, context = self.outcome(review), self.context(review)
        if review.taught or outcome is None:
            return
        decision = Decision(outcome["decision"])
        if decision is Decision.REJECT and context.get("text") is None:
            await queue.taught(self.db, review.id)  # no answer was rejected
            return
        record = FeedbackRecord(
            interaction_id=review.interaction_id,
            client_key=review.id,
            key_id=review.decided_by or "",
            created_at=review.decided_at or review.now,
            edit=outcome["text"] if decision is Decision.EDIT else None,
            used=True if decision is not Decision.REJECT else None,
            rejected=True if decision is Decision.REJECT else None,
            comment=outcome["reason"] or None,
            index=context.get("index", 0),
        )
        try:
            ready = await self._storing.feedback(record)
            _, created = await feedback.add(self.db, ready, reviews=True)
        except NotFound:
            if review.now - (review.decided_at or review.now) < GIVE_UP_S:
                raise
            logger.warning("%s: its interaction never came, so it teaches nothing", review.id)
        except Conflict as exc:
            logger.warning("%s is no feedback: %s", review.id, exc)
        else:
            if created:
                metrics.FEEDBACK.labels(review.lob).inc()
        await queue.taught(self.db, review.id)
