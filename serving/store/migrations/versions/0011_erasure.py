"""A chain of hashes through the audit; erasures, and what they refuse from then on.

Revision 0011, after 0010.
"""

import sqlalchemy as sa
from alembic import op

from serving.store import audit
from serving.store.tables import AuditRow, BigKey

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, and chain the entries that there are, numbered anew in their order."""
    op.add_column(
        "audit", sa.Column("hash", sa.Text(), server_default=sa.text("''"), nullable=False)
    )
    head = op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("number", BigKey, nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    _chain(op.get_bind(), head)
    op.create_table(
        "erasures",
        sa.Column("id", BigKey, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("target", sa.JSON(), nullable=False),
        sa.Column("target_hash", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("requested_at", sa.Double(), nullable=False),
        sa.Column("done_at", sa.Double(), nullable=True),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
    )
    for column in ("state", "target_hash"):
        op.create_index(op.f(f"ix_erasures_{column}"), "erasures", [column])
    op.create_table(
        "erasure_items",
        sa.Column("erasure_id", BigKey, nullable=False),
        sa.Column("interaction_id", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["erasure_id"], ["erasures.id"], name=op.f("fk_erasure_items_erasure_id_erasures")
        ),
        sa.PrimaryKeyConstraint("erasure_id", "interaction_id", name=op.f("pk_erasure_items")),
    )
    op.create_table(
        "tombstones",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_tombstones")),
    )
    op.create_table(
        "erasure_hash_key",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure_hash_key")),
    )
    op.create_table(
        "journals",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("clean_through", BigKey, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_journals")),
    )


def _chain(connection: sa.Connection, head: sa.Table) -> None:
    table = AuditRow.__table__
    number, previous = 0, audit.GENESIS
    ids = connection.execute(sa.select(table.c.id).order_by(table.c.id)).scalars().all()
    for old in ids:  # numbers had gaps; a new one is never above its old one, so none is taken
        row = connection.execute(sa.select(table).where(table.c.id == old)).mappings().one()
        number += 1
        entry = {name: row[name] for name in row if name != "hash"} | {"id": number}
        previous = audit.chained(previous, entry)
        change = sa.update(AuditRow).where(AuditRow.id == old)
        connection.execute(change.values(id=number, hash=previous))
    connection.execute(sa.insert(head).values(id=1, number=number, hash=previous))


def downgrade() -> None:
    """Drop the tables: what waits in a journal then comes back."""
    op.drop_table("audit_head")
    op.drop_column("audit", "hash")
    for table in (
        *("journals", "erasure_hash_key", "tombstones"),
        *("erasure_items", "erasures"),
    ):
        op.drop_table(table)
