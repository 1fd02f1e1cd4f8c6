"""Long runs that print what they saw: `python -m tests.soak video --count 500`. A tenth of each is a test."""
