"""The tables of what training tells; `migrations` builds them."""

from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from serving.store.tables import Base


class LookRow(Base):
    """What a scheduler last decided on a line of business, and what it is doing there."""

    __tablename__ = "flywheel_looks"

    lob: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str]
    action: Mapped[str]
    why: Mapped[str]
    next_at: Mapped[float | None]
    needed: Mapped[int]
    looked_at: Mapped[float]
    doing: Mapped[str | None]
    done: Mapped[int | None]
    total: Mapped[int | None]
    told_at: Mapped[float | None]


class ImpactRow(Base):
    """A line's report of what suggestions are worth, as `switchboard impact` last published it."""

    __tablename__ = "impact_reports"

    lob: Mapped[str] = mapped_column(primary_key=True)
    made_at: Mapped[float]
    content: Mapped[dict[str, Any]]
