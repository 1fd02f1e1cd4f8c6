"""Checkpoint folders: what is accepted, what could do harm, and the registry of those trained here."""
