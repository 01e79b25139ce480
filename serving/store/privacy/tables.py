"""The tables of what lies beside redacted interactions; `migrations` builds them."""

from typing import Any

from sqlalchemy import ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from serving.store.tables import Base, Interaction


class Redaction(Base):
    """That an interaction was redacted, under which key, and the digests of its values.

    `scope` is the line and the conversation; `known` maps keyed digests to kinds.
    """

    __tablename__ = "redactions"

    interaction_id: Mapped[str] = mapped_column(
        ForeignKey(Interaction.id, ondelete="CASCADE"), primary_key=True
    )
    scope: Mapped[str]
    key_id: Mapped[str]
    version: Mapped[int]
    known: Mapped[dict[str, Any]]


class VaultKey(Base):
    """A conversation's data key, wrapped by a key of the deployment; without it, all is erased."""

    __tablename__ = "vault_keys"

    scope: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(index=True)
    wrapped: Mapped[bytes] = mapped_column(LargeBinary())
    created_at: Mapped[float]


class VaultRow(Base):
    """One field of an interaction as it was before redaction, under its conversation's data key."""

    __tablename__ = "vault"

    interaction_id: Mapped[str] = mapped_column(
        ForeignKey(Interaction.id, ondelete="CASCADE"), primary_key=True
    )
    field: Mapped[str] = mapped_column(primary_key=True)
    scope: Mapped[str] = mapped_column(index=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary())
