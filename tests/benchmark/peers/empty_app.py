"""An empty gradio app on the port given as the only argument."""

from __future__ import annotations

import sys

import gradio as gr

if __name__ == "__main__":
    with gr.Blocks() as page:
        pass
    page.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True)
