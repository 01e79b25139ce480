"""The tables.

Portable between SQLite and PostgreSQL; `migrations` builds them, and a test holds the two equal.
JSON columns are `JSON`, not `JSONB`: a client's text may hold U+0000, which `JSONB` refuses.
"""

from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# SQLite counts only an INTEGER key up by itself.
BigKey = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """The root of the tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text(),
        float: Double(),
        bool: Boolean(),
        dict[str, Any]: JSON(),
        list[dict[str, Any]]: JSON(),
        list[str]: JSON(),
    }


class Interaction(Base):
    """One request with its response."""

    __tablename__ = "interactions"
    __table_args__ = (Index(None, "lob", "created_at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[float] = mapped_column(index=True)
    lob: Mapped[str | None]
    task: Mapped[str]
    endpoint: Mapped[str]
    model_requested: Mapped[str]
    version: Mapped[str | None] = mapped_column(index=True)
    base_model: Mapped[str]
    prompt_name: Mapped[str | None]
    prompt_hash: Mapped[str | None]
    request: Mapped[dict[str, Any]]
    messages: Mapped[list[dict[str, Any]]]
    response: Mapped[dict[str, Any]]
    output: Mapped[str]
    finish_reason: Mapped[str | None]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    ttft_ms: Mapped[float | None]
    latency_ms: Mapped[float]
    conversation_id: Mapped[str | None] = mapped_column(index=True)
    turn_position: Mapped[int | None]
    key_id: Mapped[str | None]
    replica: Mapped[str]
    stream: Mapped[bool]
    status: Mapped[str]
    steps: Mapped[list[dict[str, Any]]] = mapped_column(server_default=text("'[]'"))
    holdback: Mapped[float | None]
    shown_by_draw: Mapped[bool | None]
    guards: Mapped[list[dict[str, Any]]] = mapped_column(server_default=text("'[]'"))


class Feedback(Base):
    """What one person thought of one interaction."""

    __tablename__ = "feedback"
    __table_args__ = (UniqueConstraint("key_id", "client_key"),)

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    interaction_id: Mapped[str] = mapped_column(
        ForeignKey(Interaction.id, ondelete="CASCADE"), index=True
    )
    client_key: Mapped[str]
    key_id: Mapped[str]
    created_at: Mapped[float]
    rating: Mapped[float | None]
    edit: Mapped[str | None]
    used: Mapped[bool | None]
    rejected: Mapped[bool | None]
    comment: Mapped[str | None]
    index: Mapped[int] = mapped_column(server_default=text("0"))


class Event(Base):
    """What one person did with one interaction, at one time."""

    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("key_id", "event_id"),)

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    event_id: Mapped[str]
    key_id: Mapped[str]
    interaction_id: Mapped[str] = mapped_column(
        ForeignKey(Interaction.id, ondelete="CASCADE"), index=True
    )
    index: Mapped[int]
    kind: Mapped[str]
    at: Mapped[float]
    received_at: Mapped[float]
    text: Mapped[str | None]
    detail: Mapped[dict[str, Any]]


class ShadowAnswer(Base):
    """What another version would have answered: nobody saw it, and it never teaches."""

    __tablename__ = "shadow_answers"

    interaction_id: Mapped[str] = mapped_column(
        ForeignKey(Interaction.id, ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[str] = mapped_column(primary_key=True)
    output: Mapped[str]
    finish_reason: Mapped[str | None]
    latency_ms: Mapped[float]
    created_at: Mapped[float]


class Dataset(Base):
    """A training set; its id is the sha256 of its content."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(primary_key=True)
    lob: Mapped[str]
    created_at: Mapped[float]
    uri: Mapped[str]
    manifest: Mapped[dict[str, Any]]


class Lineage(Base):
    """The last number given out for a line of business; it never goes down."""

    __tablename__ = "lineages"

    lob: Mapped[str] = mapped_column(primary_key=True)
    last_number: Mapped[int]


class AdapterVersionRow(Base):
    """One adapter with its lineage."""

    __tablename__ = "adapter_versions"
    __table_args__ = (
        UniqueConstraint("lob", "number"),
        # Without AUTOINCREMENT SQLite would give a deleted row's id out again.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    lob: Mapped[str] = mapped_column(ForeignKey(Lineage.lob))
    number: Mapped[int]
    name: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str]
    parent: Mapped[str | None]
    base_model: Mapped[str]
    base_hash: Mapped[str]
    dataset_id: Mapped[str | None] = mapped_column(ForeignKey(Dataset.id))
    recipe: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    decision: Mapped[dict[str, Any]]
    uri: Mapped[str]
    manifest_hash: Mapped[str]
    rank: Mapped[int]
    created_at: Mapped[float]
    prompts: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    upstream: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class RouteRow(Base):
    """The present routing of a line of business."""

    __tablename__ = "routes"

    lob: Mapped[str] = mapped_column(primary_key=True)
    live: Mapped[str | None] = mapped_column(ForeignKey(AdapterVersionRow.name))
    canary: Mapped[str | None] = mapped_column(ForeignKey(AdapterVersionRow.name))
    canary_share: Mapped[float]
    epoch: Mapped[int]


class RolloutRow(Base):
    """One change of a route."""

    __tablename__ = "rollouts"
    __table_args__ = (UniqueConstraint("lob", "epoch"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    lob: Mapped[str]
    action: Mapped[str]
    from_version: Mapped[str | None]
    to_version: Mapped[str | None]
    share: Mapped[float | None]
    epoch: Mapped[int]
    key_id: Mapped[str | None]
    seconds: Mapped[float | None]
    created_at: Mapped[float]


class ApiKeyRow(Base):
    """One API key, by its hash."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)
    prefix: Mapped[str]
    roles: Mapped[list[str]]
    lobs: Mapped[list[str]]
    created_at: Mapped[float]
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]


class AuditRow(Base):
    """Who did what."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    created_at: Mapped[float]
    key_id: Mapped[str | None]
    action: Mapped[str]
    target: Mapped[str]
    detail: Mapped[dict[str, Any]]
    hash: Mapped[str] = mapped_column(server_default=text("''"))


class LeaseRow(Base):
    """Who may work on a thing until when; the term grows with each change of hands."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    term: Mapped[int]
    heartbeat_at: Mapped[float]
    expires_at: Mapped[float]


class FlywheelRow(Base):
    """What people told the scheduler of a line of business."""

    __tablename__ = "flywheels"

    lob: Mapped[str] = mapped_column(primary_key=True)
    paused: Mapped[bool]
    forced: Mapped[bool]
    created_at: Mapped[float]


class CycleRow(Base):
    """One turn of a line of business's flywheel."""

    __tablename__ = "cycles"
    __table_args__ = (UniqueConstraint("lob", "number"),)

    id: Mapped[int] = mapped_column(BigKey, primary_key=True)
    lob: Mapped[str]
    number: Mapped[int]
    state: Mapped[str]
    reason: Mapped[str]
    version: Mapped[str | None]
    dataset_id: Mapped[str | None]
    feedback_seen: Mapped[int] = mapped_column(BigInteger())
    error: Mapped[str | None]
    attempts: Mapped[int]
    retry_at: Mapped[float | None]
    term: Mapped[int]
    log: Mapped[list[dict[str, Any]]]
    created_at: Mapped[float]
    updated_at: Mapped[float]
