"""Untrusted files to pixels: identified, kept, decoded, sampled, cut into patches."""
