"""The table of keys' networks; `migrations` builds it."""

from sqlalchemy.orm import Mapped, mapped_column

from serving.store.tables import Base


class KeyNetworkRow(Base):
    """That a key was used from a network; `state` is learned, new or told (`networks.State`)."""

    __tablename__ = "key_networks"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    network: Mapped[str] = mapped_column(primary_key=True)
    first_seen: Mapped[float]
    state: Mapped[str] = mapped_column(index=True)
