"""The schema's history. `annotation_store.migrate` applies it; a new revision is a new file in `versions`."""
