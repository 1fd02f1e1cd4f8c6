"""Samples with their media, verdicts, and reports of wrong verdicts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "samples",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("response", sa.Text(), nullable=True),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_samples"),
        sa.UniqueConstraint("id", name="uq_samples_id"),
    )
    op.create_table(
        "media",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("byte_size", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=True),
        sa.Column("frame_count", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_media"),
        sa.UniqueConstraint("digest", name="uq_media_digest"),
    )
    op.create_table(
        "sample_media",
        sa.Column("sample_key", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("media_key", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("sample_key", "position", name="pk_sample_media"),
        sa.ForeignKeyConstraint(["sample_key"], ["samples.key"], "fk_sample_media_sample_key", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["media_key"], ["media.key"], "fk_sample_media_media_key"),
    )
    op.create_index("ix_sample_media_media_key", "sample_media", ["media_key"])
    op.create_table(
        "verdicts",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("sample_key", sa.Integer(), nullable=False),
        sa.Column("checkpoint_id", sa.Text(), nullable=False),
        sa.Column("protocol_version", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("request_label", sa.Text(), nullable=True),
        sa.Column("response_label", sa.Text(), nullable=True),
        sa.Column("p_request", sa.Double(), nullable=True),
        sa.Column("p_response", sa.Double(), nullable=True),
        sa.Column("first_look_p_request", sa.Double(), nullable=True),
        sa.Column("first_look_p_response", sa.Double(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_verdicts"),
        sa.UniqueConstraint("id", name="uq_verdicts_id"),
        sa.ForeignKeyConstraint(["sample_key"], ["samples.key"], "fk_verdicts_sample_key", ondelete="CASCADE"),
    )
    op.create_index("ix_verdicts_sample_key", "verdicts", ["sample_key"])
    op.create_table(
        "reports",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("verdict_key", sa.Integer(), nullable=False),
        sa.Column("sample_key", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("reporter", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_reports"),
        sa.UniqueConstraint("id", name="uq_reports_id"),
        sa.ForeignKeyConstraint(["verdict_key"], ["verdicts.key"], "fk_reports_verdict_key", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["sample_key"], ["samples.key"], "fk_reports_sample_key", ondelete="CASCADE"),
    )
    op.create_index("ix_reports_sample_key", "reports", ["sample_key"])
    op.create_index("ix_reports_verdict_key_reporter", "reports", ["verdict_key", "reporter"])
