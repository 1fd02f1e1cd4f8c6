"""The page and the named API: the only part of Guardroom that knows Gradio."""
