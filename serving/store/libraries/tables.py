"""The tables of libraries; `migrations` builds them."""

from sqlalchemy import Integer, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from serving.store.tables import Base


class LibraryRow(Base):
    """A line's library of a kind: which version is live, and the last number given out."""

    __tablename__ = "libraries"

    lob: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    live: Mapped[int]
    last_number: Mapped[int]


class LibraryVersionRow(Base):
    """One import, which never changes."""

    __tablename__ = "library_versions"

    lob: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Integer(), primary_key=True, autoincrement=False)
    source: Mapped[str]
    entries: Mapped[int]
    created_at: Mapped[float]


class LibraryEntryRow(Base):
    """A passage, or a response, of a version."""

    __tablename__ = "library_entries"

    lob: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Integer(), primary_key=True, autoincrement=False)
    id: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[int]
    title: Mapped[str]
    text: Mapped[str]
    url: Mapped[str | None]
    tags: Mapped[list[str]]
    agent: Mapped[str | None]


class LibraryVectorsRow(Base):
    """Embeddings of some of a version's entries, in the order of their places."""

    __tablename__ = "library_vectors"

    lob: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Integer(), primary_key=True, autoincrement=False)
    embedder: Mapped[str] = mapped_column(primary_key=True)
    first: Mapped[int] = mapped_column(Integer(), primary_key=True, autoincrement=False)
    dimensions: Mapped[int]
    vectors: Mapped[bytes] = mapped_column(LargeBinary())
