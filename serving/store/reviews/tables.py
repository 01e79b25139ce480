"""The tables of the review queue; `migrations` builds them."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Integer, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from serving.store.tables import Base


class ReviewRow(Base):
    """One answer that waits for a person.

    `state` is open, approved, edited, rejected or expired; what else there is to say of an open one
    follows from its times. `changed` is the number of its last event. `context` and `outcome` are
    JSON, sealed where the line's texts are redacted. The interaction may not be stored yet.
    """

    __tablename__ = "reviews"

    id: Mapped[str] = mapped_column(primary_key=True)
    changed: Mapped[int] = mapped_column(BigInteger(), index=True)
    lob: Mapped[str]
    task: Mapped[str]
    version: Mapped[str]
    interaction_id: Mapped[str] = mapped_column(unique=True)
    key_id: Mapped[str]
    kinds: Mapped[list[str]]
    escalate_to: Mapped[list[str]]
    created_at: Mapped[float]
    deadline: Mapped[float]
    final_deadline: Mapped[float]
    state: Mapped[str] = mapped_column(index=True)
    escalated_at: Mapped[float | None]
    claimed_by: Mapped[str | None]
    claim_until: Mapped[float | None]
    term: Mapped[int] = mapped_column(Integer())
    decided_by: Mapped[str | None]
    decided_at: Mapped[float | None]
    taught: Mapped[bool]
    context: Mapped[bytes] = mapped_column(LargeBinary())
    outcome: Mapped[bytes | None] = mapped_column(LargeBinary())


class ReviewEventRow(Base):
    """What happened to a task; numbers grow in the order of their commits."""

    __tablename__ = "review_events"

    number: Mapped[int] = mapped_column(BigInteger(), primary_key=True, autoincrement=False)
    review_id: Mapped[str] = mapped_column(ForeignKey(ReviewRow.id, ondelete="CASCADE"), index=True)
    lob: Mapped[str]
    kind: Mapped[str]
    at: Mapped[float]
    key_id: Mapped[str | None]
    detail: Mapped[dict[str, Any]]


class ReviewCounterRow(Base):
    """Numbers of events: the last one's, in a row whose lock makes numbers follow commits.

    Beside it, by line, that of the last one that its webhook took (`outbox`).
    """

    __tablename__ = "review_counter"

    name: Mapped[str] = mapped_column(primary_key=True)
    last: Mapped[int] = mapped_column(BigInteger())
