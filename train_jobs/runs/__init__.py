"""One job as values and files: its spec and status, its folder, and what its function is given."""
