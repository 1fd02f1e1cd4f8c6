"""Training and evaluation: child jobs on run directories, and the command that makes the built-in guard."""
