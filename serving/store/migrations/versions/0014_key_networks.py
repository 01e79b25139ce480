"""The networks from which keys were used.

Revision 0014, after 0013.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "key_networks",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("network", sa.Text(), nullable=False),
        sa.Column("first_seen", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "network", name=op.f("pk_key_networks")),
    )
    op.create_index(op.f("ix_key_networks_state"), "key_networks", ["state"])


def downgrade() -> None:
    """Drop the table: each key learns its networks anew."""
    op.drop_table("key_networks")
