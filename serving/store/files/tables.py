"""The tables of files and batches; `migrations` builds them."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from serving.store.tables import Base


class FileRow(Base):
    """One file; its bytes lie under `files.uri` by its id.

    `scope` is the lines of the key that uploaded it, as canonical JSON. `state` is uploading,
    processed or deleting: only a processed one is seen. Ids sort by their time.
    """

    __tablename__ = "files"
    __table_args__ = (Index(None, "scope", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(index=True)
    scope: Mapped[str]
    purpose: Mapped[str]
    filename: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger())
    created_at: Mapped[float]
    state: Mapped[str]
    lines: Mapped[int] = mapped_column(Integer())
    urls: Mapped[list[str]]


class BatchRow(Base):
    """One batch; `times` says when it reached which status, by the database's clock.

    `completed` and `failed` are set at the end; before, the results are counted.
    """

    __tablename__ = "batches"
    __table_args__ = (Index(None, "scope", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str]
    scope: Mapped[str]
    endpoint: Mapped[str]
    input_file_id: Mapped[str] = mapped_column(index=True)
    output_file_id: Mapped[str | None]
    error_file_id: Mapped[str | None]
    completion_window: Mapped[str]
    status: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[float]
    expires_at: Mapped[float]
    times: Mapped[dict[str, Any]]
    total: Mapped[int] = mapped_column(Integer())
    completed: Mapped[int] = mapped_column(Integer())
    failed: Mapped[int] = mapped_column(Integer())
    labels: Mapped[dict[str, Any]]
    errors: Mapped[list[dict[str, Any]]]


class BatchResultRow(Base):
    """The answer to one line of a batch, until the batch's files are written."""

    __tablename__ = "batch_results"

    batch_id: Mapped[str] = mapped_column(
        ForeignKey(BatchRow.id, ondelete="CASCADE"), primary_key=True
    )
    line: Mapped[int] = mapped_column(Integer(), primary_key=True, autoincrement=False)
    ok: Mapped[bool]
    body: Mapped[bytes] = mapped_column(LargeBinary())
