"""Looking at what is stored: operations that change nothing that people said.

searching    search: full text
selecting    Selection: a filter for exports, snapshots and mining
trails       trail: everything about one sample
media        media_path (verified on every reading), damaged_media
"""
