"""One training in several processes: started, kept in step, and what they cannot do when they share the weights."""
