"""Alembic's entry: run the steps on the connection, and in the transaction, of the caller."""

from alembic import context

from serving.store.erasure import tables as _erasure  # noqa: F401 - joins the metadata
from serving.store.files import tables as _files  # noqa: F401
from serving.store.grades import tables as _grades  # noqa: F401
from serving.store.jobs import tables as _jobs  # noqa: F401
from serving.store.libraries import tables as _libraries  # noqa: F401
from serving.store.networks import tables as _networks  # noqa: F401
from serving.store.privacy import tables as _privacy  # noqa: F401 - joins the metadata
from serving.store.reports import tables as _reports  # noqa: F401
from serving.store.reviews import tables as _reviews  # noqa: F401
from serving.store.sessions import tables as _sessions  # noqa: F401
from serving.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
)
with context.begin_transaction():
    context.run_migrations()
