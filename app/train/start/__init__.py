"""A new run: what can be chosen, the data and what it holds, the form, what it would cost."""
