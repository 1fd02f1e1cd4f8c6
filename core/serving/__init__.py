"""The live guard: how it loads, the one thread that owns it, and what it does beside a training."""
