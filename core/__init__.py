"""The guard itself: values, protocol, media, engines. Imports neither gradio, sqlalchemy nor trl."""
