"""Data in and out: import with preview, export, snapshots."""
