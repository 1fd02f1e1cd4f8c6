"""One sample judged: its parts, two readings, the decision."""
