"""The ways to run a guard: in this process, or at an OpenAI-compatible server."""
