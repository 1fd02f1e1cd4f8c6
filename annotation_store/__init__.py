"""What was judged, why it is hard, and what people said about it, kept in a database.

The only package that imports sqlalchemy. Importing this package, `values` or `rules` loads nothing heavy; `store` and
the operations bring sqlalchemy (about 0.4 s), so import them where they are first needed. alembic is loaded only when
a migration has to run. Each line may import those above it:

columns           texts, times, ids and JSON as columns
database          all that only SQLite can do: WAL, full-text search, query plans
turns             who may write next
values, rules     what goes in and comes out; pure rules: why a sample is hard, can this label be right
models            the tables; `migrations` and `migrate`: how they grew
rows              samples, labels, events and search words, from values and back, inside transactions
queue             the review queue inside transactions: items, their order, what a reviewer sees of one
store             AnnotationStore: open, record a verdict (and queue it), report, read

Operations: functions that take an open store first
review            claim, decide, skip, undo, weigh; what is left
reading           search, select, everything about one sample, verified media
deletion          delete_sample, finish_removals, tombstone
duplicates        near-duplicates: groups and their splits
mining            hard examples into the queue
outgoing          export: JSONL, CSV, Parquet, ShareGPT
incoming          preview, run_import: JSONL, JSON, CSV, Parquet, folders of media, ShareGPT
snapshots         freeze, snapshots, remove_deleted; read and verify without a database
"""
