"""Human review: labels, the queue, events, near-duplicate groups, snapshots, imports, deletion, mining and search."""

import json

import sqlalchemy as sa
from alembic import op

from annotation_store.database import create_search, index_everything

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables, make what is stored searchable, and queue the samples that visitors have reported."""
    _create_tables()
    _gather_words()
    create_search(op.get_bind())
    index_everything(op.get_bind())
    _queue_reports()


def _gather_words() -> None:
    """The reasoning of stored verdicts and the notes of stored reports."""
    connection = op.get_bind()
    words = sa.table("sample_words", sa.column("sample_key"), sa.column("reasoning"), sa.column("notes"))
    found: dict[int, tuple[list[str], list[str]]] = {}
    for key, document in connection.execute(sa.text("SELECT sample_key, document FROM verdicts ORDER BY key")):
        said = json.loads(document).get("assessment") or {}
        found.setdefault(key, ([], []))[0].extend(said.get("reasoning") or [])
    for key, note in connection.execute(sa.text("SELECT sample_key, note FROM reports ORDER BY key")):
        found.setdefault(key, ([], []))[1].append(note)
    for key, (reasoning, notes) in found.items():
        if any(reasoning) or any(notes):
            values = {"sample_key": key, "reasoning": "\n".join(reasoning), "notes": "\n".join(filter(None, notes))}
            connection.execute(words.insert().values(values))


def _queue_reports() -> None:
    """Each reported sample once, with the checkpoint of its latest reported verdict."""
    connection = op.get_bind()
    connection.execute(
        sa.text(
            "INSERT INTO queue_items (sample_key, state, stage, created_at, changed_at) "
            "SELECT sample_key, 'open', 'first', min(created_at), max(created_at) FROM reports GROUP BY sample_key"
        )
    )
    connection.execute(
        sa.text(
            "INSERT INTO queue_reasons (sample_key, kind, checkpoint_id, modality, open, turn, weakness, words, created_at) "
            "SELECT r.sample_key, 'reported', v.checkpoint_id, s.modality, :yes, 0, 0.0, "
            "'A visitor says that the verdict is wrong.', r.created_at FROM reports r "
            "JOIN verdicts v ON v.key = r.verdict_key JOIN samples s ON s.key = r.sample_key "
            "WHERE r.key IN (SELECT max(key) FROM reports GROUP BY sample_key)"
        ),
        {"yes": True},
    )
    for kind, checkpoint in (("kind", "checkpoint_id"), ("''", "checkpoint_id"), ("''", "''")):
        connection.execute(
            sa.text(
                "INSERT INTO queue_counts (kind, modality, checkpoint_id, open_items) "
                f"SELECT {kind}, modality, {checkpoint}, count(*) FROM queue_reasons GROUP BY 1, 2, 3"
            )
        )


def _create_tables() -> None:
    op.create_table(
        "duplicate_groups",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("split", sa.Text(), nullable=True),
        sa.Column("assigned_at", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_duplicate_groups"),
    )
    op.create_table(
        "import_batches",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("mapping", sa.Text(), nullable=False),
        sa.Column("imported_by", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("new_samples", sa.Integer(), nullable=False),
        sa.Column("new_labels", sa.Integer(), nullable=False),
        sa.Column("queued", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key", name="pk_import_batches"),
        sa.UniqueConstraint("id", name="uq_import_batches_id"),
    )
    op.create_table(
        "mining_runs",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("checkpoint_id", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("kept", sa.Integer(), nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_mining_runs"),
        sa.UniqueConstraint("id", name="uq_mining_runs_id"),
    )
    op.create_table(
        "pace_counts",
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("quarter", sa.Text(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("reviewer", "kind", "quarter", name="pk_pace_counts"),
    )
    op.create_index("ix_pace_counts_kind_quarter", "pace_counts", ["kind", "quarter"], unique=False)
    op.create_table(
        "pending_removals",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_pending_removals"),
    )
    op.create_table(
        "queue_counts",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("checkpoint_id", sa.Text(), nullable=False),
        sa.Column("open_items", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "modality", "checkpoint_id", name="pk_queue_counts"),
    )
    op.create_index(
        "ix_queue_counts_open", "queue_counts", ["open_items", "kind", "modality", "checkpoint_id"], unique=False
    )
    op.create_table(
        "reason_weights",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("weight", sa.Double(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("kind", name="pk_reason_weights"),
    )
    op.create_table(
        "snapshots",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("selection", sa.Text(), nullable=False),
        sa.Column("protocol_version", sa.Text(), nullable=False),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("broken_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("key", name="pk_snapshots"),
        sa.UniqueConstraint("digest", name="uq_snapshots_digest"),
    )
    op.create_table(
        "tombstones",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("deleted_by", sa.Text(), nullable=False),
        sa.Column("deleted_at", sa.Text(), nullable=False),
        sa.Column("media", sa.Text(), nullable=False),
        sa.Column("snapshots", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_tombstones"),
        sa.UniqueConstraint("sample_id", name="uq_tombstones_sample_id"),
    )
    op.create_table(
        "claims",
        sa.Column("sample_key", sa.Integer(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("claimed_at", sa.Text(), nullable=False),
        sa.Column("heartbeat_at", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["sample_key"], ["samples.key"], name="fk_claims_sample_key", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sample_key", name="pk_claims"),
        sa.UniqueConstraint("token", name="uq_claims_token"),
    )
    op.create_index("ix_claims_reviewer_expires_at", "claims", ["reviewer", "expires_at"], unique=False)
    op.create_table(
        "group_members",
        sa.Column("sample_key", sa.Integer(), nullable=False),
        sa.Column("group_key", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["group_key"], ["duplicate_groups.key"], name="fk_group_members_group_key"),
        sa.ForeignKeyConstraint(
            ["sample_key"], ["samples.key"], name="fk_group_members_sample_key", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sample_key", name="pk_group_members"),
    )
    op.create_index("ix_group_members_group_key", "group_members", ["group_key"], unique=False)
    op.create_table(
        "image_bands",
        sa.Column("media_key", sa.Integer(), nullable=False),
        sa.Column("frame", sa.Integer(), nullable=False),
        sa.Column("band", sa.Integer(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["media_key"], ["media.key"], name="fk_image_bands_media_key", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("media_key", "frame", "band", name="pk_image_bands"),
    )
    op.create_index("ix_image_bands_value_band", "image_bands", ["value", "band"], unique=False)
    op.create_table(
        "image_hashes",
        sa.Column("media_key", sa.Integer(), nullable=False),
        sa.Column("frame", sa.Integer(), nullable=False),
        sa.Column("hash", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["media_key"], ["media.key"], name="fk_image_hashes_media_key", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("media_key", "frame", name="pk_image_hashes"),
    )
    op.create_table(
        "imported_samples",
        sa.Column("batch_key", sa.Integer(), nullable=False),
        sa.Column("sample_key", sa.Integer(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("extra", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["batch_key"], ["import_batches.key"], name="fk_imported_samples_batch_key", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["sample_key"], ["samples.key"], name="fk_imported_samples_sample_key", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("batch_key", "sample_key", name="pk_imported_samples"),
    )
    op.create_index("ix_imported_samples_sample_key", "imported_samples", ["sample_key"], unique=False)
    op.create_table(
        "mined_samples",
        sa.Column("run_key", sa.Integer(), nullable=False),
        sa.Column("sample_key", sa.Integer(), nullable=False),
        sa.Column("answers", sa.Text(), nullable=False),
        sa.Column("wrong", sa.Integer(), nullable=True),
        sa.Column("entropy", sa.Double(), nullable=True),
        sa.Column("kept", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["run_key"], ["mining_runs.key"], name="fk_mined_samples_run_key", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["sample_key"], ["samples.key"], name="fk_mined_samples_sample_key", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_key", "sample_key", name="pk_mined_samples"),
    )
    op.create_index("ix_mined_samples_sample_key", "mined_samples", ["sample_key"], unique=False)
    op.create_table(
        "passes",
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("sample_key", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["sample_key"], ["samples.key"], name="fk_passes_sample_key", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("reviewer", "sample_key", name="pk_passes"),
    )
    op.create_index("ix_passes_sample_key", "passes", ["sample_key"], unique=False)
    op.create_table(
        "queue_items",
        sa.Column("sample_key", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["sample_key"], ["samples.key"], name="fk_queue_items_sample_key", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sample_key", name="pk_queue_items"),
    )
    op.create_table(
        "queue_reasons",
        sa.Column("sample_key", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("checkpoint_id", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("weakness", sa.Double(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sample_key"], ["samples.key"], name="fk_queue_reasons_sample_key", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sample_key", "kind", name="pk_queue_reasons"),
    )
    op.create_index(
        "ix_queue_reasons_order",
        "queue_reasons",
        ["open", "kind", "modality", "checkpoint_id", "turn", "weakness", "sample_key"],
        unique=False,
    )
    op.create_table(
        "refused_rows",
        sa.Column("batch_key", sa.Integer(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_key"], ["import_batches.key"], name="fk_refused_rows_batch_key", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("batch_key", "row", name="pk_refused_rows"),
    )
    op.create_table(
        "sample_words",
        sa.Column("sample_key", sa.Integer(), nullable=False),
        sa.Column("reasoning", sa.Text(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["sample_key"], ["samples.key"], name="fk_sample_words_sample_key", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sample_key", name="pk_sample_words"),
    )
    op.create_table(
        "snapshot_members",
        sa.Column("snapshot_key", sa.Integer(), nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.Column("label_id", sa.Text(), nullable=True),
        sa.Column("split", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["snapshot_key"], ["snapshots.key"], name="fk_snapshot_members_snapshot_key", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("snapshot_key", "sample_id", name="pk_snapshot_members"),
    )
    op.create_index("ix_snapshot_members_sample_id", "snapshot_members", ["sample_id"], unique=False)
    op.create_table(
        "text_bands",
        sa.Column("sample_key", sa.Integer(), nullable=False),
        sa.Column("band", sa.Integer(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["sample_key"], ["samples.key"], name="fk_text_bands_sample_key", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sample_key", "band", name="pk_text_bands"),
    )
    op.create_index("ix_text_bands_value_band", "text_bands", ["value", "band"], unique=False)
    op.create_table(
        "text_signatures",
        sa.Column("sample_key", sa.Integer(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sample_key"], ["samples.key"], name="fk_text_signatures_sample_key", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sample_key", name="pk_text_signatures"),
    )
    op.create_table(
        "labels",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("sample_key", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=True),
        sa.Column("request_label", sa.Text(), nullable=False),
        sa.Column("response_label", sa.Text(), nullable=False),
        sa.Column("categories", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("verdict_key", sa.Integer(), nullable=True),
        sa.Column("supersedes_key", sa.Integer(), nullable=True),
        sa.Column("audited", sa.Boolean(), nullable=False),
        sa.Column("policy_version", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.CheckConstraint("(reviewer IS NULL) <> (source IS NULL)", name="ck_labels_one_author"),
        sa.ForeignKeyConstraint(["sample_key"], ["samples.key"], name="fk_labels_sample_key", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["supersedes_key"], ["labels.key"], name="fk_labels_supersedes_key", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["verdict_key"], ["verdicts.key"], name="fk_labels_verdict_key", ondelete="SET NULL"),
        sa.CheckConstraint("(reviewer IS NULL) <> (source IS NULL)", name="ck_labels_one_author"),
        sa.PrimaryKeyConstraint("key", name="pk_labels"),
        sa.UniqueConstraint("id", name="uq_labels_id"),
    )
    op.create_index("ix_labels_sample_key", "labels", ["sample_key"], unique=False)
    op.create_index("ix_labels_supersedes_key", "labels", ["supersedes_key"], unique=False)
    op.create_index("ix_labels_verdict_key", "labels", ["verdict_key"], unique=False)
    op.create_table(
        "events",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("sample_key", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("label_key", sa.Integer(), nullable=True),
        sa.Column("undoes_key", sa.Integer(), nullable=True),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["label_key"], ["labels.key"], name="fk_events_label_key", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["sample_key"], ["samples.key"], name="fk_events_sample_key", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["undoes_key"], ["events.key"], name="fk_events_undoes_key", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("key", name="pk_events"),
        sa.UniqueConstraint("id", name="uq_events_id"),
        sa.UniqueConstraint("token", name="uq_events_token"),
        sa.UniqueConstraint("undoes_key", name="uq_events_undoes_key"),
    )
    op.create_index("ix_events_label_key", "events", ["label_key"], unique=False)
    op.create_index("ix_events_reviewer_key", "events", ["reviewer", "key"], unique=False)
    op.create_index("ix_events_sample_key", "events", ["sample_key"], unique=False)
    op.create_table(
        "evidence",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("label_key", sa.Integer(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("start", sa.Double(), nullable=False),
        sa.Column("end", sa.Double(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["label_key"], ["labels.key"], name="fk_evidence_label_key", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("key", name="pk_evidence"),
    )
    op.create_index("ix_evidence_label_key", "evidence", ["label_key"], unique=False)
    op.create_table(
        "label_reasoning",
        sa.Column("label_key", sa.Integer(), nullable=False),
        sa.Column("steps", sa.Text(), nullable=False),
        sa.Column("original", sa.Text(), nullable=True),
        sa.Column("first_wrong_step", sa.Integer(), nullable=True),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("protocol_version", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["label_key"], ["labels.key"], name="fk_label_reasoning_label_key", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("label_key", name="pk_label_reasoning"),
    )
    op.create_table(
        "settled_labels",
        sa.Column("sample_key", sa.Integer(), nullable=False),
        sa.Column("label_key", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["label_key"], ["labels.key"], name="fk_settled_labels_label_key", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["sample_key"], ["samples.key"], name="fk_settled_labels_sample_key", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sample_key", name="pk_settled_labels"),
    )
    op.create_index("ix_settled_labels_label_key", "settled_labels", ["label_key"], unique=False)
    op.add_column("media", sa.Column("damaged_at", sa.Text(), nullable=True))
