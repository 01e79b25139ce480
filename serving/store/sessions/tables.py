"""The table of the console's sessions; `migrations` builds it."""

from sqlalchemy.orm import Mapped, mapped_column

from serving.store.tables import Base


class SessionRow(Base):
    """A session by the SHA-256 of its token: whoever reads the store can be nobody with it."""

    __tablename__ = "console_sessions"

    digest: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str]
    created_at: Mapped[float]
    expires_at: Mapped[float] = mapped_column(index=True)
