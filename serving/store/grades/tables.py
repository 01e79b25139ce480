"""The table of grades; `migrations` builds it."""

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from serving.store.tables import Base, Interaction


class GradeRow(Base):
    """What one key's holder thinks of one answer; `grade` is of `grades.Grade`."""

    __tablename__ = "grades"

    interaction_id: Mapped[str] = mapped_column(
        ForeignKey(Interaction.id, ondelete="CASCADE"), primary_key=True
    )
    key_id: Mapped[str] = mapped_column(primary_key=True)
    grade: Mapped[str]
    unsupported: Mapped[bool]
    created_at: Mapped[float]
