"""Grades of sampled answers, and what training tells of the lines.

Revision 0019, after 0018.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "grades",
        sa.Column("interaction_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("grade", sa.Text(), nullable=False),
        sa.Column("unsupported", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["interaction_id"],
            ["interactions.id"],
            name=op.f("fk_grades_interaction_id_interactions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("interaction_id", "key_id", name=op.f("pk_grades")),
    )
    op.create_table(
        "flywheel_looks",
        sa.Column("lob", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=True),
        sa.Column("needed", sa.Integer(), nullable=False),
        sa.Column("looked_at", sa.Double(), nullable=False),
        sa.Column("doing", sa.Text(), nullable=True),
        sa.Column("done", sa.Integer(), nullable=True),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("told_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("lob", name=op.f("pk_flywheel_looks")),
    )
    op.create_table(
        "impact_reports",
        sa.Column("lob", sa.Text(), nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("lob", name=op.f("pk_impact_reports")),
    )


def downgrade() -> None:
    """Drop the tables; grades are lost."""
    for table in ("impact_reports", "flywheel_looks", "grades"):
        op.drop_table(table)
