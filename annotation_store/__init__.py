"""What was judged and what people said about it, kept in a database. The only package that imports sqlalchemy.

Importing this package, or `annotation_store.values`, loads nothing heavy. `annotation_store.store` brings sqlalchemy
(about 0.4 s), so import it where the store is first opened; alembic is loaded only when a migration has to run.
"""
