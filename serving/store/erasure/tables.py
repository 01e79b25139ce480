"""The tables of erasures, and the head of the audit's chain; `migrations` builds them."""

from typing import Any

from sqlalchemy import ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from serving.store.tables import Base, BigKey


class ErasureRow(Base):
    """One erasure; `target` says what it is of in the clear only until the rows are gone."""

    __tablename__ = "erasures"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    state: Mapped[str] = mapped_column(index=True)
    target: Mapped[dict[str, Any]]
    target_hash: Mapped[str] = mapped_column(index=True)
    reason: Mapped[str]
    key_id: Mapped[str | None]
    requested_at: Mapped[float]
    done_at: Mapped[float | None]
    counts: Mapped[dict[str, Any]]


class ErasedItem(Base):
    """An interaction that an erasure is of, until the erasure is done."""

    __tablename__ = "erasure_items"

    erasure_id: Mapped[int] = mapped_column(ForeignKey(ErasureRow.id), primary_key=True)
    interaction_id: Mapped[str] = mapped_column(primary_key=True)
    scope: Mapped[str]
    conversation_id: Mapped[str | None]


class Tombstone(Base):
    """A keyed hash of what may not enter the store again; `until` is None for ever."""

    __tablename__ = "tombstones"

    digest: Mapped[str] = mapped_column(primary_key=True)
    until: Mapped[float | None]


class HashKey(Base):
    """The key of the hashes, made once."""

    __tablename__ = "erasure_hash_key"

    id: Mapped[int] = mapped_column(primary_key=True)
    secret: Mapped[bytes] = mapped_column(LargeBinary())


class JournalRow(Base):
    """A replica's journal: when it was last heard of, and through which erasure it is clean."""

    __tablename__ = "journals"

    name: Mapped[str] = mapped_column(primary_key=True)
    seen_at: Mapped[float]
    clean_through: Mapped[int] = mapped_column(BigKey)


class AuditHead(Base):
    """The last entry of the audit: its one row is locked by whoever appends."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigKey)
    hash: Mapped[str]
