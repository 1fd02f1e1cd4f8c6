"""What was judged, why it is hard, and what people said about it, kept in a database.

The only package that imports sqlalchemy. Importing this package, or `values`, `review_values`, `reasons` or `drafts`,
loads nothing heavy; `store` and the operations bring sqlalchemy (about 0.4 s), so import them where they are first
needed. alembic is loaded only when a migration has to run.

Values, without sqlalchemy
    values, review_values    what goes in and comes out
    reasons                  why a sample is hard: pure rules and default weights
    drafts                   can this label be right (`core.conclusion`: does its reasoning conclude the opposite)

Operations: functions that take an open store first
    store          AnnotationStore: open, record a verdict (and queue it), report, read
    claims         claim_next, claim_sample, held, heartbeat, release
    decisions      submit, skip, second_opinion, undo, reopen, recent
    left           left, pace, audit_figures
    weights        weights, set_weight
    enqueue        enqueue: reasons found by hand
    mining         begin, resume, mining_runs, findings: n sampled generations of each sample
    searching      search
    trails         trail: everything about one sample
    deletion       delete_sample, finish_removals, tombstone
    media_reading  media_path (verified on every reading), damaged_media
    bulk           import_rows
    selecting      Selection: a filter for exports and snapshots

Files in and out, packages of their own
    incoming       preview, run_import: JSONL, JSON, CSV, Parquet, folders of media, ShareGPT
    outgoing       export: JSONL, CSV, Parquet, ShareGPT
    duplicates     mark_duplicates, neighbours; groups and their splits
    snapshots      freeze, snapshots, remove_deleted; read and verify without a database

Inside transactions
    samples, labels, events, words, next_item    rows from values and back
    items                                        opened and closed, with reasons and counters
    chunk                                        some thousand rows of an import at once
    models/, migrations/, migrate                the tables and how they grew
    columns                                      texts, times, ids and JSON as columns
    database                                     all that only SQLite can do: WAL, full-text search, query plans
"""
