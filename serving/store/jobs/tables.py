"""The tables of fine-tuning jobs; `migrations` builds them."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from serving.store.tables import Base, BigKey


class JobRow(Base):
    """One fine-tuning job; its id sorts by its time.

    `method` is its type with its hyperparameters. `term` is that of the lease under which a runner
    took it last; `attempts`, how often it was taken since its last step. `error` is empty unless it
    failed. Times are seconds since the epoch by the database's clock.
    """

    __tablename__ = "fine_tuning_jobs"
    __table_args__ = (Index(None, "lob", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(index=True)
    lob: Mapped[str]
    model: Mapped[str]
    training_file: Mapped[str] = mapped_column(index=True)
    validation_file: Mapped[str | None]
    suffix: Mapped[str | None]
    seed: Mapped[int] = mapped_column(BigInteger())
    method: Mapped[dict[str, Any]]
    labels: Mapped[dict[str, Any]]
    priority: Mapped[int] = mapped_column(Integer())
    status: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[float]
    finished_at: Mapped[float | None]
    estimated_finish: Mapped[float | None]
    term: Mapped[int] = mapped_column(Integer())
    attempts: Mapped[int] = mapped_column(Integer())
    fine_tuned_model: Mapped[str | None]
    trained_tokens: Mapped[int | None] = mapped_column(BigInteger())
    result_files: Mapped[list[str]]
    error: Mapped[dict[str, Any]]


class JobEventRow(Base):
    """What happened to a job; one with a `name` is there once, however often it is told."""

    __tablename__ = "fine_tuning_events"
    __table_args__ = (UniqueConstraint("job_id", "name"),)

    number: Mapped[int] = mapped_column(BigKey, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.id, ondelete="CASCADE"))
    name: Mapped[str | None]
    created_at: Mapped[float]
    level: Mapped[str]
    kind: Mapped[str]
    message: Mapped[str]
    data: Mapped[dict[str, Any]]


class JobCheckpointRow(Base):
    """A step at which a job could be resumed, with its metrics."""

    __tablename__ = "fine_tuning_checkpoints"

    job_id: Mapped[str] = mapped_column(ForeignKey(JobRow.id, ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(Integer(), primary_key=True, autoincrement=False)
    created_at: Mapped[float]
    metrics: Mapped[dict[str, Any]]
